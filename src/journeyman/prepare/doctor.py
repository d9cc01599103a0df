"""`journeyman doctor`: what is wrong with a log and what would become of each row. Writes nothing.

Only where `--report` asks for it the whole report is written, as JSON or as a page.
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
from journeyman.prepare.report.excerpts import Album
from journeyman.prepare.report.page import page
from journeyman.prepare.report.terminal import cautions_of, in_words, table_of, tell_log
from journeyman.prepare.rules.registry import resolved
from journeyman.prepare.split.near_duplicates import NearDuplicates
from journeyman.settings import DoctorSettings

_KINDS = (".json", ".html")


def examine_log(path: Path, settings: DoctorSettings, report: Reporter = ignore) -> Report:
    """Everything that is wrong with a log. Raises UsageError where it cannot be read at all."""
    does = resolved(settings.policy, settings.rule)
    if settings.report is not None and settings.report.suffix not in _KINDS:
        raise UsageError(
            f"`--report {settings.report}` is neither `.json` nor `.html`",
            hint="name a file that ends so",
        )
    sha256 = hash_of(path)
    report(StageStarted("doctor", f"{path}, policy {settings.policy}"))
    renderer = find_renderer(settings.base, ignore)
    limits = (settings.base, settings.max_tokens)
    plan = ExaminationPlan(
        path, sha256, settings.prompts, *limits, renderer, does, settings.detect_secrets
    )
    with Spill() as spill, NearDuplicates() as near:
        examined = examine(plan, spill, near, report)
        album = Album(examined)
        for _ in example_lines(examined, spill, renderer, album):
            pass
    shown = {
        "policy": settings.policy,
        "rules": ", ".join(settings.rule) or "as the policy says",
        "prompts": settings.prompts,
        "base": settings.base,
        "longest row": f"{settings.max_tokens} tokens",
        "secrets by": "own patterns" + (" and detect-secrets" if settings.detect_secrets else ""),
    }
    found = report_of(examined, settings.policy, shown, album.examples())
    _tell(found, report)
    _write(found, settings.report, report)
    return found


def is_clean(report: Report) -> bool:
    """Whether no line was refused and no rule found an error; `fail` makes an error of any rule."""
    faults = sum(
        rule.count for rule in report.rules if rule.level == "error" or rule.does == "fail"
    )
    return not faults and not report.totals.quarantined


def _tell(found: Report, report: Reporter) -> None:
    table = table_of(found)
    if table.rows:
        report(table)
    for caution in cautions_of(found):
        report(caution)
    tell_log(found, report)
    report(
        Note(
            f"{counted(found.source.lines, 'row', 'rows')}, policy {found.policy}:"
            f" {in_words(found.totals)};"
            f" {found.usable} whole, {found.both} of them under terms that permit training"
        )
    )


def _write(found: Report, path: Path | None, report: Reporter) -> None:
    if path is None:
        return
    if path.suffix == ".json":
        write_json(path, found)
    else:
        write_text(path, page(found))
    report(Note(f"the whole report is in `{path}`"))
