"""Running code that nobody has read: in a sandbox that has proved itself, or not at all.

`find_sandbox` gives a proven sandbox or None; `journeyman.sandbox.checks` runs checks in it.
Profile `strict`: bubblewrap (own user, process, network, file and IPC namespaces), an unprivileged
user id, a seccomp deny list, resource limits, and a watchdog for time, memory and output. There is
no weaker profile to fall back to: without `strict`, code is not run and the caller says so.

Covered: files, secrets and processes of the host; the network; time, memory, processes and output;
a candidate that lies about its own success (`journeyman.sandbox.checks`).
Not covered: a hole in the kernel; side channels; the processor time of others within the limits;
names of mounted folders, which `/proc/self/mountinfo` shows; empty files in the sandbox's own
memory, which only the clock bounds.
"""

from journeyman.sandbox.finding import find_sandbox
from journeyman.sandbox.sandbox import Limits, Profile, Sandbox

__all__ = ["Limits", "Profile", "Sandbox", "find_sandbox"]
