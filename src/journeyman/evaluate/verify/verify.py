"""`journeyman verify`: recompute every number of a report from what it stores, and compare.

Answers to every suite are scored again (served, finished, form, rules, their code). The results of
executed code are taken from the report, but not if the code does not parse or there was no sandbox.
All rates, intervals, paired comparisons, latencies, likelihoods, divergences, gates and the verdict
are computed anew. Files that are still there are compared, too: the model, the test rows with their
tasks, the plan and the page beside the report, the log's figures, the splits for contamination.
Not covered: invented answers. A report whose answers were made up, consistently and with its plan,
looks like a true one; only measuring again can tell.
"""

from pathlib import Path

from msgspec import Struct

from journeyman.errors import IntegrityError
from journeyman.evaluate.asking.plan import find_contamination
from journeyman.evaluate.records.evaluation import SCHEMA, Contamination, Evaluation, Label
from journeyman.evaluate.verify.consistency import file_differences, inconsistencies
from journeyman.evaluate.verify.read_report import read_report
from journeyman.evaluate.verify.recompute import ReportDifference, differences, recompute
from journeyman.events import Note, Reporter, StageStarted, Table, counted, ignore
from journeyman.settings import VerifySettings


class Verification(Struct, frozen=True):
    """The differences of a report. `label` is the report's own if there are none, else INVALID."""

    label: Label
    differences: tuple[ReportDifference, ...]
    notes: tuple[str, ...]


def verify(
    path: Path, settings: VerifySettings = VerifySettings(), report: Reporter = ignore
) -> Verification:
    """Read a report, recompute it, and report the differences."""
    stored = read_report(path)
    if stored.schema != SCHEMA:
        # Its numbers would follow, but this version words its sentences differently.
        raise IntegrityError(
            f"`{path}` has schema `{stored.schema}`, this version verifies `{SCHEMA}`",
            hint="verify it with the version that wrote it, or score its answers again: "
            f"`journeyman evaluate --rescore --output {path}`",
        )
    report(StageStarted("verify", f"{_answers(stored)} answers of `{path}`"))
    leak, leak_note = _contamination(stored)
    notes = [leak_note] if leak_note else []
    found = (
        *differences(stored, recompute(stored, leak)),
        *inconsistencies(stored),
        *file_differences(path, stored, settings.model, notes),
    )
    label: Label = "INVALID" if found else stored.verdict.label
    verification = Verification(label, found, tuple(notes))
    _report_outcome(verification, stored, report)
    return verification


def _contamination(stored: Evaluation) -> tuple[Contamination, str]:
    """From the splits if they are still there, otherwise the stored one and a note."""
    files = [Path(name) for name in stored.leak.files]
    if not files or not all(path.is_file() for path in files):
        return stored.leak, "the training splits are missing: contamination was not checked again"
    return find_contamination(stored.tasks, files[0].parent), ""


def _answers(stored: Evaluation) -> int:
    return len(stored.items) + sum(len(suite.items) for suite in stored.suites)


def _report_outcome(found: Verification, stored: Evaluation, report: Reporter) -> None:
    for note in found.notes:
        report(Note(note))
    if not found.differences:
        answers = counted(_answers(stored), "stored answer", "stored answers")
        report(Note(f"every number follows from {answers}: {found.label}"))
        return
    rows = tuple((one.where, one.stored, one.found) for one in found.differences)
    report(Table("", ("where", "stored", "recomputed"), rows))
    count = counted(len(rows), "value of this report does", "values of this report do")
    report(Note(f"INVALID: {count} not follow from what it stores"))
