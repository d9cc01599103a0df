"""One run in the sandbox: a conversation with the program inside, under a clock and limits.

The other side is not trusted: each answer must carry the nonce of its own request, has a size
limit, and is decoded into a typed record. Whatever goes wrong ends the session as `SessionEnded`.
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
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

import msgspec
from msgspec import Struct

from journeyman.machine.disk import folder_bytes
from journeyman.machine.process_memory import group_memory_bytes, tree_memory_bytes
from journeyman.sandbox.launch import command, layout_of
from journeyman.sandbox.sandbox import Sandbox
from journeyman.temporary_folders import OwnedFolder

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
    "command",
    "canary",
]
Action = Literal["load", "example", "statement", "value", "install", "invoke"]
Relay = Callable[[str], bytes]
"""Carries out what the program inside asks in the middle of a request: JSON text in and out."""


class Reply(Struct, frozen=True):
    """What the program inside says of one request. `raised` is empty where nothing was raised.

    Where something was, `message` is the last line of its traceback. `text` is what was printed,
    `cut` where it was too much. `value` is tagged JSON (`journeyman.sandbox.values`). With `call`
    it is no result yet but a question to the outside.
    """

    nonce: str
    raised: str
    message: str
    text: str
    cut: bool
    value: msgspec.Raw = msgspec.Raw(b"null")
    call: msgspec.Raw = msgspec.Raw(b"")


class SessionEnded(Exception):
    """The session is over before its time: why, in one word, and in a sentence."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure: Failure = failure
        self.detail = detail


class SandboxSession:
    """A started sandbox. Use it as a context manager; `ask` may be called until it raises Ended."""

    def __init__(
        self, sandbox: Sandbox, *, timeout_s: float, packages: Mapping[str, Path] | None = None
    ) -> None:
        """packages: folders that can be read inside, by their path there."""
        self._limits = sandbox.limits
        self._timeout_s = timeout_s
        self._deadline: float | None = None
        self._sandbox = sandbox
        self._packages = dict(packages or {})
        self._received = bytearray()
        self._seen: dict[int, bytearray] = {}
        self._left = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as starting:
            self._scratch = None
            if self._sandbox.profile == "degraded":
                self._scratch = self._make_scratch(starting)
            self.layout = layout_of(self._sandbox, self._packages, self._scratch)
            requests_in, self._requests = os.pipe()
            self._answers, answers_out = os.pipe()
            lifeline, hold = os.pipe()
            for ours in (self._requests, self._answers, hold):
                starting.callback(os.close, ours)
            own = [requests_in, answers_out, lifeline]
            try:
                self._process = self._start((requests_in, answers_out), lifeline, own)
            finally:
                for descriptor in own:
                    os.close(descriptor)
            os.set_blocking(self._requests, False)
            self._watch()
            self._left = starting.pop_all()
        return self

    def _make_scratch(self, starting: contextlib.ExitStack) -> Path:
        """A folder of the run's own user; where there are no namespaces, it is on the disk."""
        scratch = starting.enter_context(OwnedFolder("scratch", open_to_all=True)) / "work"
        scratch.mkdir(mode=0o700)
        if self._sandbox.user is not None:
            os.chown(scratch, self._sandbox.user, self._sandbox.user)
        return scratch

    def _start(
        self, pipes: tuple[int, int], lifeline: int, own: list[int]
    ) -> subprocess.Popen[bytes]:
        """Start it with a fresh environment and only the descriptors that it needs."""
        own.append(rules := os.memfd_create("seccomp"))
        os.write(rules, self._sandbox.seccomp)
        os.lseek(rules, 0, os.SEEK_SET)
        strict = self._sandbox.profile == "strict"
        arguments = command(
            self._sandbox,
            self.layout,
            self._packages,
            cpu_s=int(self._timeout_s) + 2,
            pipes=pipes,
            rules=rules,
            lifeline=None if strict else lifeline,
        )
        user = self._sandbox.user
        try:
            return subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(*pipes, rules if strict else lifeline),
                start_new_session=True,
                env=self.layout.environment,
                cwd="/" if strict else self.layout.scratch,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        except OSError as error:
            raise SessionEnded("sandbox", f"cannot start it: {error.strerror}") from error

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
        """Kill all of it: a namespace's processes die with its first one, a group at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._selector.close()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        self._left.close()

    def start_clock(self) -> None:
        """From now on the session has its `timeout_s`; starting up has a limit of its own."""
        self._deadline = time.monotonic() + self._timeout_s

    def ask(self, action: Action, source: str, relay: Relay | None = None) -> Reply:
        """Send one request and wait for its answer. Raises Ended.

        relay: answers what the program inside asks meanwhile; without one it may not ask.
        """
        nonce = secrets.token_hex(16)
        request = {"nonce": nonce, "action": action, "source": source}
        waiting = json.dumps(request).encode() + b"\n"
        deadline = self._deadline or time.monotonic() + START_LIMIT_S
        while True:
            reply = self._checked(self._exchange(memoryview(waiting), deadline), nonce)
            if not reply.call:
                return reply
            if relay is None:
                raise SessionEnded("sandbox", "a question was written that nobody expected")
            waiting = relay(bytes(reply.call).decode()) + b"\n"

    def _checked(self, line: bytes, nonce: str) -> Reply:
        """A reply that carries its request's nonce. Raises Ended."""
        try:
            reply = msgspec.json.decode(line, type=Reply)
        except (msgspec.DecodeError, RecursionError) as error:
            raise SessionEnded("sandbox", "something else wrote to the result pipe") from error
        if not secrets.compare_digest(reply.nonce.encode(), nonce.encode()):
            raise SessionEnded("sandbox", "a forged result: it does not carry its request's nonce")
        if reply.cut:
            raise SessionEnded("output", "more was printed than one result may carry")
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
                if key.fd == self._answers:
                    line = self._receive()
                    if line is not None:
                        return line
                else:
                    self._drain(key.fileobj)

    def _check_use(self) -> None:
        """Raise Ended where all of it together holds too much memory or too much of the disk."""
        count = 0
        if self._scratch is None:
            used = tree_memory_bytes(self._process.pid)
        else:
            used, count = group_memory_bytes(self._process.pid)
        if used > self._limits.total_memory_bytes:
            raise SessionEnded("memory", f"its processes held {used // 2**20} MiB together")
        if self._scratch is None:
            return
        if count > 2 * self._limits.processes:
            raise SessionEnded("memory", f"it started {count} processes")
        size = folder_bytes(self._scratch)
        if size is None or size > self._limits.scratch_bytes:
            raise SessionEnded("output", "it wrote more, or more files, than its folder may hold")

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
            raise SessionEnded("output", "a result is larger than it may be")
        line, newline, rest = self._received.partition(b"\n")
        if not newline:
            return None
        if rest:
            raise SessionEnded("sandbox", "a result was written that nobody asked for")
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
            raise SessionEnded("output", f"wrote over {self._limits.output_bytes // 1024} KiB")

    def _end(self) -> None:
        """The program inside closed its end: say how it went."""
        try:
            # Briefly: while this waits, memory is not watched.
            code = self._process.wait(timeout=_LEAVING_S)
        except subprocess.TimeoutExpired as error:
            raise SessionEnded("exit", "it closed the result pipe and ran on") from error
        if code == _SIGNALLED + signal.SIGXCPU:
            raise SessionEnded("timeout", "its processor time is used up")
        said = self._tail(self._process.stderr)
        if self._deadline is None:
            raise SessionEnded(
                "sandbox", f"it did not start (exit code {code}): {said or 'no message'}"
            )
        raise SessionEnded("exit", f"the process ended with code {code} before its checks: {said}")

    def _tail(self, stream: IO[bytes] | None) -> str:
        assert stream is not None
        data = self._seen[stream.fileno()]
        os.set_blocking(stream.fileno(), False)
        data += stream.read(4096) or b""
        lines = data.decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else ""
