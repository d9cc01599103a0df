"""Find everything that is wrong with a log: read it once, then look at all rows together.

Nothing is written. `journeyman doctor` stops here; `journeyman prepare` then writes a dataset.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from journeyman.events import Caution, Reporter, counted
from journeyman.prepare.chat_template import Renderer
from journeyman.prepare.log import Spill, read_log
from journeyman.prepare.records import Source
from journeyman.prepare.row_findings import ExaminedLine, RowExaminer, examine_rows
from journeyman.prepare.rules.benchmark_overlap import humaneval
from journeyman.prepare.rules.registry import Treatment
from journeyman.prepare.rules.row_length import RowLengthCheck
from journeyman.prepare.rules.secrets import require_scanner
from journeyman.prepare.rules.token_limit import CutOffs, find_cut_offs, vocabularies_here
from journeyman.prepare.split.near_duplicates import NearDuplicates
from journeyman.prepare.whole_log import RepeatedPrompts, add_cut_offs, add_decisions, add_groups
from journeyman.prepare.workers import examined_lines
from journeyman.settings import DoctorSettings, PrepareSettings


class ExaminationPlan(Struct, frozen=True):
    """The log with its hash, the settings, the chat template, and what to do with each rule."""

    path: Path
    sha256: str
    settings: PrepareSettings | DoctorSettings
    renderer: Renderer
    treatments: Mapping[str, Treatment]


class Examination(Struct, frozen=True):
    """Every line with its findings and what becomes of it.

    `counts_tokens`: a vocabulary is on this machine, so answers were counted in tokens.
    `counts_length`: rows were counted in tokens, not estimated. `knows_benchmark`: HumanEval is
    installed.
    """

    plan: ExaminationPlan
    source: Source
    rows: Sequence[ExaminedLine]
    groups: RepeatedPrompts
    cut_offs: CutOffs
    examiner: RowExaminer
    counts_tokens: bool
    counts_length: bool
    knows_benchmark: bool


def examine(
    plan: ExaminationPlan,
    spill: Spill,
    near: NearDuplicates,
    report: Reporter,
    earlier: Mapping[str, str] | None = None,
) -> Examination:
    """Examine every line. earlier: the group that each prompt had in the dataset before."""
    settings = plan.settings
    scan = settings.detect_secrets
    if scan:
        require_scanner()
    vocabularies = vocabularies_here(report)
    benchmark = humaneval()
    length_check = RowLengthCheck(settings.max_tokens, plan.renderer, settings.base, vocabularies)
    examiner = RowExaminer(plan.renderer, settings.prompts, length_check, benchmark, scan=scan)
    log = read_log(plan.path, plan.sha256, report)
    rows = examine_rows(examined_lines(log, scan=scan), examiner, spill, near)
    _warn_of_hidden_tools(examiner.rows_with_hidden_tools, plan.renderer.origin, report)
    cut_offs = find_cut_offs(spill, vocabularies)
    add_cut_offs(rows, cut_offs)
    groups = add_groups(rows, near.groups(earlier))
    add_decisions(rows, plan.treatments)
    return Examination(
        plan,
        Source(str(plan.path), plan.sha256, len(rows)),
        rows,
        groups,
        cut_offs,
        examiner,
        counts_tokens=bool(vocabularies),
        counts_length=length_check.counts,
        knows_benchmark=benchmark is not None,
    )


def _warn_of_hidden_tools(rows: int, template: str, report: Reporter) -> None:
    if rows:
        report(
            Caution(
                f"the chat template ({template}) does not show tools, so"
                f" {counted(rows, 'row is', 'rows are')} trained without the tools that were on"
                " offer",
                hint="use a base whose template shows tools, or remove these rows from the log",
            )
        )
