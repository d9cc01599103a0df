"""Tests a sandbox with a few attacks before anything else runs in it.

The probe runs inside, like an answer, and reports what it could do; that is compared outside.
`journeyman.sandbox.selftest` tries much more.
"""

import tempfile
from pathlib import Path

from journeyman.sandbox.sandbox import Sandbox
from journeyman.sandbox.session import SandboxSession, SessionEnded
from journeyman.sandbox.tagged_values import Malformed, value_of

_TIME_S = 20.0
_OLDEST_PYTHON = (3, 11)

PROBE = '''
import ctypes, os, signal, socket, sys

def refused(action, *arguments):
    """Whether the system refused it."""
    try:
        action(*arguments)
    except (OSError, MemoryError):
        return True
    return False

def write(path, size=1):
    with open(path, "wb") as stream:
        stream.write(b"x" * size)

def fork_many(most):
    """How many children could live at once."""
    children = []
    try:
        for _ in range(most):
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    except OSError:
        pass
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return len(children)

def unshared():
    return ctypes.CDLL(None).unshare(0x10000000) == 0

def listed(folder):
    return [] if refused(os.listdir, folder) else os.listdir(folder)

def interfaces():
    if refused(open, "/proc/net/dev"):
        return None
    with open("/proc/net/dev") as lines:
        return [line.split(":")[0].strip() for line in lines][2:]

def status(name):
    if refused(open, "/proc/self/status"):
        return str(ctypes.CDLL(None).prctl({"Seccomp": 21, "NoNewPrivs": 39}[name], 0, 0, 0, 0))
    with open("/proc/self/status") as lines:
        return next(line.split()[1] for line in lines if line.startswith(name + ":"))

def probe(decoy, processes, file_bytes, memory_bytes):
    return {
        "python": list(sys.version_info[:2]),
        "user": os.getuid(),
        "host files": [os.path.join(folder, name)
                       for folder in ("/root", "/home", "/etc", "/var", "/srv", "/opt", "/mnt")
                       if os.path.isdir(folder) for name in listed(folder)],
        "decoy": not refused(open, decoy),
        "environment": sorted(os.environ),
        "interfaces": interfaces(),
        "socket": not refused(socket.socket, socket.AF_INET, socket.SOCK_DGRAM),
        "writes": [path for path in ("/x", "/usr/x", "/dev/x", "/proc/sys/vm/swappiness")
                   if not refused(write, path)],
        "scratch": not refused(write, "x"),
        "large file": not refused(write, "y", file_bytes + 1),
        "memory": not refused(bytearray, memory_bytes),
        "children": fork_many(3 * processes),
        "namespaces": unshared(),
        "seccomp": status("Seccomp"),
        "privileges": status("NoNewPrivs"),
    }
'''


def faults_of(sandbox: Sandbox) -> list[str]:
    """What is faults with a sandbox; empty if it holds. Takes about 0.2 s."""
    with tempfile.NamedTemporaryFile(prefix="journeyman-decoy-") as decoy:
        Path(decoy.name).chmod(0o644)
        try:
            report = _run_probe(sandbox, decoy.name)
        except SessionEnded as ended:
            return [ended.detail]
        except Malformed as error:
            return [f"the probe's result is malformed: {error}"]
    if not isinstance(report, dict):
        return ["the probe gave no result"]
    return _faults_in(sandbox, report)


def _run_probe(sandbox: Sandbox, decoy: str) -> object:
    limits = sandbox.limits
    sizes = f"{limits.processes}, {limits.file_bytes}, {limits.address_space_bytes}"
    with SandboxSession(sandbox, timeout_s=_TIME_S) as session:
        loaded = session.ask("load", PROBE)
        if loaded.raised:
            raise SessionEnded("sandbox", f"the probe did not load: {loaded.message.strip()}")
        session.start_clock()
        result = session.ask("value", f"probe({decoy!r}, {sizes})")
    if result.raised:
        raise SessionEnded("sandbox", f"the probe failed: {result.message.strip()}")
    return value_of(result.value)


def _faults_in(sandbox: Sandbox, report: dict[str, object]) -> list[str]:
    """Compare what the probe could do with what it should be able to do."""
    expected: dict[str, object] = {
        "decoy": False,
        "interfaces": ["lo"] if sandbox.profile == "strict" else None,
        "socket": False,
        "writes": [],
        "scratch": True,
        "large file": False,
        "memory": False,
        "namespaces": False,
        "seccomp": "2",
        "privileges": "1",
    }
    faults = [
        f"probe: {name} is {report.get(name)!r}, must be {value!r}"
        for name, value in expected.items()
        if report.get(name) != value
    ]
    files, parents = report.get("host files"), [f"{inside}/" for inside in sandbox.mounts]
    if not isinstance(files, list):
        faults.append("probe: it does not report the files that it sees")
    else:
        seen = [name for name in files if not any(p.startswith(f"{name}/") for p in parents)]
        faults += [f"probe: it sees `{name}` of the host" for name in seen]
    children, python = report.get("children"), report.get("python")
    # Without a namespace, the limit counts the user's other processes, which come and go.
    most = sandbox.limits.processes * (1 if sandbox.profile == "strict" else 2)
    if not isinstance(children, int) or children >= most:
        faults.append(f"probe: {children} processes, limit {most}")
    if not isinstance(python, list) or tuple(python) < _OLDEST_PYTHON:
        faults.append(f"Python {python} is older than {_OLDEST_PYTHON}")
    if sandbox.user is not None and report.get("user") == 0:
        faults.append("probe: it runs as root")
    return faults
