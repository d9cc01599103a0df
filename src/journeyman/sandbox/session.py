"""One run in the sandbox: a conversation with the program inside, under a clock and limits.

The other side is not trusted: each answer must carry the nonce of its own request, has a size
limit, and is decoded into a typed record. Whatever goes wrong ends the session as `Ended`.
Nothing is read back from the sandbox's files. On leaving, every process in it is killed.
"""

import contextlib
import json
import os
import secrets
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

import msgspec
from msgspec import Struct

from journeyman.sandbox.memory import memory_of_tree
from journeyman.sandbox.sandbox import Sandbox

WORKER = Path(__file__).with_name("worker.py")
START_LIMIT_S = 20.0
_TICK_S = 0.05
_LEAVING_S = 1.0
_SIGNALLED = 128

Failure = Literal[
    "",
    "syntax",
    "import",
    "assert",
    "mismatch",
    "error",
    "timeout",
    "memory",
    "output",
    "sandbox",
    "no-tests",
    "exit",
]
Action = Literal["load", "example", "statement", "value"]


class Reply(Struct, frozen=True):
    """What the program inside says of one request. `raised` is empty where nothing was raised.

    Where something was, `message` is the last line of its traceback. `text` is what was printed,
    `cut` where it was too much. `value` is tagged JSON (`journeyman.sandbox.values`).
    """

    nonce: str
    raised: str
    message: str
    text: str
    cut: bool
    value: msgspec.Raw = msgspec.Raw(b"null")


class Ended(Exception):
    """The session is over before its time: why, in one word, and in a sentence."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure: Failure = failure
        self.detail = detail


class Session:
    """A started sandbox. Use it as a context manager; `ask` may be called until it raises Ended."""

    def __init__(
        self, sandbox: Sandbox, *, timeout_s: float, packages: Mapping[str, Path] | None = None
    ) -> None:
        self._limits = sandbox.limits
        self._timeout_s = timeout_s
        self._deadline: float | None = None
        self._sandbox = sandbox
        self._packages = dict(packages or {})
        self._received = bytearray()
        self._seen: dict[int, bytearray] = {}

    def __enter__(self) -> Self:
        requests_in, self._requests = os.pipe()
        self._answers, answers_out = os.pipe()
        own = [requests_in, answers_out]
        try:
            self._process = self._start(requests_in, answers_out, own)
        except BaseException:
            os.close(self._requests)
            os.close(self._answers)
            raise
        finally:
            for descriptor in own:
                os.close(descriptor)
        os.set_blocking(self._requests, False)
        self._watch()
        return self

    def _start(self, requests: int, answers: int, own: list[int]) -> subprocess.Popen[bytes]:
        """Start bwrap with a fresh environment and only the descriptors that it needs."""
        own.append(rules := os.memfd_create("seccomp"))
        os.write(rules, self._sandbox.seccomp)
        os.lseek(rules, 0, os.SEEK_SET)
        limits = json.dumps(self._limits.inside(int(self._timeout_s) + 2))
        shim = ["-I", "-S", "-B", "-X", "utf8", "-c", WORKER.read_text(encoding="utf-8")]
        command = self._sandbox.command(seccomp_fd=rules, packages=self._packages)
        command += ["--", self._sandbox.python, *shim, str(requests), str(answers), limits]
        user = self._sandbox.user
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(requests, answers, rules),
                start_new_session=True,
                env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
                cwd="/",
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        except OSError as error:
            raise Ended("sandbox", f"cannot start bwrap: {error.strerror}") from error

    def _watch(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._answers, selectors.EVENT_READ)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            self._selector.register(stream, selectors.EVENT_READ)
            self._seen[stream.fileno()] = bytearray()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill all of it: the namespace's first process dies with bwrap, the rest with that."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._selector.close()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        os.close(self._requests)
        os.close(self._answers)

    def start_clock(self) -> None:
        """From now on the session has its `timeout_s`; starting up has a limit of its own."""
        self._deadline = time.monotonic() + self._timeout_s

    def ask(self, action: Action, source: str) -> Reply:
        """Send one request and wait for its answer. Raises Ended."""
        nonce = secrets.token_hex(16)
        request = {"nonce": nonce, "action": action, "source": source}
        waiting = memoryview(json.dumps(request).encode() + b"\n")
        deadline = self._deadline or time.monotonic() + START_LIMIT_S
        line = self._exchange(waiting, deadline)
        try:
            reply = msgspec.json.decode(line, type=Reply)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Ended("sandbox", "something else wrote to the result pipe") from error
        if not secrets.compare_digest(reply.nonce.encode(), nonce.encode()):
            raise Ended("sandbox", "a forged result: it does not carry its request's nonce")
        if reply.cut:
            raise Ended("output", "more was printed than one result may carry")
        return reply

    def _exchange(self, waiting: memoryview, deadline: float) -> bytes:
        checked = 0.0
        while True:
            now = time.monotonic()
            if now > deadline:
                raise Ended("timeout", f"not done after {self._timeout_s:g} s")
            if now - checked > _TICK_S:
                checked = now
                self._check_memory()
            waiting = self._send(waiting)
            for key, _ in self._selector.select(_TICK_S if not waiting else 0.005):
                if key.fd == self._answers:
                    line = self._receive()
                    if line is not None:
                        return line
                else:
                    self._drain(key.fileobj)

    def _check_memory(self) -> None:
        used = memory_of_tree(self._process.pid)
        if used > self._limits.total_memory_bytes:
            raise Ended("memory", f"its processes held {used // 2**20} MiB together")

    def _send(self, waiting: memoryview) -> memoryview:
        if waiting:
            try:
                waiting = waiting[os.write(self._requests, waiting) :]
            except BlockingIOError:
                pass
            except BrokenPipeError:
                return waiting[:0]
        return waiting

    def _receive(self) -> bytes | None:
        """A whole line, or None while it is not complete. Raises Ended at the end of the pipe."""
        piece = os.read(self._answers, 65536)
        if not piece:
            self._end()
        self._received += piece
        if len(self._received) > self._limits.answer_bytes:
            raise Ended("output", "a result is larger than it may be")
        line, newline, rest = self._received.partition(b"\n")
        if not newline:
            return None
        if rest:
            raise Ended("sandbox", "a result was written that nobody asked for")
        self._received.clear()
        return bytes(line)

    def _drain(self, stream: object) -> None:
        """Read what was written past the capture, up to the cap."""
        descriptor = stream.fileno()  # type: ignore[attr-defined]
        piece = os.read(descriptor, 65536)
        if not piece:
            self._selector.unregister(stream)  # type: ignore[arg-type]
            return
        self._seen[descriptor] += piece
        if len(self._seen[descriptor]) > self._limits.output_bytes:
            raise Ended("output", f"wrote over {self._limits.output_bytes // 1024} KiB")

    def _end(self) -> None:
        """The program inside closed its end: say how it went."""
        try:
            # Briefly: while this waits, memory is not watched.
            code = self._process.wait(timeout=_LEAVING_S)
        except subprocess.TimeoutExpired as error:
            raise Ended("exit", "it closed the result pipe and ran on") from error
        if code == _SIGNALLED + signal.SIGXCPU:
            raise Ended("timeout", "its processor time is used up")
        said = self._tail(self._process.stderr)
        if self._deadline is None:
            raise Ended("sandbox", f"it did not start (exit code {code}): {said or 'no message'}")
        raise Ended("exit", f"the process ended with code {code} before its checks: {said}")

    def _tail(self, stream: IO[bytes] | None) -> str:
        assert stream is not None
        data = self._seen[stream.fileno()]
        os.set_blocking(stream.fileno(), False)
        data += stream.read(4096) or b""
        lines = data.decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else ""
