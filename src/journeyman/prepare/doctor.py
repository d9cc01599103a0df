"""`journeyman doctor`: what is wrong with a log and what would become of each row.

Writes nothing, except the whole report as JSON or as a page if `--report` is given.
"""

from pathlib import Path

from journeyman.errors import UsageError
from journeyman.events import Note, Reporter, StageStarted, counted, ignore
from journeyman.files import write_json, write_text
from journeyman.prepare.chat_template import find_renderer
from journeyman.prepare.dataset import example_lines
from journeyman.prepare.examine import ExaminationPlan, examine
from journeyman.prepare.log import Spill, hash_of
from journeyman.prepare.records import Report
from journeyman.prepare.report.build import report_of
from journeyman.prepare.report.excerpts import ExampleCollector
from journeyman.prepare.report.page import page
from journeyman.prepare.report.terminal import cautions_of, report_examination, totals_in_words
from journeyman.prepare.rules.registry import treatments
from journeyman.prepare.split.near_duplicates import NearDuplicates
from journeyman.settings import DoctorSettings

_SUFFIXES = (".json", ".html")


def examine_log(path: Path, settings: DoctorSettings, report: Reporter = ignore) -> Report:
    """Everything that is wrong with a log. Raises UsageError if it cannot be read at all."""
    chosen = treatments(settings.policy, settings.rule)
    if settings.report is not None and settings.report.suffix not in _SUFFIXES:
        raise UsageError(
            f"`--report {settings.report}` ends neither in `.json` nor in `.html`",
            hint="choose the format by the file's ending",
        )
    sha256 = hash_of(path)
    report(StageStarted("doctor", f"{path}, policy {settings.policy}"))
    plan = ExaminationPlan(path, sha256, settings, find_renderer(settings.base, ignore), chosen)
    with Spill() as spill, NearDuplicates() as near:
        examined = examine(plan, spill, near, report)
        examples = ExampleCollector(examined)
        for _ in example_lines(examined, spill, examples):
            pass
    found = report_of(examined, examples.by_rule)
    report_examination(found, cautions_of(found), report)
    report(
        Note(
            f"{counted(found.source.lines, 'row', 'rows')}, policy {found.policy}:"
            f" {totals_in_words(found.totals)};"
            f" {found.usable} complete, {found.both} of them under terms that permit training"
        )
    )
    _write(found, settings.report, report)
    return found


def is_clean(report: Report) -> bool:
    """Whether every line was readable and no rule of level `error`, or set to `fail`, matched."""
    faults = sum(
        rule.count for rule in report.rules if rule.level == "error" or rule.does == "fail"
    )
    return not faults and not report.totals.quarantined


def _write(found: Report, path: Path | None, report: Reporter) -> None:
    if path is None:
        return
    if path.suffix == ".json":
        write_json(path, found)
    else:
        write_text(path, page(found))
    report(Note(f"the whole report is in `{path}`"))
