"""A server as a child process: started, waited for until it listens, measured, and ended.

It ends with us: by `close`, at exit, or by the kernel when the thread that started it ends.
"""

import atexit
import re
import secrets
import subprocess
import time
from collections.abc import Sequence

import httpx

from journeyman.errors import MachineError
from journeyman.machine.process_memory import ProcessMemory, process_memory
from journeyman.machine.processes import (
    describe_exit,
    end_process,
    end_with_parent,
    log_tail,
    plain_environment,
)
from journeyman.temporary_folders import OwnedFolder

_POLL_S = 0.05
_LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:\d{1,5})\b")


class ServerProcess:
    """llama-server with a secret key, at a port of 127.0.0.1 that the kernel chose.

    `address` is its URL, `headers` carry the key, `load_s` is the time until it was ready, and
    `log` is the file with its output, which `close` removes.
    """

    def __init__(self, command: Sequence[str], *, subject: str, limit_s: float) -> None:
        """Start it and wait. subject: what it loads, for errors. limit_s: how long it may take."""
        self.subject = subject
        self._memory: ProcessMemory | None = None
        self._owned = OwnedFolder("server")
        self._folder = self._owned.path
        self.log = self._folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)
        started_s = time.perf_counter()
        try:
            self.headers = self._start(command)
            self.address = self._wait_until_ready(started_s + limit_s)
        except BaseException:
            self.close()
            raise
        self.load_s = time.perf_counter() - started_s

    def _start(self, command: Sequence[str]) -> dict[str, str]:
        key = secrets.token_urlsafe(32)
        # Every user of this machine could see a key on the command line.
        key_file = self._folder / "key"
        key_file.touch(mode=0o600)
        key_file.write_text(key + "\n", encoding="ascii")
        with self.log.open("wb") as log:
            try:
                self._process = subprocess.Popen(
                    [*command, "--host", "127.0.0.1", "--port", "0", "--api-key-file", key_file],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=plain_environment(),
                    start_new_session=True,
                    preexec_fn=end_with_parent(),  # noqa: PLW1509
                )
            except OSError as error:
                raise MachineError(f"cannot start `{command[0]}`: {error}") from error
        return {"Authorization": f"Bearer {key}"}

    def _wait_until_ready(self, deadline_s: float) -> str:
        """The address, once the server listens and is healthy."""
        while time.perf_counter() < deadline_s:
            reason = self.end_reason()
            if reason:
                raise MachineError(
                    f"llama-server did not load `{self.subject}`: it {reason}",
                    hint="if memory ran out, use a smaller quantisation or context",
                )
            found = _LISTENING.search(self.log.read_text(encoding="utf-8", errors="replace"))
            if found and self._is_healthy(found[1]):
                return found[1]
            time.sleep(_POLL_S)
        raise MachineError(
            f"llama-server did not load `{self.subject}` in time: {log_tail(self.log)}",
            hint="the disk is slow or the machine is busy; try again when it is idle",
        )

    def _is_healthy(self, address: str) -> bool:
        try:
            # Proxies in the environment are for other machines.
            with httpx.Client(trust_env=False, headers=self.headers) as client:
                return client.get(f"{address}/health").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def end_reason(self, *, wait_s: float = 0.0) -> str:
        """How the process ended, with its last lines; empty while it runs."""
        if self._process is None:
            return "was not started"
        try:
            code = self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return ""
        return f"{describe_exit(code)}: {log_tail(self.log)}"

    def memory(self) -> ProcessMemory | None:
        """The memory that it holds; after its end, the last reading."""
        if self._process is not None and self._process.poll() is None:
            now = process_memory(self._process.pid)
            self._memory = now or self._memory
        return self._memory

    def close(self) -> None:
        """End the process and remove its folder; a second call does nothing."""
        atexit.unregister(self.close)
        if self._process is not None:
            self.memory()
            end_process(self._process)
        self._owned.close()
