"""Beside the answer: carries out calls of tests in another sandbox, and replies in data.

What is no plain data stays here under a number, a handle, through which it can be used further.
Nothing here is trusted: the answer runs in the same process and may send what it likes.
"""

import inspect
import sys
from typing import Any

HANDLES: list[object] = []


def invoke(request: dict[str, Any], worker: Any) -> dict[str, Any]:
    """Describe the answer's names, or carry one call out. Never raises for what the answer does."""
    if request["what"] == "describe":
        return {"names": {n: describe(v) for n, v in worker.names.items() if n[:2] != "__"}}
    capture = worker.Capture()
    before = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = capture
    arguments = [received(item, worker) for item in request["arguments"]]
    named = {name: received(item, worker) for name, item in request["named"].items()}
    result: dict[str, Any] = {"raised": "", "bases": [], "message": ""}
    try:
        found = carry_out(request, arguments, named, worker.names)
        result["value"] = sent(found, worker)
    except BaseException as error:  # noqa: BLE001 - whatever an answer raises is its result
        bases = [kind.__name__ for kind in type(error).__mro__]
        result |= {"raised": bases[0], "bases": bases, "message": worker.text_of(error)}
        result["value"] = ["none"]
    finally:
        sys.stdout, sys.stderr = before
    changed = [
        sent(item, worker) if type(item) in (list, dict, set) else None for item in arguments
    ]
    return result | {"text": capture.text(), "arguments": changed}


def describe(value: object) -> dict[str, Any]:
    """What kind of thing a name of the answer is, and for an exception what it derives from."""
    if isinstance(value, type):
        bases = [kind.__name__ for kind in value.__mro__]
        return {
            "kind": "exception" if issubclass(value, BaseException) else "class",
            "bases": bases,
        }
    if inspect.ismodule(value):
        return {"kind": "module"}
    return {"kind": "callable" if callable(value) else "value"}


def carry_out(
    request: dict[str, Any], arguments: list[Any], named: dict[str, Any], names: dict[str, object]
) -> object:
    """One operation on a name of the answer or on a handle."""
    target = request["target"]
    value: Any = names[target] if isinstance(target, str) else HANDLES[target]
    for name in request["path"]:
        value = getattr(value, name)
    return value(*arguments, **named) if request["what"] == "call" else value


def sent(value: object, worker: Any) -> list[Any]:
    """Plain data as tags, anything else as a handle."""
    tagged: list[Any] = worker.plain(value)
    if not has_other(tagged):
        return tagged
    HANDLES.append(value)
    return ["handle", len(HANDLES) - 1, type(value).__name__, callable(value)]


def has_other(tagged: object) -> bool:
    """Whether something in it is no plain data."""
    if not isinstance(tagged, list):
        return False
    return tagged[:1] == ["other"] or any(has_other(part) for part in tagged[1:])


def received(item: list[Any], worker: Any) -> Any:
    """A value from its tags."""
    tag, *rest = item
    if tag == "handle":
        return HANDLES[rest[0]]
    if tag == "dict":
        return {received(key, worker): received(value, worker) for key, value in rest}
    kinds: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
    if tag in kinds:
        return kinds[tag](received(part, worker) for part in rest)
    return worker.scalar(*item)
