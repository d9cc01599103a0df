"""Runs a check on an answer in the sandbox and decides outside of it whether the answer is right.

The answer runs in a process inside the sandbox. That process gets one example after another and
sends back what was printed. The expected text never goes in and is compared out here, so an answer
that patches `doctest`, prints `PASSED`, exits with status 0 or reads all memory of its own process
gains nothing. A file of tests runs in a sandbox of its own (`pytest_check`); trust tests tell
whether a shell command can fail (`command_check`).

Covered: leaving early (`sys.exit`, `os._exit`), forged and unrequested results, objects equal to
everything, patched builtins, closed or flooded pipes, empty checks, skipped examples.
Not covered: an example whose output can be guessed (`True`) or that prints nothing; an object that
lies in arithmetic (`assert abs(f(2) - 4) < 1e-6`: the left side is computed inside); statements of
an `assert` check other than a comparison with a literal, whose success the answer's own process
reports (`CheckResult.acknowledged` counts those that assert); an answer that is written against the
trust tests of a shell command.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman.events import Progress, ProgressEnded, Reporter, ignore
from journeyman.records import Check
from journeyman.sandbox.check_result import CheckResult, load, start
from journeyman.sandbox.check_steps import NoTests, StatementStep, steps_of
from journeyman.sandbox.command_check import run_command
from journeyman.sandbox.mounts import package_mounts
from journeyman.sandbox.pytest_check import run_pytest
from journeyman.sandbox.sandbox import Sandbox
from journeyman.sandbox.session import Failure, SandboxSession, SessionEnded

TIMEOUT_S = 10.0


class CheckJob(Struct, frozen=True):
    """An answer's code and the check to run on it."""

    code: str
    check: Check


def run_check(
    sandbox: Sandbox,
    code: str,
    check: Check,
    *,
    timeout_s: float = TIMEOUT_S,
    packages: Sequence[Path] = (),
) -> CheckResult:
    """Run one check on one answer. packages: folders to mount read-only and make importable.

    timeout_s counts from the moment the sandbox is up. Raises MachineError if a package folder does
    not exist; everything that the answer or its check does wrong is a result.
    """
    started = time.monotonic()
    try:
        with package_mounts(packages, sandbox.user) as mounts:
            result = _RUNNERS[check.kind](sandbox, code, check, timeout_s, mounts)
    except NoTests as error:
        result = CheckResult(0, check.n, "no-tests", str(error))
    return msgspec.structs.replace(
        result, detail=_printable(result.detail), duration_s=time.monotonic() - started
    )


def _run_steps(
    sandbox: Sandbox, code: str, check: Check, timeout_s: float, mounts: Mapping[str, Path]
) -> CheckResult:
    """Run examples or statements one after the other, until one fails."""
    steps = steps_of(check)
    ran = 0
    failure: Failure = ""
    detail = ""
    try:
        with SandboxSession(sandbox, timeout_s=timeout_s, packages=mounts) as session:
            start(session)
            load(session, check.setup, "the check's setup: ")
            load(session, code)
            for step in steps:
                failure, detail = step.outcome(session.ask(step.action, step.source))
                ran += 1
                if failure:
                    break
    except SessionEnded as ended:
        failure, detail = ended.failure, ended.detail
    acknowledged = sum(isinstance(step, StatementStep) and step.asserts for step in steps[:ran])
    return CheckResult(ran, len(steps), failure, detail, acknowledged)


def _refuse_reference(
    _sandbox: Sandbox, _code: str, _check: Check, _timeout_s: float, _mounts: Mapping[str, Path]
) -> CheckResult:
    """A reference checks an answer that is a file of tests, with roles swapped."""
    raise NoTests("a `reference` checks tests, not code")


_RUNNERS: dict[str, Callable[[Sandbox, str, Check, float, Mapping[str, Path]], CheckResult]] = {
    "doctest": _run_steps,
    "assert": _run_steps,
    "pytest": run_pytest,
    "command": run_command,
    "reference": _refuse_reference,
}


def run_checks(
    sandbox: Sandbox,
    jobs: Sequence[CheckJob],
    report: Reporter = ignore,
    *,
    timeout_s: float = TIMEOUT_S,
    packages: Sequence[Path] = (),
    task: str = "checks",
    workers: int = 1,
) -> list[CheckResult]:
    """Run many checks and give their results in the same order.

    workers: how many run at a time; more than one makes time limits less exact on a busy machine.
    """

    def run(job: CheckJob) -> CheckResult:
        return run_check(sandbox, job.code, job.check, timeout_s=timeout_s, packages=packages)

    results: list[CheckResult] = []
    with ThreadPoolExecutor(workers) as pool:
        for result in pool.map(run, jobs):
            results.append(result)
            report(Progress(task, len(results), len(jobs), "checks"))
    passed = sum(result.passed for result in results)
    report(ProgressEnded(task, f"{task}: {passed} of {len(results)} passed"))
    return results


def _printable(text: str) -> str:
    """One line without control characters: an answer's message may hold terminal commands."""
    return "".join(character if character.isprintable() else " " for character in text)[:1000]
