"""One run in the sandbox: requests to the program inside, with a time limit and resource limits.

The other side is not trusted: each reply must carry the nonce of its request, has a size limit and
is decoded into a typed record. Any problem ends the session with `SessionEnded`. Nothing is read
from the sandbox's files. At the end every process in it is killed.
"""

import contextlib
import json
import os
import secrets
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

import msgspec
from msgspec import Struct

from journeyman.machine.disk import folder_bytes
from journeyman.machine.process_memory import group_memory_bytes, tree_memory_bytes
from journeyman.sandbox.launch import launch, layout_of
from journeyman.sandbox.sandbox import Sandbox
from journeyman.temporary_folders import OwnedFolder

START_LIMIT_S = 20.0
_TICK_S = 0.05
_ENDING_S = 1.0
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
    "command",
    "canary",
]
Action = Literal["load", "example", "statement", "value", "install", "invoke"]
Relay = Callable[[str], bytes]
"""Answers a question that the program inside asks during a request: JSON text in and out."""


class Reply(Struct, frozen=True):
    """The reply of the program inside to one request.

    `raised` is the kind of the exception, empty if there was none; `message` is the last line of
    its traceback. `text` is what was printed, `cut` says that there was more. `value` is tagged
    JSON (`journeyman.sandbox.tagged_values`). With `call` it is a question, not yet a result.
    """

    nonce: str
    raised: str
    message: str
    text: str
    cut: bool
    value: msgspec.Raw = msgspec.Raw(b"null")
    call: msgspec.Raw = msgspec.Raw(b"")


class SessionEnded(Exception):
    """The session has ended early, with a failure and its detail."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure: Failure = failure
        self.detail = detail


class SandboxSession:
    """A started sandbox. Use as a context manager; call `ask` until it raises SessionEnded."""

    def __init__(
        self, sandbox: Sandbox, *, timeout_s: float, packages: Mapping[str, Path] | None = None
    ) -> None:
        """packages: folders to mount read-only, by their path inside."""
        self._limits = sandbox.limits
        self._timeout_s = timeout_s
        self._deadline: float | None = None
        self._sandbox = sandbox
        self._packages = dict(packages or {})
        self._received = bytearray()
        self._output: dict[int, bytearray] = {}
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as starting:
            self._scratch = None
            if self._sandbox.profile == "degraded":
                self._scratch = self._make_scratch(starting)
            self.layout = layout_of(self._sandbox, self._packages, self._scratch)
            requests_in, self._requests = os.pipe()
            self._replies, replies_out = os.pipe()
            lifeline, hold = os.pipe()
            for descriptor in (self._requests, self._replies, hold):
                starting.callback(os.close, descriptor)
            pipes = (requests_in, replies_out)
            try:
                self._process = self._launch(pipes, lifeline)
            finally:
                for descriptor in (*pipes, lifeline):
                    os.close(descriptor)
            os.set_blocking(self._requests, False)
            self._watch()
            self._resources = starting.pop_all()
        return self

    def _make_scratch(self, starting: contextlib.ExitStack) -> Path:
        """A folder on the disk for the run's user; used if there are no namespaces."""
        scratch = starting.enter_context(OwnedFolder("scratch", open_to_all=True)) / "work"
        scratch.mkdir(mode=0o700)
        if self._sandbox.user is not None:
            os.chown(scratch, self._sandbox.user, self._sandbox.user)
        return scratch

    def _launch(self, pipes: tuple[int, int], lifeline: int) -> subprocess.Popen[bytes]:
        try:
            return launch(
                self._sandbox,
                self.layout,
                self._packages,
                cpu_s=int(self._timeout_s) + 2,
                pipes=pipes,
                lifeline=lifeline,
            )
        except OSError as error:
            reason = f"the sandbox cannot be started: {error.strerror}"
            raise SessionEnded("sandbox", reason) from error

    def _watch(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._replies, selectors.EVENT_READ)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            self._selector.register(stream, selectors.EVENT_READ)
            self._output[stream.fileno()] = bytearray()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill every process: those of a namespace die with its first one."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._selector.close()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        self._resources.close()

    def start_clock(self) -> None:
        """Start `timeout_s` of the session; until then the limit for starting up holds."""
        self._deadline = time.monotonic() + self._timeout_s

    def ask(self, action: Action, source: str, relay: Relay | None = None) -> Reply:
        """Send one request and wait for its reply. Raises SessionEnded.

        relay: answers questions of the program inside; without one it may not ask any.
        """
        nonce = secrets.token_hex(16)
        request = {"nonce": nonce, "action": action, "source": source}
        waiting = json.dumps(request).encode() + b"\n"
        deadline = self._deadline or time.monotonic() + START_LIMIT_S
        while True:
            reply = self._check_reply(self._exchange(memoryview(waiting), deadline), nonce)
            if not reply.call:
                return reply
            if relay is None:
                raise SessionEnded("sandbox", "an unexpected question from inside")
            waiting = relay(bytes(reply.call).decode()) + b"\n"

    def _check_reply(self, line: bytes, nonce: str) -> Reply:
        """The reply, if it carries the nonce of its request. Raises SessionEnded."""
        try:
            reply = msgspec.json.decode(line, type=Reply)
        except (msgspec.DecodeError, RecursionError) as error:
            raise SessionEnded("sandbox", "a malformed reply in the result pipe") from error
        if not secrets.compare_digest(reply.nonce.encode(), nonce.encode()):
            raise SessionEnded("sandbox", "a forged reply: it has another nonce than its request")
        if reply.cut:
            raise SessionEnded("output", "more was printed than one reply may carry")
        return reply

    def _exchange(self, waiting: memoryview, deadline: float) -> bytes:
        checked = 0.0
        while True:
            now = time.monotonic()
            if now > deadline:
                raise SessionEnded("timeout", f"not done after {self._timeout_s:g} s")
            if now - checked > _TICK_S:
                checked = now
                self._check_use()
            waiting = self._send(waiting)
            for key, _ in self._selector.select(_TICK_S if not waiting else 0.005):
                if key.fd == self._replies:
                    line = self._receive()
                    if line is not None:
                        return line
                else:
                    self._drain(key.fileobj)

    def _check_use(self) -> None:
        """Raise SessionEnded if its processes together use too much memory or disk space."""
        count = 0
        if self._scratch is None:
            used = tree_memory_bytes(self._process.pid)
        else:
            used, count = group_memory_bytes(self._process.pid)
        if used > self._limits.total_memory_bytes:
            raise SessionEnded("memory", f"its processes used {used // 2**20} MiB together")
        if self._scratch is None:
            return
        if count > 2 * self._limits.processes:
            raise SessionEnded("memory", f"it started {count} processes")
        size = folder_bytes(self._scratch)
        if size is None or size > self._limits.scratch_bytes:
            raise SessionEnded("output", "it wrote more bytes or files than its folder may hold")

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
        """A whole line, or None while it is incomplete. Raises SessionEnded if the pipe ends."""
        piece = os.read(self._replies, 65536)
        if not piece:
            self._raise_ended()
        self._received += piece
        if len(self._received) > self._limits.answer_bytes:
            raise SessionEnded("output", "a reply exceeds its size limit")
        line, newline, rest = self._received.partition(b"\n")
        if not newline:
            return None
        if rest:
            raise SessionEnded("sandbox", "an unrequested reply from inside")
        self._received.clear()
        return bytes(line)

    def _drain(self, stream: object) -> None:
        """Read output that bypasses the capture, up to the limit."""
        descriptor = stream.fileno()  # type: ignore[attr-defined]
        piece = os.read(descriptor, 65536)
        if not piece:
            self._selector.unregister(stream)  # type: ignore[arg-type]
            return
        self._output[descriptor] += piece
        if len(self._output[descriptor]) > self._limits.output_bytes:
            raise SessionEnded(
                "output", f"it wrote more than {self._limits.output_bytes // 1024} KiB"
            )

    def _raise_ended(self) -> None:
        """The program inside has closed its pipe: raise SessionEnded with the reason."""
        try:
            # Wait only briefly: memory is not watched meanwhile.
            code = self._process.wait(timeout=_ENDING_S)
        except subprocess.TimeoutExpired as error:
            raise SessionEnded("exit", "it closed the result pipe and continued to run") from error
        if code == _SIGNALLED + signal.SIGXCPU:
            raise SessionEnded("timeout", "it used up its CPU time")
        message = self._last_line(self._process.stderr)
        if self._deadline is None:
            raise SessionEnded(
                "sandbox", f"it did not start (exit code {code}): {message or 'no message'}"
            )
        raise SessionEnded(
            "exit", f"the process ended with code {code} before its checks: {message}"
        )

    def _last_line(self, stream: IO[bytes] | None) -> str:
        assert stream is not None
        data = self._output[stream.fileno()]
        os.set_blocking(stream.fileno(), False)
        data += stream.read(4096) or b""
        lines = data.decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else ""
