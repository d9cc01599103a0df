"""From documented functions of installed packages to interactions whose checks are doctests.

Asked is what the docstring says; answered is the function's source, made to stand alone; the
examples are held back as the check. With `verify`, an answer is kept only where its check passes in
the sandbox and a stub of it fails, so that each row is a task that can be got right and wrong.
Counted as found: public functions at the top of any module of the package (tests left out) whose
docstring holds prose and at least one doctest example; re-exports do not count again.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from journeyman.collect.python.docstrings import Documented, documented_functions
from journeyman.collect.python.modules import Module, Package, read_package
from journeyman.collect.python.tasks import FunctionTask, NoTask, task_of
from journeyman.data.interactions import write_interactions
from journeyman.errors import DataRefused, MachineError, UsageError
from journeyman.events import Caution, Reporter, StageStarted, Table, ignore
from journeyman.machine.processor import usable_processors
from journeyman.records import Interaction
from journeyman.sandbox import Sandbox, find_sandbox
from journeyman.sandbox.checks import CheckJob, CheckResult, run_checks
from journeyman.settings import CollectPythonSettings

_STUB = "def {name}(*args, **kwargs):\n    return None\n"
_WORDS = {
    "mismatch": "its own source prints something else alone",
    "import": "its own source needs more than the standard library",
    "timeout": "its own source takes too long",
    "no-tests": "its examples cannot be checked",
}


class SkippedFunction(Struct, frozen=True):
    """A function that was found and not kept. `reason` is shared by many, `detail` is its own."""

    task_id: str
    reason: str
    detail: str = ""


class FunctionCollection(Struct, frozen=True):
    """What was collected: the file, and where every function that was found has gone."""

    path: Path
    found: int
    kept: int
    left_out: tuple[SkippedFunction, ...]
    packages: tuple[str, ...]
    verified: bool

    def reasons(self) -> dict[str, int]:
        """How many were left out for each reason, the commonest first."""
        counts = Counter(function.reason for function in self.left_out)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def collect_python(
    packages: Sequence[str], settings: CollectPythonSettings, report: Reporter = ignore
) -> FunctionCollection:
    """Write the interactions of some packages; equal versions give an equal file.

    Raises UsageError for a package that is not installed, MachineError where `verify` is asked for
    and there is no sandbox, DataRefused where nothing is left.
    """
    report(StageStarted("collect", f"documented functions of {', '.join(packages) or 'nothing'}"))
    read = _read_all(packages)
    left_out: list[SkippedFunction] = []
    tasks = _tasks(read, settings, left_out)
    found = len(tasks) + len(left_out)
    if settings.verify:
        tasks = _verified(tasks, _required_sandbox(report), left_out, report)
    else:
        report(Caution("the answers were not run against their checks: verify is off"))
    if not tasks:
        raise DataRefused(
            f"none of the {found} documented functions of `{'`, `'.join(packages)}` can be used",
            hint="name a package whose docstrings hold doctest examples",
        )
    status = "success" if settings.verify else "unverified"
    write_interactions(settings.output, _interactions(tasks, status))
    collected = FunctionCollection(
        path=settings.output,
        found=found,
        kept=len(tasks),
        left_out=tuple(sorted(left_out, key=lambda function: function.task_id)),
        packages=tuple(package.producer for package in read),
        verified=settings.verify,
    )
    report(_summary(collected))
    return collected


def _read_all(names: Sequence[str]) -> list[Package]:
    """All packages, once each. Raises UsageError with every name that is not installed."""
    if not names:
        raise UsageError("no package was named", hint="e.g. more_itertools toolz boltons")
    packages: dict[str, Package] = {}
    missing: list[str] = []
    for name in names:
        try:
            package = read_package(name)
        except UsageError as error:
            missing.append(error.message)
            continue
        packages.setdefault(package.name, package)
    if missing:
        raise UsageError("; ".join(missing), hint=f"pip install {' '.join(names)}")
    return list(packages.values())


Found = tuple[Package, FunctionTask]


def _tasks(
    packages: Iterable[Package], settings: CollectPythonSettings, left_out: list[SkippedFunction]
) -> list[Found]:
    tasks: list[Found] = []
    for package in packages:
        for module in package.modules.values():
            for function in documented_functions(module):
                task = _task(package, module, function, settings, left_out)
                if task is not None:
                    tasks.append((package, task))
    return tasks


def _task(
    package: Package,
    module: Module,
    function: Documented,
    settings: CollectPythonSettings,
    left_out: list[SkippedFunction],
) -> FunctionTask | None:
    try:
        return task_of(
            package,
            module,
            function,
            show_examples=settings.show_examples,
            longest_answer=settings.longest_answer,
        )
    except NoTask as reason:
        left_out.append(SkippedFunction(f"{module.name}.{function.name}", str(reason)))
        return None


def _required_sandbox(report: Reporter) -> Sandbox:
    sandbox = find_sandbox(report)
    if sandbox is None:
        raise MachineError(
            "the answers cannot be verified: there is no sandbox to run them in",
            hint="see the reason above, or collect with --no-verify",
        )
    return sandbox


def _verified(
    tasks: Sequence[Found], sandbox: Sandbox, left_out: list[SkippedFunction], report: Reporter
) -> list[Found]:
    """The tasks whose own answer passes and whose stub does not."""
    jobs = [CheckJob(task.code, task.check) for _, task in tasks]
    stubs = [CheckJob(_STUB.format(name=task.check.entry_point), task.check) for _, task in tasks]
    workers = usable_processors()
    answers = run_checks(sandbox, jobs, report, task="answers", workers=workers)
    empty = run_checks(sandbox, stubs, report, task="empty stubs, which must fail", workers=workers)
    kept: list[Found] = []
    for pair, answer, stub in zip(tasks, answers, empty, strict=True):
        reason = _reason(answer, stub)
        if reason:
            left_out.append(SkippedFunction(pair[1].task_id, reason, answer.detail))
        else:
            kept.append(pair)
    return kept


def _reason(answer: CheckResult, stub: CheckResult) -> str:
    if not answer.passed:
        return _WORDS.get(answer.failure, "its own source fails alone")
    return "a stub passes its check" if stub.passed else ""


def _interactions(tasks: Sequence[Found], status: str) -> Iterable[Interaction]:
    for line, (package, task) in enumerate(tasks, start=1):
        yield task.interaction(package, line=line, status=status)


def _summary(collected: FunctionCollection) -> Table:
    rows = [("found", str(collected.found)), ("kept", str(collected.kept))]
    rows += [(f"left out: {why}", str(n)) for why, n in collected.reasons().items()]
    title = f"functions of {', '.join(collected.packages)}"
    return Table(title, ("functions", "n"), tuple(rows))
