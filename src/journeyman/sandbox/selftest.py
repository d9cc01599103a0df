"""The self test: every attack is carried out, and each has to be held, in time, the host unchanged.

The short form is a few attacks of each kind, for the start of an evaluation; its result stands in
the report. A lie has to fail every kind of check; a right answer has to pass them all.
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
from journeyman.sandbox.checks import CheckResult, run_check
from journeyman.sandbox.decoys import Decoys
from journeyman.sandbox.finding import find_sandbox
from journeyman.sandbox.sandbox import Profile, Sandbox
from journeyman.temporary_folders import OwnedFolder

GRACE_S = 10.0
"""How much longer than its time limit a run may take: to start, to be ended, on a busy machine."""

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
_COMMAND_S = 3
KINDS = ("doctest", "assert", "pytest", "command")


class AttackResult(Struct, frozen=True):
    """How one attack went. `outcome` is `refused`, or the word in which the run ended.

    `limit_s`: the run had to end within. `changes`: what was other on the host afterwards.
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
    """What was tried on which sandbox, and whether all of it held.

    `user` is the id that the run has: None for the caller's own. `landlock` 0: the kernel has none.
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
    """The result where there is no sandbox, or none was wanted: code is not run."""
    return SelfTest("none", held=False, short=short, kernel=platform.release(), reason=reason)


def tested(profile: Profile, report: Reporter, *, short: bool) -> tuple[Sandbox | None, SelfTest]:
    """The sandbox of a profile where it holds against every attack, else None; and the result."""
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
    """Carry the attacks out. The whole list takes about half a minute, the short one two seconds.

    kinds: the kinds of checks that lies are told to.
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
    """Every attack with the check that it is to be held by, and a right answer for each check."""
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
            yield partial(carried_out, sandbox, attack, check)


def carried_out(sandbox: Sandbox, attack: Attack, check: Check = _REFUSED) -> AttackResult:
    """Carry one attack out, and look at the host before and after."""
    limits = msgspec.structs.replace(sandbox.limits, **attack.limits)
    with Decoys(sandbox.user) as bait:
        marked = msgspec.structs.replace(sandbox, limits=limits, mark=bait.token)
        code = bait.filled(attack.code)
        result = run_check(marked, code, check, timeout_s=attack.timeout_s)
        changes = tuple(bait.changes())
    lies = attack.group == "lies"
    allowed = attack.timeout_s * (_COMMAND_S if check.kind == "command" else 1) + GRACE_S
    ended = not result.passed if lies else result.passed or result.failure in attack.ends
    took_s = result.duration_s or 0.0
    return AttackResult(
        group=attack.group,
        name=f"{attack.name} ({check.kind})" if lies else attack.name,
        held=ended and took_s <= allowed and not changes,
        outcome=result.failure or ("passed" if lies else "refused"),
        detail=result.detail,
        duration_s=round(took_s, 3),
        limit_s=allowed,
        changes=changes,
    )


def _right_answer(sandbox: Sandbox, check: Check) -> AttackResult:
    """A sandbox in which nothing passes would hold against every lie."""
    result: CheckResult = run_check(sandbox, RIGHT, check, timeout_s=GRACE_S)
    return AttackResult(
        group="right answer",
        name=f"a right answer passes ({check.kind})",
        held=result.passed,
        outcome=result.failure or "passed",
        detail=result.detail,
        duration_s=round(result.duration_s or 0.0, 3),
        limit_s=GRACE_S,
    )


def summary(attacks: Sequence[AttackResult]) -> dict[str, str]:
    """How many attacks of each group were held."""
    groups = dict.fromkeys(attack.group for attack in attacks)
    found = {}
    for group in groups:
        mine = [attack for attack in attacks if attack.group == group]
        found[group] = f"{sum(attack.held for attack in mine)} of {len(mine)}"
    return found
