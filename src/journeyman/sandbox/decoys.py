"""Decoys on the host for an attack to reach, and whether it reached them, seen from outside.

Files that everyone may read and write, listening sockets, a process of the sandbox's user that
keeps signals pending, and a secret in the environment. Each run has decoys with unique names, so
that other work on the machine does not interfere.
"""

import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from journeyman.sandbox.launch import MARK
from journeyman.temporary_folders import OwnedFolder

_SECRET = "a secret of the host"  # noqa: S105 - a decoy
_ENDING_S = 5.0
FIRST_PORT = 10_000


class Decoys:
    """The decoys of one attack. Use as a context manager, then ask for `changes`."""

    def __init__(self, user: int | None) -> None:
        self.token = f"journeyman-decoy-{secrets.token_hex(8)}"
        self._user = user

    def __enter__(self) -> Self:
        self._owned = OwnedFolder("decoys", open_to_all=True)
        self.folder = self._owned.path / "folder"
        self.folder.mkdir()
        self.folder.chmod(0o777)
        self.secret = self.folder / "secret.txt"
        self.secret.write_text(_SECRET, encoding="utf-8")
        self.secret.chmod(0o666)
        self._sockets = [self._listener(kind) for kind in ("tcp", "udp", "unix", "abstract")]
        self.listen_port = _unused_port()
        self._victim = self._start_victim()
        self._before = self._state()
        return self

    def __exit__(self, *_: object) -> None:
        self._victim.kill()
        self._victim.wait()
        for one in self._sockets:
            one.close()
        self._owned.close()

    def fill(self, code: str) -> str:
        """An attack's code with its words in braces replaced."""
        tcp, udp = (one.getsockname()[1] for one in self._sockets[:2])
        words = {
            "token": self.token,
            "secret": str(self.secret),
            "folder": str(self.folder),
            "home": str(Path.home()),
            "temp": tempfile.gettempdir(),
            "tcp": str(tcp),
            "udp": str(udp),
            "listen": str(self.listen_port),
            "unix": str(self.folder / "socket"),
            "victim": str(self._victim.pid),
            "pass": f"{self.token}-pass",
        }
        for word, value in words.items():
            code = code.replace(f"{{{word}}}", value)
        return code

    def _listener(self, kind: str) -> socket.socket:
        family = socket.AF_INET if kind in ("tcp", "udp") else socket.AF_UNIX
        one = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        path = str(self.folder / "socket")
        names = {"unix": path, "abstract": f"\0{self.token}"}
        one.bind(names.get(kind) or ("127.0.0.1", 0))
        if kind == "unix":
            Path(path).chmod(0o666)
        if kind != "udp":
            one.listen()
        one.setblocking(False)
        return one

    def _start_victim(self) -> subprocess.Popen[bytes]:
        """A process of the sandbox's user that blocks a signal, so that it stays pending."""
        return subprocess.Popen(
            ["/usr/bin/env", "--block-signal=URG", "sleep", "600"],
            stdin=subprocess.DEVNULL,
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
            env={"PATH": "/usr/bin:/bin", "SECRET": f"{self.token}-password"},
            cwd="/",
        )

    @property
    def victim(self) -> int:
        """The process that an attack tries to reach."""
        return self._victim.pid

    @property
    def tcp_address(self) -> tuple[str, int]:
        """The address of a listening socket of the host."""
        host, port = self._sockets[0].getsockname()
        return str(host), int(port)

    def changes(self, ending_s: float = _ENDING_S) -> list[str]:
        """What has changed on the host; the run's processes get `ending_s` seconds to end."""
        processes = self._run_processes()
        end = time.monotonic() + ending_s
        while processes and time.monotonic() < end:
            time.sleep(0.02)
            processes = self._run_processes()
        changes = [f"process {process} is still running" for process in processes]
        changes += [
            f"{name}: {before!r} became {after!r}"
            for (name, before), after in zip(
                self._before.items(), self._state().values(), strict=True
            )
            if before != after
        ]
        return changes + [f"{one} was reached" for one in self._reached()] + self._new_listeners()

    def _state(self) -> dict[str, object]:
        secret = None
        if self.secret.exists():
            status = self.secret.stat()
            secret = (self.secret.read_bytes(), status.st_mode, status.st_mtime_ns)
        return {
            "decoy files": sorted(path.name for path in self.folder.iterdir()),
            "secret file": secret,
            "stray files": self._strays(),
            "kernel settings": [
                _text(f"/proc/sys/{x}") for x in ("vm/swappiness", "kernel/hostname")
            ],
            "own mounts": len(_text("/proc/self/mountinfo").splitlines()),
            "own memory score": _text("/proc/self/oom_score_adj"),
            "decoy process": self._victim.poll(),
            "signals of the decoy process": _signals(self._victim.pid),
            "priority of the decoy process": os.getpriority(os.PRIO_PROCESS, self._victim.pid),
            "processors of the decoy process": sorted(os.sched_getaffinity(self._victim.pid)),
            "limits of the decoy process": _text(f"/proc/{self._victim.pid}/limits"),
        }

    def _strays(self) -> list[str]:
        """Files with the token in their name, in the folders that everyone can write to."""
        places = {"/", "/usr", "/etc", "/var/tmp", "/dev/shm", "/tmp"}  # noqa: S108
        places |= {tempfile.gettempdir(), str(Path.home())}
        strays: list[str] = []
        for place in sorted(places):
            try:
                strays += [str(x) for x in Path(place).iterdir() if self.token in x.name]
            except OSError:
                continue
        return strays

    def _reached(self) -> list[str]:
        names = ("TCP", "UDP", "a socket with a path", "an abstract socket")
        return [name for name, one in zip(names, self._sockets, strict=True) if _was_reached(one)]

    def _new_listeners(self) -> list[str]:
        """Sockets that the run opened and that listen."""
        port = f":{self.listen_port:04X} "
        protocols = [x for x in ("tcp", "tcp6", "udp", "udp6") if port in _text(f"/proc/net/{x}")]
        protocols += ["unix"] if f"@{self.token}-own" in _text("/proc/net/unix") else []
        return [f"something listens by {x}" for x in protocols]

    def _run_processes(self) -> list[int]:
        """Processes with the run's mark in their environment."""
        mark = f"{MARK}={self.token}".encode()
        processes = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit() or int(folder.name) == os.getpid():
                continue
            try:
                if mark in (folder / "environ").read_bytes():
                    processes.append(int(folder.name))
            except OSError:
                continue
        return processes


def _unused_port() -> int:
    """A free port outside the range from which the kernel assigns ports to other work."""
    assigned_from = int(_text("/proc/sys/net/ipv4/ip_local_port_range").split()[0])
    while True:
        port = FIRST_PORT + secrets.randbelow(max(assigned_from - FIRST_PORT, 1000))
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def _was_reached(one: socket.socket) -> bool:
    try:
        if one.type == socket.SOCK_DGRAM:
            one.recv(1)
        else:
            one.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def _signals(process: int) -> str:
    """Whether the blocked signal is pending."""
    lines = _text(f"/proc/{process}/status").splitlines()
    masks = [int(x.split()[1], 16) for x in lines if x.startswith(("SigPnd:", "ShdPnd:"))]
    return "reached" if any(mask >> (signal.SIGURG - 1) & 1 for mask in masks) else "none"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
