"""Runs a pytest file against an answer in another sandbox, through proxies.

The module that the tests import is made of proxies. A call returns plain data or a proxy of a
remote object, which equals only itself. No code of the answer runs in this process, so it cannot
patch, end or equal anything here.
"""

import builtins
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class Link:
    """The connection to the answer: makes proxies, sends calls and returns their values."""

    def __init__(self, worker: Any, module: str) -> None:
        self.worker = worker
        self.module = types.ModuleType(module)
        self.kinds: dict[str, type] = {}
        self.objects: dict[int, Any] = {}
        names = worker.exchange({"what": "describe"})["names"]
        for name, about in names.items():
            setattr(self.module, name, self.proxy_of(name, about))

    def proxy_of(self, name: str, about: dict[str, Any]) -> object:
        """The proxy of a name in the answer's module; the value itself if it is plain data."""
        if about["kind"] == "exception":
            kind = type(name, (known_exception(about["bases"]),), {})
            self.kinds[name] = kind
            return kind
        if about["kind"] == "class":

            def make(_: type, *arguments: Any, **named: Any) -> Any:
                return self.call("call", name, (), arguments, named)

            kind = type(name, (Remote,), {"__new__": make, "__init__": nothing})
            self.kinds[name] = kind
            return kind
        if about["kind"] == "callable":
            return self.function(name)
        return self.call("get", name, (), (), {}) if about["kind"] == "value" else None

    def function(self, name: str) -> Callable[..., Any]:
        """A local function that calls the remote one."""

        def call(*arguments: Any, **named: Any) -> Any:
            return self.call("call", name, (), arguments, named)

        call.__name__ = call.__qualname__ = name
        return call

    def call(
        self,
        what: str,
        target: str | int,
        path: tuple[str, ...],
        arguments: tuple[Any, ...],
        named: dict[str, Any],
    ) -> Any:
        """Get or call something remote. Raises its exception, as a class that is known here."""
        request = {
            "what": what,
            "target": target,
            "path": path,
            "arguments": [self.to_tags(value) for value in arguments],
            "named": {name: self.to_tags(value) for name, value in named.items()},
        }
        reply = self.worker.exchange(request)
        sys.stdout.write(reply["text"])
        for mine, theirs in zip(arguments, reply["arguments"], strict=True):
            if theirs is not None:
                update(mine, self.from_tags(theirs))
        if reply["raised"]:
            kind = self.kinds.get(reply["raised"]) or known_exception(reply["bases"])
            raise kind(*[reply["message"]] if reply["message"] else [])
        return self.from_tags(reply["value"])

    def to_tags(self, value: object) -> list[Any]:
        """Plain data as tags, a proxy as its handle."""
        if isinstance(value, Remote):
            return ["handle", value._handle]
        if isinstance(value, list | tuple | set | frozenset):
            return [type(value).__name__, *map(self.to_tags, value)]
        if isinstance(value, dict):
            return [
                "dict",
                *([self.to_tags(key), self.to_tags(item)] for key, item in value.items()),
            ]
        tagged: list[Any] = self.worker.plain(value)
        if tagged[0] == "other":
            raise TypeError(f"a {tagged[1]} cannot be passed to the answer: it is not plain data")
        return tagged

    def from_tags(self, item: list[Any]) -> Any:
        """The value of tagged data; each handle becomes one proxy."""
        tag, *rest = item
        if tag == "handle":
            return self.objects.setdefault(rest[0], self.remote(*rest))
        if tag == "dict":
            return {self.from_tags(key): self.from_tags(value) for key, value in rest}
        if tag in ("list", "tuple", "set", "frozenset"):
            return getattr(builtins, tag)(map(self.from_tags, rest))
        return self.worker.scalar(tag, *rest)

    def remote(self, handle: int, kind: str, _: bool) -> "Remote":
        """A new proxy."""
        kind_here = self.kinds.get(kind, Remote)
        proxy = object.__new__(kind_here if issubclass(kind_here, Remote) else Remote)
        proxy._link, proxy._handle = self, handle
        return proxy


def nothing(*_: object, **__: object) -> None:
    """The `__init__` of a proxy: it does nothing."""


class Remote:
    """A proxy of a remote object. It equals only itself."""

    _link: Link
    _handle: int

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._link.call("get", self._handle, (name,), (), {})

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the remote object."""
        return self._link.call("call", self._handle, (), arguments, named)

    def _ask(self, method: str, *arguments: Any) -> Any:
        return self._link.call("call", self._handle, (method,), arguments, {})

    def __len__(self) -> int:
        return int(self._ask("__len__"))

    def __iter__(self) -> Iterator[Any]:
        iterator: Iterator[Any] = self._ask("__iter__")
        return iterator

    def __next__(self) -> Any:
        return self._ask("__next__")

    def __getitem__(self, key: Any) -> Any:
        return self._ask("__getitem__", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._ask("__setitem__", key, value)

    def __delitem__(self, key: Any) -> None:
        self._ask("__delitem__", key)

    def __contains__(self, item: Any) -> bool:
        return self._ask("__contains__", item) is True

    def __bool__(self) -> bool:
        raise TypeError("the truth value of an object of the answer proves nothing")

    def __enter__(self) -> Any:
        return self._ask("__enter__")

    def __exit__(self, *_: object) -> bool:
        return self._ask("__exit__", None, None, None) is True

    def __str__(self) -> str:
        return str(self._ask("__str__"))


def known_exception(bases: list[str]) -> type[Exception]:
    """The first builtin exception among the names of an exception's base classes."""
    for name in bases:
        kind = getattr(builtins, name, None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            return kind
    return RuntimeError


def update(mine: Any, theirs: Any) -> None:
    """Apply the changes that a call made to a list, dict or set argument."""
    if type(mine) is type(theirs) and isinstance(mine, list | dict | set) and mine != theirs:
        mine.clear()
        mine.extend(theirs) if isinstance(mine, list) else mine.update(theirs)


class TestCounts:
    """The outcome of each test."""

    def __init__(self) -> None:
        self.passed: set[str] = set()
        self.failed: dict[str, str] = {}
        self.skipped: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record one phase of one test."""
        if report.failed:
            self.failed.setdefault(report.nodeid, str(report.longrepr)[-400:])
        elif report.skipped or hasattr(report, "wasxfail"):
            self.skipped.add(report.nodeid)
        elif report.when == "call":
            self.passed.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record a file that cannot be collected as a failure."""
        if report.failed:
            self.failed[report.nodeid or "collection"] = str(report.longrepr)[-400:]


def invoke(request: dict[str, Any], worker: Any) -> list[Any]:
    """Run the tests. Returns the exit code, the counts and the first failure."""
    sys.modules[request["module"]] = Link(worker, request["module"]).module
    file = Path(request["folder"]) / "test_answer.py"
    file.write_text(request["source"], encoding="utf-8")
    counts = TestCounts()
    flags = ["-p", "no:cacheprovider", "-p", "no:terminal", "-p", "no:faulthandler"]
    code = pytest.main([str(file), *flags, "--rootdir", request["folder"]], plugins=[counts])
    counts.passed -= counts.failed.keys() | counts.skipped
    first = next(iter(counts.failed.values()), "")
    numbers = [int(code), len(counts.passed), len(counts.failed), len(counts.skipped), first]
    tagged: list[Any] = worker.plain(numbers)
    return tagged
