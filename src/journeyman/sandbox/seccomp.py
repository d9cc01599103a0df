"""The seccomp filter: a deny list of system calls that no answer needs, as bytes for bwrap.

Covered: mounting, tracing, other namespaces, keys, kernel modules, io_uring, memory that the
memory limits do not see, every socket except AF_UNIX, and typing into a terminal.
Not covered: holes in calls that are allowed.
"""

import errno
import os

# fmt: off
DENIED = (
    "mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "ptrace", "process_vm_readv",
    "process_vm_writev", "bpf", "perf_event_open", "keyctl", "add_key", "request_key",
    "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "kexec_load",
    "kexec_file_load", "init_module", "finit_module", "delete_module", "open_by_handle_at",
    "name_to_handle_at", "quotactl", "personality", "mknod", "mknodat", "open_tree", "move_mount",
    "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "swapon", "swapoff", "reboot",
    "acct", "syslog", "memfd_create", "memfd_secret", "shmget", "msgget", "semget", "pidfd_getfd",
)
WITHOUT_NAMESPACES = (
    "setsid", "setpgid", "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown",
    "fchownat", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr",
    "fremovexattr", "utime", "utimes", "utimensat", "futimesat", "mq_open", "mq_unlink",
    "setpriority", "ioprio_set", "sched_setscheduler", "sched_setattr", "sched_setparam",
    "sched_setaffinity", "migrate_pages", "move_pages", "process_madvise", "process_mrelease",
    "kcmp", "get_robust_list", "inotify_add_watch", "fanotify_init", "fanotify_mark",
)
"""Denied too if there are no namespaces: leaving the group that is killed, changing what Landlock
does not see (modes, owners, attributes, times of files), and touching other processes."""
SIGNALS = (
    "kill", "tkill", "tgkill", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
    "pidfd_open",
)
"""Denied too if Landlock cannot keep signals inside (before version 6)."""
# fmt: on
NAMESPACES = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
"""The flags of `clone` that make a namespace: CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET."""
AF_UNIX = 1
_INJECTING_IOCTLS = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: they type into the caller's terminal


class SeccompMissing(Exception):
    """libseccomp.so.2 or its Python binding cannot be loaded."""


def deny_list(*, degraded: bool = False, signals: bool = False) -> bytes:
    """The filter as classic BPF. Raises SeccompMissing if the library cannot be loaded.

    degraded: for a run without namespaces, which gets no socket at all and cannot touch other
    processes. signals: with `degraded`, refuse signals too.
    """
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError) as error:
        raise SeccompMissing(str(error)) from error
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    refused = pyseccomp.ERRNO(errno.EPERM)
    for name in (
        *DENIED,
        *(WITHOUT_NAMESPACES if degraded else ()),
        *(SIGNALS if degraded and signals else ()),
    ):
        _add(rules, refused, name)
    # ENOSYS, so that libc falls back to clone, whose flags a filter can see.
    _add(rules, pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    for flag in NAMESPACES:
        _add(rules, refused, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    for name in ("socket", "socketpair"):
        _add(rules, refused, name, pyseccomp.Arg(0, pyseccomp.NE, AF_UNIX))
    if degraded:
        # Any socket could reach a service by its path, which Landlock does not see.
        _add(rules, refused, "socket")
        # The limits of another process; a process reads its own with number 0.
        _add(rules, refused, "prlimit64", pyseccomp.Arg(0, pyseccomp.NE, 0))
    for number in _INJECTING_IOCTLS:
        only_command = pyseccomp.Arg(1, pyseccomp.MASKED_EQ, 0xFFFFFFFF, number)
        _add(rules, refused, "ioctl", only_command)
    return _to_bytes(rules)


def _add(rules, action, name, *arguments) -> None:  # type: ignore[no-untyped-def]
    """Add one rule, unless this libseccomp does not know the call and so cannot filter it."""
    import pyseccomp

    try:
        number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    except (ValueError, OSError):
        return
    if number >= 0:
        rules.add_rule(action, name, *arguments)


def _to_bytes(rules) -> bytes:  # type: ignore[no-untyped-def]
    handle = os.memfd_create("filter")
    try:
        with os.fdopen(os.dup(handle), "wb") as stream:
            rules.export_bpf(stream)
        return os.pread(handle, os.fstat(handle).st_size, 0)
    finally:
        os.close(handle)
