"""The program inside the sandbox: it runs what it is sent and says what came out. No verdicts here.

Started as `python3 -I -S -c <this file> REQUESTS ANSWERS LIMITS`, it sets its own limits and then
answers one JSON line for each JSON line. It never learns what an example should print or what a
value should be, so a candidate that takes this process over has nothing to copy from.
It uses the standard library alone and is never imported by the program outside.
"""

import builtins
import json
import linecache
import os
import resource
import sys
import traceback
from collections.abc import Callable
from types import CodeType

TEXT_LIMIT = 32 * 1024
"""Characters of printed text that one answer carries; one more says that there was more."""

Names = dict[str, object]


def limit_self(limits: dict[str, int]) -> None:
    """Set hard limits by resource name, and step back behind everything else that runs."""
    for name, most in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
    os.nice(10)


class Capture:
    """A text stream that keeps the first characters only: a flood costs time and no memory."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.room = TEXT_LIMIT + 1

    def write(self, text: str) -> int:
        """Keep what there is room for."""
        kept = str(text)[: self.room]
        self.room -= len(kept)
        self.parts.append(kept)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        """No terminal."""
        return False

    def text(self) -> str:
        """What was kept."""
        return "".join(self.parts)


def plain(value: object, depth: int = 20) -> list[object]:  # noqa: PLR0911 - one for each type
    """A value as tagged JSON by what it holds, never by what it says it equals."""
    if value is None:
        return ["none"]
    if isinstance(value, bool):
        return ["bool", value is True]
    if isinstance(value, int):
        return ["int", int.__format__(value, "x")]
    if isinstance(value, float):
        return ["float", float.hex(value)]
    if isinstance(value, str):
        return ["str", str.__str__(value).encode("utf-8", "surrogatepass").hex()]
    if isinstance(value, bytes):
        return ["bytes", bytes.hex(value)]
    return _container(value, depth - 1)


def _container(value: object, depth: int) -> list[object]:
    if depth > 0:
        for kind in (list, tuple, set, frozenset):
            if isinstance(value, kind):
                # The base class reads the items, so that a subclass cannot show others.
                items = kind.__iter__(value)  # type: ignore[arg-type]
                return [kind.__name__, *(plain(item, depth) for item in items)]
        if isinstance(value, dict):
            pairs = dict.items(value)
            return ["dict", *([plain(key, depth), plain(item, depth)] for key, item in pairs)]
    return ["other", type(value).__name__]


def run_load(names: Names, source: str) -> None:
    """Execute a module's source in its namespace; `inspect` and tracebacks can show it."""
    linecache.cache["<answer>"] = (len(source), None, source.splitlines(keepends=True), "<answer>")
    run(compile(source, "<answer>", "exec", dont_inherit=True), names)


def run_example(names: Names, source: str) -> None:
    """Execute one example as the interactive interpreter does: a value is printed."""
    sys.displayhook = sys.__displayhook__
    run(compile(source, "<example>", "single", dont_inherit=True), names)


def run_statement(names: Names, source: str) -> None:
    """Execute statements of a check."""
    run(compile(source, "<check>", "exec", dont_inherit=True), names)


def run_value(names: Names, source: str) -> list[object]:
    """Evaluate an expression of a check."""
    return plain(evaluate(compile(source, "<check>", "eval", dont_inherit=True), names))


def run(code: CodeType, names: Names) -> None:
    """The one place where a candidate's code is executed."""
    exec(code, names)  # noqa: S102 - running it is what this process is locked up for


def evaluate(code: CodeType, names: Names) -> object:
    """The one place where an expression is evaluated."""
    return eval(code, names)  # noqa: S307 - as above


def fault(error: BaseException) -> dict[str, object]:
    """What was raised: its class, whether it is one of a few kinds, and doctest's last lines."""
    kinds = ("SyntaxError", "ImportError", "AssertionError", "MemoryError", "SystemExit")
    family = [kind.__name__ for kind in type(error).__mro__]
    try:
        lines = traceback.format_exception_only(type(error), error)
    except BaseException as second:  # noqa: BLE001 - a candidate's __str__ may raise anything
        lines = [f"{type(error).__name__}: <its text raised {type(second).__name__}>\n"]
    kind = next((name for name in kinds if name in family), type(error).__name__)
    return {"raised": kind, "message": lines[-1][:TEXT_LIMIT]}


ACTIONS: dict[str, Callable[[Names, str], object]] = {
    "load": run_load,
    "example": run_example,
    "statement": run_statement,
    "value": run_value,
}


def answer(request: dict[str, str], names: Names) -> dict[str, object]:
    """Carry one request out with standard output and standard error captured."""
    result: dict[str, object] = {"nonce": request["nonce"], "raised": "", "message": ""}
    capture = Capture()
    sys.stdout = sys.stderr = capture
    try:
        result["value"] = ACTIONS[request["action"]](names, request["source"])
    except BaseException as error:  # noqa: BLE001 - whatever a candidate raises is its result
        result.update(fault(error))
    finally:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    text = capture.text()
    result["text"] = text.encode("utf-8", "backslashreplace").decode("utf-8")
    result["cut"] = len(text) > TEXT_LIMIT
    return result


def serve(requests: int, answers: int) -> None:
    """Answer requests until the other side closes the pipe."""
    names: Names = {"__name__": "answer", "__builtins__": builtins}
    scope: Names | None = None
    dump, write = json.dumps, os.write
    with os.fdopen(requests, encoding="utf-8") as lines:
        for line in lines:
            request = json.loads(line)
            if request["action"] != "load" and scope is None:
                # A copy, as doctest makes one: a check's variables must not change the answer's.
                scope = dict(names)
            reply = dump(answer(request, scope or names)).encode() + b"\n"
            while reply:
                reply = reply[write(answers, reply) :]


if __name__ == "__main__":
    limit_self(json.loads(sys.argv[3]))
    # Mounted packages come last: an answer's own names and the standard library win.
    sys.path.append("/packages")
    serve(int(sys.argv[1]), int(sys.argv[2]))
