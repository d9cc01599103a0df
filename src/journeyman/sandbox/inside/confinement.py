"""The first program of every run: it gives up its rights for good and then becomes the worker.

Started as `python3 -I -S -c <this file> CONFIG <worker's file> REQUESTS ANSWERS`. It sets resource
limits, restricts itself by Landlock if the kernel has it, and in the profile `degraded` loads the
seccomp filter. None of this can be undone later.
Constants are those of `linux/landlock.h` and `linux/prctl.h`.
"""

import ctypes
import json
import os
import resource
import select
import signal
import stat
import sys
from typing import Any

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 38, 22
READING = 1 << 0 | 1 << 2 | 1 << 3
"""Rights to execute, read a file, and list a folder."""
ON_FILES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15
"""The rights that a rule on a file (not a folder) may name."""
_FIRST_RIGHTS = 13
_RIGHTS_SINCE = {2: 1 << 13, 3: 1 << 14, 5: 1 << 15}


def libc() -> ctypes.CDLL:
    """The C library, with `errno`."""
    return ctypes.CDLL(None, use_errno=True)


def call(number: int, *arguments: Any) -> int:
    """One system call by its number; below 0 if it was refused."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return int(libc().syscall(ctypes.c_long(number), *wide))


def landlock_abi() -> int:
    """The version of Landlock in this kernel; 0 for none."""
    return max(0, call(CREATE_RULESET, None, 0, 1))


def rights(abi: int) -> int:
    """All rights on files that a version knows."""
    known = (1 << _FIRST_RIGHTS) - 1
    for since, right in _RIGHTS_SINCE.items():
        known |= right if abi >= since else 0
    return known


class Ruleset(ctypes.Structure):
    """`struct landlock_ruleset_attr`."""

    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class PathBeneath(ctypes.Structure):
    """`struct landlock_path_beneath_attr`."""

    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def restrict(readable: list[str], writable: list[str]) -> int:
    """Allow only these paths, no TCP and no signal to outside. Returns the version used."""
    abi = landlock_abi()
    if not abi:
        return 0
    everything = rights(abi)
    handled = Ruleset(everything, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = call(CREATE_RULESET, ctypes.byref(handled), size, 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    for paths, allowed in ((readable, READING), (writable, everything)):
        for path in paths:
            _allow(ruleset, path, allowed & everything)
    if call(RESTRICT_SELF, ruleset, 0) < 0:
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    os.close(ruleset)
    return abi


def _allow(ruleset: int, path: str, allowed: int) -> None:
    """Add one rule; a missing path needs none."""
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not stat.S_ISDIR(os.fstat(parent).st_mode):
        allowed &= ON_FILES
    rule = PathBeneath(allowed, parent)
    if call(ADD_RULE, ruleset, 1, ctypes.byref(rule), 0) < 0:
        raise OSError(ctypes.get_errno(), f"landlock_add_rule: {path}")
    os.close(parent)


class Program(ctypes.Structure):
    """`struct sock_fprog`: the number of instructions, and their address."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def filter_calls(code: bytes) -> None:
    """Load a seccomp filter for this process and its children."""
    program = Program(len(code) // 8, code)
    if libc().prctl(PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def limit(limits: dict[str, int]) -> None:
    """Set hard limits by resource name, and lower the priority."""
    for name, most in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
    os.nice(10)


def keep(lifeline: int, others: list[int]) -> None:
    """Continue in a child; stay behind and kill the group if the lifeline closes.

    Without a process namespace nothing else ends the group when the launcher dies.
    """
    child = os.fork()
    if child == 0:
        os.close(lifeline)
        return
    for descriptor in others:
        os.close(descriptor)
    ended = os.pidfd_open(child)
    ready, _, _ = select.select([lifeline, ended], [], [])
    if lifeline in ready:
        os.killpg(0, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(code if code >= 0 else 128 - code)


def confine(config: dict[str, Any], pipes: list[int]) -> None:
    """All restrictions, in an order in which each one is still possible."""
    if config["lifeline"] is not None:
        keep(config["lifeline"], pipes)
    if libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    restrict(config["readable"], config["writable"])
    limit(config["limits"])
    if config["seccomp"]:
        filter_calls(bytes.fromhex(config["seccomp"]))


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    confine(settings, [int(sys.argv[3]), int(sys.argv[4])])
    # Mounted packages come last: the standard library wins.
    sys.path.extend(settings["modules"])
    exec(compile(sys.argv[2], "<worker>", "exec"), globals())  # noqa: S102 - the worker's text
