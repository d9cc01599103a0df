"""The self-test: runs every attack; each must be held in time, with the host unchanged.

The short form is a few attacks of each kind before an evaluation; its result is in the report.
A lie must fail every kind of check, and a right answer must pass them all.
"""

import datetime
import platform
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from journeyman.events import Caution, Event, Progress, ProgressEnded, Reporter, ignore
from journeyman.records import Check
from journeyman.sandbox.attacks import ALL, Attack
from journeyman.sandbox.checks import run_check
from journeyman.sandbox.decoys import Decoys
from journeyman.sandbox.discovery import find_sandbox
from journeyman.sandbox.sandbox import Profile, Sandbox
from journeyman.temporary_folders import OwnedFolder

GRACE_S = 10.0
"""How much longer than its time limit a run may take to start and to end, on a busy machine."""

RIGHT = "def double(x):\n    return x + x\n"
DOUBLES = Check("doctest", ">>> double(2)\n4\n>>> double('ab')\n'abab'\n", n=2)
ASSERTS = Check("assert", "assert double(2) == 4\nassert double('ab') == 'abab'\n", n=2)
TESTS = Check(
    "pytest",
    "from answer import double\ndef test_number():\n    assert double(2) == 4\n"
    "def test_text():\n    assert double('ab') == 'abab'\n",
    n=2,
)
_REFUSED = Check("doctest", ">>> print(attack())\nrefused\n", n=1)
_SCRIPT = "from core import double\nassert double(2) == 4\nassert double('ab') == 'abab'\n"
_COMMAND_RUNS = 3
KINDS = ("doctest", "assert", "pytest", "command")


class AttackResult(Struct, frozen=True):
    """The result of one attack. `outcome` is `refused`, or the failure that ended the run.

    `limit_s` is the time in which the run had to end, `changes` what it changed on the host.
    """

    group: str
    name: str
    held: bool
    outcome: str
    detail: str
    duration_s: float
    limit_s: float
    changes: tuple[str, ...] = ()


class SelfTest(Struct, frozen=True):
    """The sandbox that was tested, every attack, and whether all were held.

    `user` is the user id of the runs, None for the caller's. `landlock` 0: the kernel has none.
    """

    profile: Literal["strict", "degraded", "none"]
    held: bool
    short: bool
    attacks: tuple[AttackResult, ...] = ()
    bwrap: str = ""
    python: str = ""
    user: int | None = None
    landlock: int = 0
    kernel: str = ""
    created_utc: str = ""
    reason: str = ""

    @property
    def failed(self) -> list[AttackResult]:
        """The attacks that were not held."""
        return [attack for attack in self.attacks if not attack.held]


def no_sandbox(reason: str, *, short: bool = True) -> SelfTest:
    """The result without a sandbox: code is not run."""
    return SelfTest("none", held=False, short=short, kernel=platform.release(), reason=reason)


def find_tested_sandbox(
    profile: Profile, report: Reporter, *, short: bool
) -> tuple[Sandbox | None, SelfTest]:
    """The sandbox of a profile, None unless it holds every attack; and the result."""
    reasons: list[str] = []

    def note(event: Event) -> None:
        report(event)
        if isinstance(event, Caution):
            reasons.append(event.text)

    sandbox = find_sandbox(note, profile)
    if sandbox is None:
        return None, no_sandbox("; ".join(reasons), short=short)
    result = self_test(sandbox, report, short=short)
    if result.held:
        return sandbox, result
    names = ", ".join(attack.name for attack in result.failed)
    report(
        Caution(
            f"the {profile} sandbox does not hold, so generated code is not run: {names}",
            hint=f"see `journeyman sandbox selftest --profile {profile}`",
        )
    )
    return None, result


def self_test(
    sandbox: Sandbox,
    report: Reporter = ignore,
    *,
    short: bool = False,
    kinds: Sequence[str] = KINDS,
    workers: int = 4,
) -> SelfTest:
    """Run the attacks. All of them take about half a minute, the short form two seconds.

    kinds: the kinds of checks that lies are tried on.
    """
    with OwnedFolder("self-test", open_to_all=True) as folder:
        (folder / "run.py").write_text(_SCRIPT, encoding="utf-8")
        jobs = list(_jobs(sandbox, folder, short=short, kinds=("doctest",) if short else kinds))
        results: list[AttackResult] = []
        with ThreadPoolExecutor(1 if short else workers) as pool:
            for result in pool.map(lambda job: job(), jobs):
                results.append(result)
                report(Progress("attacks", len(results), len(jobs), detail=result.name))
    held = sum(result.held for result in results)
    report(ProgressEnded("attacks", f"{held} of {len(results)} attacks were held"))
    return SelfTest(
        profile=sandbox.profile,
        held=held == len(results),
        short=short,
        attacks=tuple(results),
        bwrap=str(sandbox.bwrap or ""),
        python=sandbox.python,
        user=sandbox.user,
        landlock=sandbox.landlock,
        kernel=platform.release(),
        created_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _jobs(
    sandbox: Sandbox, folder: Path, *, short: bool, kinds: Sequence[str]
) -> "Iterator[partial[AttackResult]]":
    """Every attack with the check that must hold it, and a right answer for each check."""
    command = Check(
        "command", "PYTHONPATH=. python3 run.py", n=1, file="core.py", repository=str(folder)
    )
    checks = [check for check in (DOUBLES, ASSERTS, TESTS, command) if check.kind in kinds]
    for check in checks:
        yield partial(_right_answer, sandbox, check)
    for attack in ALL:
        if short and not attack.short:
            continue
        for check in checks if attack.group == "lies" else [_REFUSED]:
            yield partial(run_attack, sandbox, attack, check)


def run_attack(sandbox: Sandbox, attack: Attack, check: Check = _REFUSED) -> AttackResult:
    """Run one attack, and compare the host before and after."""
    limits = msgspec.structs.replace(sandbox.limits, **attack.limits)
    with Decoys(sandbox.user) as decoys:
        marked = msgspec.structs.replace(sandbox, limits=limits, mark=decoys.token)
        code = decoys.fill(attack.code)
        result = run_check(marked, code, check, timeout_s=attack.timeout_s)
        changes = tuple(decoys.changes())
    is_lie = attack.group == "lies"
    runs = _COMMAND_RUNS if check.kind == "command" else 1
    limit_s = attack.timeout_s * runs + GRACE_S
    is_held = not result.passed if is_lie else result.passed or result.failure in attack.ends
    took_s = result.duration_s or 0.0
    return AttackResult(
        group=attack.group,
        name=f"{attack.name} ({check.kind})" if is_lie else attack.name,
        held=is_held and took_s <= limit_s and not changes,
        outcome=result.failure or ("passed" if is_lie else "refused"),
        detail=result.detail,
        duration_s=round(took_s, 3),
        limit_s=limit_s,
        changes=changes,
    )


def _right_answer(sandbox: Sandbox, check: Check) -> AttackResult:
    """Check that a right answer passes: a sandbox in which nothing passes would hold every lie."""
    result = run_check(sandbox, RIGHT, check, timeout_s=GRACE_S)
    return AttackResult(
        group="right answer",
        name=f"a right answer passes ({check.kind})",
        held=result.passed,
        outcome=result.failure or "passed",
        detail=result.detail,
        duration_s=round(result.duration_s or 0.0, 3),
        limit_s=GRACE_S,
    )
