"""Runs untrusted code in a sandbox that has been tested on this machine, or not at all.

`find_sandbox` gives a tested sandbox or None; `journeyman.sandbox.checks` runs checks in it.
Profile `strict`: bubblewrap (own user, process, network, file and IPC namespaces), an unprivileged
user id, a seccomp deny list, resource limits, and a watchdog for time, memory and output. It never
falls back to a weaker profile: without `strict`, code is not run and the caller says so.

Covered: files, secrets and processes of the host; the network; time, memory, processes and output;
an answer that lies about its own success (`journeyman.sandbox.checks`).
Not covered: a hole in the kernel; side channels; CPU time taken from others within the limits;
names of mounted folders, which `/proc/self/mountinfo` shows; empty files in the sandbox's own
memory, which only the time limit bounds.
"""

from journeyman.sandbox.discovery import find_sandbox
from journeyman.sandbox.sandbox import Limits, Profile, Sandbox

__all__ = ["Limits", "Profile", "Sandbox", "find_sandbox"]
