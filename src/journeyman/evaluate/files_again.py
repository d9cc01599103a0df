"""Files that a report names, against what it says of them: plan, page, rows, splits, log, model."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec.structs import replace

from journeyman.errors import JourneymanError
from journeyman.evaluate.baseline import read_baseline
from journeyman.evaluate.fixed_plan import plan_path, plan_sha256
from journeyman.evaluate.page import page
from journeyman.evaluate.plan import tasks_in_order
from journeyman.evaluate.records import Evaluation, EvaluationPlan
from journeyman.evaluate.remaking import ReportDifference, differences
from journeyman.files import sha256_of


def compared_files(
    path: Path, stored: Evaluation, given: Path | None, notes: list[str]
) -> Iterator[ReportDifference]:
    """What is other in the files than in the report. notes: gets what could not be compared.

    given: the model's file, where it is not the one that the report names.
    """
    yield from _plan(path, stored, notes)
    yield from _page(path, stored, notes)
    yield from _rows(stored, notes)
    yield from _model(stored, given, notes)


def _plan(path: Path, stored: Evaluation, notes: list[str]) -> Iterator[ReportDifference]:
    beside = plan_path(path)
    if not beside.is_file():
        # No plan is fixed where a gate failed before anything was asked.
        if stored.items:
            notes.append(f"the plan `{beside}` is not here: it is taken as stored")
    elif (written := _plan_hash(beside)) != stored.plan_sha256:
        yield ReportDifference(f"plan in {beside.name}", stored.plan_sha256[:12], written[:12])


def _plan_hash(path: Path) -> str:
    try:
        return plan_sha256(msgspec.json.decode(path.read_bytes(), type=EvaluationPlan))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "damaged"


def _page(path: Path, stored: Evaluation, notes: list[str]) -> Iterator[ReportDifference]:
    beside = path.with_suffix(".html")
    if not beside.is_file():
        notes.append(f"the page `{beside}` is not here: it is not compared")
    elif beside.read_text(encoding="utf-8", errors="replace") != page(stored):
        yield ReportDifference(f"page {beside.name}", "is written", "another page follows")


def _rows(stored: Evaluation, notes: list[str]) -> Iterator[ReportDifference]:
    """The test rows give the tasks, and their folder the baseline."""
    plan = stored.plan
    test_data = Path(plan.test_data)
    if not test_data.is_file() or sha256_of(test_data) != plan.test_sha256:
        notes.append(f"`{test_data}` is not here, or not as it was: the tasks are taken as stored")
        return
    try:
        rows, tasks = tasks_in_order(test_data, plan.limit, plan.seed)
        # The rows of every split are part of it, and that some are gone is noted with the leak.
        whole = all(Path(name).is_file() for name in stored.leak.files)
        baseline = read_baseline(test_data.parent) if whole else stored.baseline
    except JourneymanError as error:
        notes.append(f"the tasks and the baseline are taken as stored: {error}")
        return
    follows = replace(stored, plan=replace(plan, rows=rows), tasks=tuple(tasks), baseline=baseline)
    yield from differences(stored, follows)


def _model(stored: Evaluation, given: Path | None, notes: list[str]) -> Iterator[ReportDifference]:
    tuned = stored.arm("tuned")
    if tuned is None:
        return
    model = given or (Path(tuned.arm.path) if tuned.arm.engine == "llama.cpp" else None)
    if model is None or (given is None and not model.is_file()):
        notes.append("the model's file is not here: its hash is taken as stored")
    elif (now := sha256_of(model)) != tuned.arm.sha256:
        yield ReportDifference(f"model {model}", tuned.arm.sha256[:12], now[:12])
