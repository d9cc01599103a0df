"""What a candidate must not reach: each attack is refused, and the host is as it was before."""

import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from journeyman.sandbox.checks import Job, run_checks
from tests.sandboxes import DOUBLES, RIGHT, alive, said, sandbox

REFUSED = """
import ctypes, os, signal, socket, subprocess, sys
def attack():
    try:
        return body()
    except (OSError, ValueError) as error:
        return "refused"
def body():
"""

FILES = {
    "reads the password file": "return open('/etc/passwd').read()",
    "reads root's home": "return os.listdir('/root')",
    "climbs out of its folder": "return open('/work/../../../etc/hostname').read()",
    "follows a link that it made": (
        "os.symlink('/etc/passwd', '/work/link'); return open('/work/link').read()"
    ),
    "links to a file outside": "os.link('/usr/bin/env', '/work/link'); return 'linked'",
    "writes to /usr": "open('/usr/x', 'w'); return 'written'",
    "writes to the root": "open('/x', 'w'); return 'written'",
    "writes a kernel setting": "open('/proc/sys/vm/swappiness', 'w'); return 'written'",
    "writes a path with a newline": "open('/etc/a\\nb', 'w'); return 'written'",
    "lists the devices of the machine": "return os.listdir('/sys')",
    "makes a device": "os.mknod('/work/disk', 0o60600, 0x800); return 'made'",
}
NETWORK = {
    "opens TCP": "socket.create_connection(('127.0.0.1', 22), 1); return 'connected'",
    "opens UDP": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM); return 'opened'",
    "opens IPv6": "socket.socket(socket.AF_INET6); return 'opened'",
    "asks for a name": "return socket.getaddrinfo('example.org', 80)",
    "opens a packet socket": "socket.socket(17, socket.SOCK_RAW); return 'opened'",
    "calls the hypervisor": "socket.socket(40, socket.SOCK_STREAM); return 'opened'",
}
KERNEL = {
    "makes a user namespace": "return 'refused' if libc().unshare(0x10000000) else 'made'",
    "mounts": "return 'refused' if libc().mount(b'x', b'/tmp', b'tmpfs', 0, None) else 'mounted'",
    "traces": "return 'refused' if libc().ptrace(16, 1, 0, 0) else 'traced'",
    "calls by number": "return 'refused' if libc().syscall(272, 0x10000000) else 'unshared'",
    "takes shared memory": "return 'refused' if libc().shmget(0, 4096, 0o1600) == -1 else 'got it'",
    "hides from the memory killer": (
        "os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), b'-999'); return 'hidden'"
    ),
    "changes its root": "os.chroot('/work'); return 'changed'",
    "takes a key": "return 'refused' if libc().syscall(250, 0, -3) == -1 else 'key'",
    "makes memory without a limit": "return os.memfd_create('x')",
    "types into a terminal": (
        "import fcntl, pty; fcntl.ioctl(pty.openpty()[1], 0x5412, b'x'); return 'typed'"
    ),
    "becomes root": "os.setuid(0); return os.getuid() == 0 and 'root' or 'refused'",
    "raises its limits": (
        "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (999, 999)); return 'raised'"
    ),
}


@pytest.mark.parametrize("body", (FILES | NETWORK | KERNEL).values(), ids=FILES | NETWORK | KERNEL)
def test_an_escape_is_refused(body: str) -> None:
    library = "def libc():\n    return ctypes.CDLL(None)\n"
    result = said(library + REFUSED + textwrap.indent(body, "    "))
    assert result.passed, result


def test_a_file_of_the_host_cannot_be_seen(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret")
    tmp_path.chmod(0o755)
    secret.chmod(0o666)
    result = said(f"def attack():\n    return open({str(secret)!r}).read()\n")
    assert "FileNotFoundError" in result.detail
    assert secret.read_text() == "a secret"


def test_a_socket_of_the_host_cannot_be_reached(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    addresses = [str(tmp_path / "socket"), "\0journeyman-test-socket"]
    for address in addresses:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(address)
            server.listen()
            if address.startswith("/"):
                Path(address).chmod(0o666)
            body = f"    socket.socket(socket.AF_UNIX).connect({address!r}); return 'connected'"
            assert said(REFUSED + body).passed


def test_no_program_can_gain_a_privilege() -> None:
    # A setuid program gains nothing under no_new_privs with an empty bounding set.
    code = """
        def attack():
            status = open("/proc/self/status").read().split()
            value = {name: status[status.index(name) + 1] for name in ("NoNewPrivs:", "CapBnd:")}
            return "refused" if value == {"NoNewPrivs:": "1", "CapBnd:": "0" * 16} else value
    """
    assert said(textwrap.dedent(code)).passed


def test_secrets_of_the_environment_do_not_come_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNEYMAN_TEST_TOKEN", "sesame")
    code = """
        import glob, os
        def attack():
            found = repr(os.environ)
            for path in glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/cmdline'):
                try:
                    found += open(path, errors='replace').read()
                except OSError:
                    pass
            return 'found it' if 'sesame' in found else 'refused'
    """
    assert said(textwrap.dedent(code)).passed


def test_the_parent_outside_is_invisible_and_lives() -> None:
    code = """
        import os, signal
        def attack():
            seen = sorted(int(name) for name in os.listdir('/proc') if name.isdigit())
            for process in (1, os.getppid()):
                try:
                    os.kill(process, signal.SIGKILL)
                except OSError:
                    pass
            return 'refused' if len(seen) < 5 and max(seen) < 50 else seen
    """
    assert said(textwrap.dedent(code)).passed


def test_a_daemon_does_not_outlive_its_run() -> None:
    marker = "86411.25"
    code = f"""
        import os, subprocess
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv('/usr/bin/sleep', ['sleep', '{marker}'])
            os._exit(0)
        def attack():
            return 'refused'
    """
    assert said(textwrap.dedent(code)).passed
    assert _gone(marker)


def test_a_killed_launcher_takes_the_sandbox_with_it() -> None:
    sandbox()
    marker = "86412.25"
    code = f"import os\nos.execv('/usr/bin/sleep', ['sleep', '{marker}'])"
    program = f"from tests.sandboxes import check\ncheck({code!r}, timeout_s=60)\n"
    launcher = subprocess.Popen([sys.executable, "-c", program])
    assert _appeared(marker)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    assert _gone(marker)


def test_runs_at_the_same_time_do_not_meet() -> None:
    code = "import os\nassert not os.listdir('/work')\nopen('/work/x', 'w').close()\n" + RIGHT
    results = run_checks(sandbox(), [Job(code, DOUBLES)] * 12, workers=6)
    assert [result.passed for result in results] == [True] * 12


def test_a_run_leaves_no_descriptor_and_no_child_behind() -> None:
    said("def attack():\n    return 'refused'\n")
    before = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        said("import os\nos._exit(3)\n")
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def _appeared(marker: str) -> bool:
    return _waited_for(lambda: bool(alive(marker)))


def _gone(marker: str) -> bool:
    return _waited_for(lambda: not alive(marker))


def _waited_for(condition: Callable[[], bool]) -> bool:
    for _ in range(400):
        if condition():
            return True
        time.sleep(0.05)
    return False
