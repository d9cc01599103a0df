"""The stage `collect python`: documented functions of installed packages, with doctest checks.

The prompt is the docstring's prose, the answer the function's standalone source, and the doctest
examples are held back as the check. With `verify`, a function is kept only if its source passes the
check in the sandbox and a stub fails it, so that every task can be solved and can be failed.
Counted as found: public top-level functions of any module of the package (without tests) whose
docstring has prose and at least one doctest example; re-exports do not count again.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from journeyman.collect.python.docstrings import Documented, documented_functions
from journeyman.collect.python.function_task import FunctionTask, UnusableFunction, task_of
from journeyman.collect.python.package_source import Module, Package, read_package
from journeyman.data.interactions import write_interactions
from journeyman.errors import DataRefused, MachineError, UsageError
from journeyman.events import Caution, Reporter, StageStarted, Table, ignore
from journeyman.machine.processor import usable_processors
from journeyman.records import Interaction
from journeyman.sandbox import Sandbox, find_sandbox
from journeyman.sandbox.check_result import CheckResult
from journeyman.sandbox.checks import CheckJob, run_checks
from journeyman.settings import CollectPythonSettings

_STUB = "def {name}(*args, **kwargs):\n    return None\n"
_REASONS = {
    "mismatch": "its standalone source prints something else",
    "import": "its source needs more than the standard library",
    "timeout": "its source takes too long",
    "no-tests": "its examples cannot be checked",
}


class SkippedFunction(Struct, frozen=True):
    """A function that was found and left out. `reason` is shared by many, `detail` is its own."""

    task_id: str
    reason: str
    detail: str = ""


class FunctionCollection(Struct, frozen=True):
    """The result: the file, and how many functions were found, kept and left out."""

    path: Path
    found: int
    kept: int
    left_out: tuple[SkippedFunction, ...]
    packages: tuple[str, ...]
    verified: bool

    def reasons(self) -> dict[str, int]:
        """How many were left out for each reason, the most frequent first."""
        counts = Counter(function.reason for function in self.left_out)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def collect_python(
    packages: Sequence[str], settings: CollectPythonSettings, report: Reporter = ignore
) -> FunctionCollection:
    """Write the interactions of some packages. Equal versions give an equal file.

    Raises UsageError for a package that is not installed, MachineError for `verify` without a
    sandbox, DataRefused if no function is left.
    """
    report(StageStarted("collect", f"documented functions of {', '.join(packages) or 'nothing'}"))
    sources = _read_all(packages)
    left_out: list[SkippedFunction] = []
    tasks = _tasks(sources, settings, left_out)
    found = len(tasks) + len(left_out)
    if settings.verify:
        tasks = _verified(tasks, _required_sandbox(report), left_out, report)
    else:
        report(Caution("the answers were not verified: `--no-verify` was given"))
    if not tasks:
        raise DataRefused(
            f"none of the {found} documented functions of `{'`, `'.join(packages)}` can be used",
            hint="choose a package whose docstrings have doctest examples",
        )
    status = "success" if settings.verify else "unverified"
    write_interactions(settings.output, _interactions(tasks, status))
    collected = FunctionCollection(
        path=settings.output,
        found=found,
        kept=len(tasks),
        left_out=tuple(sorted(left_out, key=lambda function: function.task_id)),
        packages=tuple(package.producer for package in sources),
        verified=settings.verify,
    )
    report(_summary(collected))
    return collected


def _read_all(names: Sequence[str]) -> list[Package]:
    """The packages, without repetitions. Raises UsageError with all that are not installed."""
    if not names:
        raise UsageError("no package was given", hint="for example more_itertools toolz boltons")
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


PackagedTask = tuple[Package, FunctionTask]


def _tasks(
    packages: Iterable[Package], settings: CollectPythonSettings, left_out: list[SkippedFunction]
) -> list[PackagedTask]:
    tasks: list[PackagedTask] = []
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
    except UnusableFunction as reason:
        left_out.append(SkippedFunction(f"{module.name}.{function.name}", str(reason)))
        return None


def _required_sandbox(report: Reporter) -> Sandbox:
    sandbox = find_sandbox(report)
    if sandbox is None:
        raise MachineError(
            "the answers cannot be verified: there is no sandbox on this machine",
            hint="see the reason above, or use `--no-verify`",
        )
    return sandbox


def _verified(
    tasks: Sequence[PackagedTask],
    sandbox: Sandbox,
    left_out: list[SkippedFunction],
    report: Reporter,
) -> list[PackagedTask]:
    """The tasks whose answer passes the check and whose stub fails it."""
    jobs = [CheckJob(task.code, task.check) for _, task in tasks]
    stubs = [CheckJob(_STUB.format(name=task.check.entry_point), task.check) for _, task in tasks]
    workers = usable_processors()
    answers = run_checks(sandbox, jobs, report, task="answers", workers=workers)
    empty = run_checks(sandbox, stubs, report, task="stubs, which must fail", workers=workers)
    kept: list[PackagedTask] = []
    for pair, answer, stub in zip(tasks, answers, empty, strict=True):
        reason = _reason(answer, stub)
        if reason:
            left_out.append(SkippedFunction(pair[1].task_id, reason, answer.detail))
        else:
            kept.append(pair)
    return kept


def _reason(answer: CheckResult, stub: CheckResult) -> str:
    if not answer.passed:
        return _REASONS.get(answer.failure, "its standalone source fails")
    return "a stub passes its check" if stub.passed else ""


def _interactions(tasks: Sequence[PackagedTask], status: str) -> Iterable[Interaction]:
    for line, (package, task) in enumerate(tasks, start=1):
        yield task.interaction(package, line=line, status=status)


def _summary(collected: FunctionCollection) -> Table:
    rows = [("found", str(collected.found)), ("kept", str(collected.kept))]
    rows += [(f"left out: {why}", str(n)) for why, n in collected.reasons().items()]
    title = f"functions of {', '.join(collected.packages)}"
    return Table(title, ("functions", "n"), tuple(rows))
