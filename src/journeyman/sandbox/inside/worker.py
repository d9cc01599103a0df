"""The program inside the sandbox: it runs what it is sent and replies with what came out.

`confinement` becomes this program. It sends one JSON line for each JSON line that it receives. It
never learns an expected output or value, so an answer that takes this process over cannot copy it.
A helper (`install`) may ask the outside a question (`exchange`).
It uses only the standard library and is never imported by the program outside.
"""

import builtins
import ctypes
import json
import linecache
import os
import sys
import traceback
from collections.abc import Callable
from types import CodeType, SimpleNamespace
from typing import Any, TextIO

TEXT_LIMIT = 32 * 1024
"""Characters of printed text in one reply; one more shows that there was more."""

Names = dict[str, object]


class Capture:
    """A text stream that keeps only the first characters: a flood takes time but no memory."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.room = TEXT_LIMIT + 1

    def write(self, text: str) -> int:
        """Keep as much as fits."""
        kept = str(text)[: self.room]
        self.room -= len(kept)
        self.parts.append(kept)
        return len(text)

    def flush(self) -> None:
        """Nothing to do."""

    def isatty(self) -> bool:
        """False: it is not a terminal."""
        return False

    def text(self) -> str:
        """The kept text."""
        return "".join(self.parts)


def plain(value: object, depth: int = 20) -> list[object]:  # noqa: PLR0911 - one for each type
    """A value as tagged JSON, by its contents and never by its own `__eq__` or `__iter__`."""
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
                # Iterate with the base class, so that a subclass cannot fake its items.
                items = kind.__iter__(value)  # type: ignore[arg-type]
                return [kind.__name__, *(plain(item, depth) for item in items)]
        if isinstance(value, dict):
            pairs = dict.items(value)
            return ["dict", *([plain(key, depth), plain(item, depth)] for key, item in pairs)]
    return ["other", type(value).__name__]


def run_load(names: Names, source: str) -> None:
    """Execute a module's source in its namespace, visible to `inspect` and tracebacks."""
    linecache.cache["<answer>"] = (len(source), None, source.splitlines(keepends=True), "<answer>")
    run(compile(source, "<answer>", "exec", dont_inherit=True), names)


def run_example(names: Names, source: str) -> None:
    """Execute one example like the interactive interpreter, which prints a value."""
    sys.displayhook = sys.__displayhook__
    run(compile(source, "<example>", "single", dont_inherit=True), names)


def run_statement(names: Names, source: str) -> None:
    """Execute statements of a check."""
    run(compile(source, "<check>", "exec", dont_inherit=True), names)


def run_value(names: Names, source: str) -> list[object]:
    """Evaluate an expression of a check."""
    return plain(evaluate(compile(source, "<check>", "eval", dont_inherit=True), names))


def run(code: CodeType, names: Names) -> None:
    """The only place where an answer's code is executed."""
    exec(code, names)  # noqa: S102 - this process is confined for exactly this


def evaluate(code: CodeType, names: Names) -> object:
    """The only place where an expression is evaluated."""
    return eval(code, names)  # noqa: S307 - as above


def fault(error: BaseException) -> dict[str, object]:
    """The exception's class, or the kind that it belongs to, and the last line of its traceback."""
    kinds = ("SyntaxError", "ImportError", "AssertionError", "MemoryError", "SystemExit")
    family = [kind.__name__ for kind in type(error).__mro__]
    try:
        lines = traceback.format_exception_only(type(error), error)
    except BaseException as second:  # noqa: BLE001 - an answer's __str__ may raise anything
        lines = [f"{type(error).__name__}: <its text raised {type(second).__name__}>\n"]
    kind = next((name for name in kinds if name in family), type(error).__name__)
    return {"raised": kind, "message": lines[-1][:TEXT_LIMIT]}


def text_of(error: BaseException) -> str:
    """The text of an exception, cut to the limit."""
    try:
        return str(error)[:TEXT_LIMIT]
    except BaseException:  # noqa: BLE001 - an answer's __str__ may raise anything
        return ""


def scalar(tag: str, value: Any = None) -> Any:
    """A single value from its tag: the inverse of `plain`."""
    match tag:
        case "none" | "bool":
            return value
        case "int":
            return int(value, 16)
        case "float":
            return float.fromhex(value)
    data = bytes.fromhex(value)
    return data if tag == "bytes" else data.decode("utf-8", "surrogatepass")


def shut_off() -> None:
    """Stop other processes of the same user from looking into this one."""
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE


def run_install(_: Names, source: str) -> None:
    """Load a helper, which has a function `invoke`."""
    HELPER.clear()
    HELPER["__name__"] = "helper"
    run(compile(source, "<helper>", "exec", dont_inherit=True), HELPER)


def run_invoke(names: Names, source: str) -> object:
    """Let the helper handle one request."""
    tools = SimpleNamespace(
        **{kind.__name__: kind for kind in (Capture, plain, scalar, text_of, shut_off)},
        names=names,
        exchange=WIRE.exchange,
    )
    invoke: Any = HELPER["invoke"]
    return invoke(json.loads(source), tools)


HELPER: Names = {}
ACTIONS: dict[str, Callable[[Names, str], object]] = {
    "load": run_load,
    "example": run_example,
    "statement": run_statement,
    "value": run_value,
    "install": run_install,
    "invoke": run_invoke,
}


def answer(request: dict[str, str], names: Names) -> dict[str, object]:
    """Handle one request with standard output and standard error captured."""
    result: dict[str, object] = {"nonce": request["nonce"], "raised": "", "message": ""}
    capture = Capture()
    sys.stdout = sys.stderr = capture
    try:
        result["value"] = ACTIONS[request["action"]](names, request["source"])
    except BaseException as error:  # noqa: BLE001 - anything that an answer raises is its result
        result.update(fault(error))
    finally:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    text = capture.text()
    result["text"] = text.encode("utf-8", "backslashreplace").decode("utf-8")
    result["cut"] = len(text) > TEXT_LIMIT
    return result


class Wire:
    """The two pipes to the outside."""

    def __init__(self, requests: TextIO, answers: int) -> None:
        self._requests = requests
        self._answers = answers
        self._dump, self._write = json.dumps, os.write
        self.nonce = ""

    def send(self, message: dict[str, object]) -> None:
        """Send one line."""
        line = self._dump(message).encode() + b"\n"
        while line:
            line = line[self._write(self._answers, line) :]

    def receive(self) -> Any:
        """The next line, or None once the other side has closed the pipe."""
        line = self._requests.readline()
        return json.loads(line) if line else None

    def exchange(self, call: dict[str, object]) -> Any:
        """Ask the outside a question in the middle of a request."""
        empty = {"raised": "", "message": "", "text": "", "cut": False}
        self.send({"nonce": self.nonce, "call": call, **empty})
        return self.receive()


def serve(wire: Wire) -> None:
    """Answer requests until the other side closes the pipe."""
    names: Names = {"__name__": "answer", "__builtins__": builtins}
    scope: Names | None = None
    while (request := wire.receive()) is not None:
        wire.nonce = request["nonce"]
        if request["action"] not in ("load", "install", "invoke") and scope is None:
            # A copy, as in doctest: the check's variables must not change the answer's.
            scope = dict(names)
        wire.send(answer(request, scope or names))


if __name__ == "__main__":
    WIRE = Wire(os.fdopen(int(sys.argv[3]), encoding="utf-8"), int(sys.argv[4]))
    serve(WIRE)
