"""Whether an answer is right: its check, run in the sandbox, judged outside of it.

The answer runs in a process inside the sandbox. That process is sent one example after another and
sends back what was printed; what should have been printed never goes in, and text is compared with
text out here. So a candidate that patches `doctest`, prints `PASSED`, leaves with status 0, or
reads every byte of its own process has gained nothing that helps it to pass. A file of tests runs
in a sandbox of its own (`file_of_tests`); a shell command is told from a lie by canaries (`shell`).

Covered: leaving early (`sys.exit`, `os._exit`), forged and unasked results, objects equal to
everything, patched builtins, closed or flooded pipes, empty checks, skipped examples.
Not covered: an example whose text can be guessed (`True`) or that prints nothing; an object that
lies in arithmetic (`assert abs(f(2) - 4) < 1e-6`: the left side is worked out inside); statements
of an `assert` check other than a comparison with a literal, whose success the candidate's own
process reports (`CheckResult.acknowledged` counts those that assert); an answer that is written
against the canaries of a shell command.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec import Struct

from journeyman.events import Progress, ProgressEnded, Reporter, ignore
from journeyman.records import Check
from journeyman.sandbox.check_steps import CheckStep, NoTests, Statement, steps_of
from journeyman.sandbox.command_check import run_shell
from journeyman.sandbox.mounted_files import mounted
from journeyman.sandbox.outcome import CheckOutcome, load
from journeyman.sandbox.pytest_check import run_file_of_tests
from journeyman.sandbox.sandbox import Sandbox
from journeyman.sandbox.session import Failure, SandboxSession, SessionEnded

TIMEOUT_S = 10.0


class CheckResult(Struct, frozen=True):
    """How a check went. `passed` only where all of `expected` steps ran and none failed.

    `failure` is one word, empty where it passed; `detail` says more. `acknowledged` is how many of
    the assertions that ran were only reported by the candidate's own process, not judged outside.
    """

    passed: bool
    ran: int
    expected: int
    failure: Failure = ""
    detail: str = ""
    acknowledged: int = 0
    duration_s: float | None = None


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

    timeout_s counts from the moment the sandbox is up. Raises MachineError where a package folder
    does not exist; everything that the answer or its check does wrong is a result.
    """
    started = time.monotonic()
    try:
        with mounted(packages, sandbox.user) as folders:
            outcome = _CARRY_OUT[check.kind](sandbox, code, check, timeout_s, folders)
    except NoTests as error:
        outcome = CheckOutcome(0, check.n, "no-tests", str(error))
    return CheckResult(
        passed=outcome.passed,
        ran=outcome.ran,
        expected=outcome.expected,
        failure=outcome.failure,
        detail=_printable(outcome.detail),
        acknowledged=outcome.acknowledged,
        duration_s=time.monotonic() - started,
    )


def _step_by_step(
    sandbox: Sandbox, code: str, check: Check, timeout_s: float, folders: Mapping[str, Path]
) -> CheckOutcome:
    """Examples or statements, one after the other."""
    run = _Run(steps_of(check))
    try:
        run.carry_out(sandbox, code, check.setup, timeout_s, folders)
    except SessionEnded as ended:
        run.failure, run.detail = ended.failure, ended.detail
    told = sum(isinstance(step, Statement) and step.asserts for step in run.done)
    return CheckOutcome(run.ran, len(run.steps), run.failure, run.detail, told)


def _of_tests(
    _sandbox: Sandbox, _code: str, _check: Check, _timeout_s: float, _folders: Mapping[str, Path]
) -> CheckOutcome:
    """A reference judges an answer that is tests; it runs as a file of tests, turned round."""
    raise NoTests("a `reference` judges tests, not code")


_CARRY_OUT = {
    "doctest": _step_by_step,
    "assert": _step_by_step,
    "pytest": run_file_of_tests,
    "command": run_shell,
    "reference": _of_tests,
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


class _Run:
    """The state of one check while it runs."""

    @property
    def done(self) -> Sequence[CheckStep]:
        """The steps that ran."""
        return self.steps[: self.ran]

    def __init__(self, steps: Sequence[CheckStep]) -> None:
        self.steps = steps
        self.ran = 0
        self.failure: Failure = ""
        self.detail = ""

    def carry_out(
        self,
        sandbox: Sandbox,
        code: str,
        setup: str,
        timeout_s: float,
        folders: Mapping[str, Path],
    ) -> None:
        """Load, then do step after step until one fails. Raises Ended."""
        with SandboxSession(sandbox, timeout_s=timeout_s, packages=folders) as session:
            # The first request finds out whether the sandbox is up; the clock starts after it.
            session.ask("load", "")
            session.start_clock()
            load(session, setup, "the check's setup: ")
            load(session, code)
            for step in self.steps:
                self.failure, self.detail = step.judge(session.ask(step.action, step.source))
                self.ran += 1
                if self.failure:
                    return


def _printable(text: str) -> str:
    """One line without control characters: a candidate's message may hold a terminal's commands."""
    return "".join(character if character.isprintable() else " " for character in text)[:1000]
