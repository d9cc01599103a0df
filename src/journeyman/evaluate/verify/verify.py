"""`journeyman verify`: makes a report's every number again from what it stores, and compares.

Answers to every suite are scored again (served, finished, form, rules, the code found in them);
what the sandbox said of their code is taken as stored, but never for code that does not parse, nor
where there was no sandbox. From there on every rate, interval, pair, latency, likelihood,
divergence, gate and the verdict is made anew. Files that are still where the report says are
compared: the model, the test rows with their tasks, the plan and the page beside the report, the
log's figures, the splits for a leak.
Not covered: answers that no model gave. A report whose answers were made up, consistently and with
its plan, cannot be told from a true one; measuring again can tell.
"""

from pathlib import Path

from msgspec import Struct

from journeyman.errors import IntegrityError
from journeyman.evaluate.asking.plan import find_leak
from journeyman.evaluate.records.evaluation import SCHEMA, Evaluation, Label, Leak
from journeyman.evaluate.verify.consistency import compared_files, inconsistent
from journeyman.evaluate.verify.read_report import read_report
from journeyman.evaluate.verify.recompute import ReportDifference, differences, remade
from journeyman.events import Note, Reporter, StageStarted, Table, ignore
from journeyman.settings import VerifySettings


class Verification(Struct, frozen=True):
    """What came of it. `label` is the report's own where nothing differs, else INVALID."""

    label: Label
    differences: tuple[ReportDifference, ...]
    notes: tuple[str, ...]


def verify(
    path: Path, settings: VerifySettings = VerifySettings(), report: Reporter = ignore
) -> Verification:
    """Read a report, make it again, and say what differs."""
    stored = read_report(path)
    if stored.schema != SCHEMA:
        # Its numbers would follow, but not its sentences, which this version words otherwise.
        raise IntegrityError(
            f"`{path}` has schema `{stored.schema}`, this version verifies `{SCHEMA}`",
            hint="verify it with the version that wrote it, or score its answers again: "
            f"`journeyman evaluate --rescore --output {path}`",
        )
    report(StageStarted("verify", f"{_answers(stored)} answers of `{path}`"))
    leak, leak_note = _leak_again(stored)
    notes = [leak_note] if leak_note else []
    found_differences = [
        *differences(stored, remade(stored, leak)),
        *inconsistent(stored),
        *compared_files(path, stored, settings.model, notes),
    ]
    label: Label = "INVALID" if found_differences else stored.verdict.label
    found = Verification(label, tuple(found_differences), tuple(notes))
    _tell(found, stored, report)
    return found


def _leak_again(stored: Evaluation) -> tuple[Leak, str]:
    """The leak by the splits that are still there, else the stored one and a note."""
    files = [Path(name) for name in stored.leak.files]
    if not files or not all(path.is_file() for path in files):
        return stored.leak, "the splits are not here any more: the leak is taken as stored"
    return find_leak(stored.tasks, files[0].parent), ""


def _answers(stored: Evaluation) -> int:
    return len(stored.items) + sum(len(suite.items) for suite in stored.suites)


def _tell(found: Verification, stored: Evaluation, report: Reporter) -> None:
    for note in found.notes:
        report(Note(note))
    if not found.differences:
        report(Note(f"every number follows from {_answers(stored)} answers: {found.label}"))
        return
    rows = tuple((one.where, one.stored, one.found) for one in found.differences)
    report(Table("", ("where", "the report says", "it follows"), rows))
    count = len(found.differences)
    report(Note(f"INVALID: {count} things in this report do not follow from what it stores"))
