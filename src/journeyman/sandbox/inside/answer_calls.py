"""Runs in the answer's process: performs the calls of tests in another sandbox, replies with data.

An object that is not plain data stays here under a number, its handle, for further calls.
Nothing here is trusted: the answer runs in the same process and may send anything.
"""

import inspect
import sys
from typing import Any

HANDLES: list[object] = []


def invoke(request: dict[str, Any], worker: Any) -> dict[str, Any]:
    """Describe the answer's names, or perform one call. Never raises for what the answer does."""
    if request["what"] == "describe":
        return {"names": {n: describe(v) for n, v in worker.names.items() if n[:2] != "__"}}
    capture = worker.Capture()
    before = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = capture
    arguments = [from_tags(item, worker) for item in request["arguments"]]
    named = {name: from_tags(item, worker) for name, item in request["named"].items()}
    result: dict[str, Any] = {"raised": "", "bases": [], "message": ""}
    try:
        value = perform(request, arguments, named, worker.names)
        result["value"] = to_tags(value, worker)
    except BaseException as error:  # noqa: BLE001 - anything that the answer raises is its result
        bases = [kind.__name__ for kind in type(error).__mro__]
        result |= {"raised": bases[0], "bases": bases, "message": worker.text_of(error)}
        result["value"] = ["none"]
    finally:
        sys.stdout, sys.stderr = before
    changed = [
        to_tags(item, worker) if type(item) in (list, dict, set) else None for item in arguments
    ]
    return result | {"text": capture.text(), "arguments": changed}


def describe(value: object) -> dict[str, Any]:
    """The kind of an object of the answer, and the base classes of a class."""
    if isinstance(value, type):
        bases = [kind.__name__ for kind in value.__mro__]
        return {
            "kind": "exception" if issubclass(value, BaseException) else "class",
            "bases": bases,
        }
    if inspect.ismodule(value):
        return {"kind": "module"}
    return {"kind": "callable" if callable(value) else "value"}


def perform(
    request: dict[str, Any], arguments: list[Any], named: dict[str, Any], names: dict[str, object]
) -> object:
    """Get or call a name of the answer or the object of a handle."""
    target = request["target"]
    value: Any = names[target] if isinstance(target, str) else HANDLES[target]
    for name in request["path"]:
        value = getattr(value, name)
    return value(*arguments, **named) if request["what"] == "call" else value


def to_tags(value: object, worker: Any) -> list[Any]:
    """Plain data as tags, anything else as a handle."""
    tagged: list[Any] = worker.plain(value)
    if not has_other(tagged):
        return tagged
    HANDLES.append(value)
    return ["handle", len(HANDLES) - 1, type(value).__name__, callable(value)]


def has_other(tagged: object) -> bool:
    """Whether a part of it is not plain data."""
    if not isinstance(tagged, list):
        return False
    return tagged[:1] == ["other"] or any(has_other(part) for part in tagged[1:])


def from_tags(item: list[Any], worker: Any) -> Any:
    """The value of tagged data, handles included."""
    tag, *rest = item
    if tag == "handle":
        return HANDLES[rest[0]]
    if tag == "dict":
        return {from_tags(key, worker): from_tags(value, worker) for key, value in rest}
    kinds: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
    if tag in kinds:
        return kinds[tag](from_tags(part, worker) for part in rest)
    return worker.scalar(*item)
