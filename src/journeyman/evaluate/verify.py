"""`journeyman verify`: makes a report's every number again from what it stores, and compares.

Answers are scored again (served, finished, form, the code found in them); what the sandbox said of
their code is taken as stored, but never for code that does not parse. From there on every rate,
interval, pair, latency, gate and the verdict is made anew. Files that are still where the report
says are hashed: the model, the test rows, the plan beside the report, the splits for a leak.
Not covered: answers that no model gave. A report whose answers were made up, consistently and with
its plan, cannot be told from a true one; measuring again can tell.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman.errors import IntegrityError, UsageError
from journeyman.evaluate.fixed_plan import plan_path, plan_sha256, prompts_sha256
from journeyman.evaluate.plan import find_leak, task_key
from journeyman.evaluate.records import SCHEMA, Evaluation, Label, Leak, Plan
from journeyman.evaluate.remaking import Difference, differences, remade
from journeyman.events import Note, Reporter, StageStarted, Table, ignore
from journeyman.files import sha256_of
from journeyman.settings import VerifySettings


class Verification(Struct, frozen=True):
    """What came of it. `label` is the report's own where nothing differs, else INVALID."""

    label: Label
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


def verify(
    path: Path, settings: VerifySettings = VerifySettings(), report: Reporter = ignore
) -> Verification:
    """Read a report, make it again, and say what differs."""
    stored = read_report(path)
    report(StageStarted("verify", f"{len(stored.items)} answers of `{path}`"))
    leak, leak_note = _leak_again(stored)
    notes = [leak_note] if leak_note else []
    found_differences = [
        *differences(stored, remade(stored, leak)),
        *_inconsistent(stored),
        *_files(path, stored, settings.model, notes),
    ]
    label: Label = "INVALID" if found_differences else stored.verdict.label
    found = Verification(label, tuple(found_differences), tuple(notes))
    _tell(found, stored, report)
    return found


def read_report(path: Path) -> Evaluation:
    """The evaluation that a file holds. Raises IntegrityError where it holds none."""
    if not path.is_file():
        raise UsageError(f"`{path}` is not a file", hint="name the JSON that `evaluate` wrote")
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Evaluation)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(
            f"`{path}` is no evaluation, or damaged: {error}", hint="evaluate again"
        ) from error
    if found.schema != SCHEMA:
        raise IntegrityError(
            f"`{path}` has schema `{found.schema}`, known is `{SCHEMA}`",
            hint="verify it with the version that wrote it, or evaluate again",
        )
    return found


def _leak_again(stored: Evaluation) -> tuple[Leak, str]:
    """The leak by the splits that are still there, else the stored one and a note."""
    files = [Path(name) for name in stored.leak.files]
    if not files or not all(path.is_file() for path in files):
        return stored.leak, "the splits are not here any more: the leak is taken as stored"
    return find_leak(stored.tasks, files[0].parent), ""


def _inconsistent(stored: Evaluation) -> Iterator[Difference]:
    """What no two parts of a report may say differently."""
    plan = stored.plan
    for task in stored.tasks:
        key = task_key(task.messages, task.tools)
        if key != task.id:
            yield Difference(f"tasks {task.id}", "its prompt", f"a prompt with the id {key}")
    if plan.prompts_sha256 != (prompts := prompts_sha256(stored.tasks)):
        yield Difference("plan.prompts_sha256", plan.prompts_sha256, prompts)
    if plan.tasks != len(stored.tasks):
        yield Difference("plan.tasks", str(plan.tasks), str(len(stored.tasks)))
    planned = {arm.id: arm.sha256 for arm in plan.arms}
    for result in stored.arms:
        if planned and planned.get(result.arm.id) != result.arm.sha256:
            was = planned.get(result.arm.id, "not planned")
            yield Difference(f"model {result.arm.id}", was, result.arm.sha256)
    seen = [(item.arm, item.task) for item in stored.items]
    if len(set(seen)) != len(seen):
        yield Difference("items", "one answer a task", "some answers twice")
    known = {task.id for task in stored.tasks}
    for item in stored.items:
        if item.task not in known:
            yield Difference("items", "an answer to a planned task", f"one to {item.task}")


def _files(
    path: Path, stored: Evaluation, given: Path | None, notes: list[str]
) -> Iterator[Difference]:
    """Files against the hashes that the report gives them. notes: what could not be compared."""
    beside = plan_path(path)
    if not beside.is_file():
        notes.append(f"the plan `{beside}` is not here: it is taken as stored")
    elif (written := _plan_hash(beside)) != stored.plan_sha256:
        yield Difference(f"plan in {beside.name}", stored.plan_sha256[:12], written[:12])
    test_data = Path(stored.plan.test_data)
    if not test_data.is_file() or sha256_of(test_data) != stored.plan.test_sha256:
        notes.append(f"`{test_data}` is not here, or not as it was: the tasks are taken as stored")
    tuned = stored.arm("tuned")
    if tuned is None:
        return
    model = given or (Path(tuned.arm.path) if tuned.arm.engine == "llama.cpp" else None)
    if model is None or (given is None and not model.is_file()):
        notes.append("the model's file is not here: its hash is taken as stored")
    elif (now := sha256_of(model)) != tuned.arm.sha256:
        yield Difference(f"model {model}", tuned.arm.sha256[:12], now[:12])


def _plan_hash(path: Path) -> str:
    try:
        return plan_sha256(msgspec.json.decode(path.read_bytes(), type=Plan))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "damaged"


def _tell(found: Verification, stored: Evaluation, report: Reporter) -> None:
    for note in found.notes:
        report(Note(note))
    if not found.differences:
        report(Note(f"every number follows from {len(stored.items)} answers: {found.label}"))
        return
    rows = tuple((one.where, one.stored, one.found) for one in found.differences)
    report(Table("", ("where", "the report says", "it follows"), rows))
    count = len(found.differences)
    report(Note(f"INVALID: {count} things in this report do not follow from what it stores"))
