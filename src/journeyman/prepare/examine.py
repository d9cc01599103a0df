"""What is wrong with a log: read once from end to end, then judged as a whole. Nothing is written.

`journeyman doctor` stops here; `journeyman prepare` goes on to splits and files.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from journeyman.events import Caution, Reporter
from journeyman.prepare.chat_template import Renderer
from journeyman.prepare.log import Spill, read_log
from journeyman.prepare.records import Source
from journeyman.prepare.row_findings import ExaminedLine, RowExaminer, examine_rows
from journeyman.prepare.rules.benchmark_overlap import humaneval
from journeyman.prepare.rules.registry import Does
from journeyman.prepare.rules.row_length import RowLengthCheck
from journeyman.prepare.rules.secrets import require_scanner
from journeyman.prepare.rules.token_limit import CutOffs, find_cut_offs, vocabularies_here
from journeyman.prepare.split.near_duplicates import NearDuplicates
from journeyman.prepare.whole_log import RepeatedPrompts, add_cut_offs, add_decisions, add_groups
from journeyman.prepare.workers import examined_lines
from journeyman.settings import Prompts


class Examination(Struct, frozen=True):
    """Every line with what was found in it and what becomes of it, and what that rests on.

    `counts_tokens` is False where no vocabulary is here; `knows_benchmark` where HumanEval is not.
    """

    source: Source
    rows: Sequence[ExaminedLine]
    groups: RepeatedPrompts
    cut_offs: CutOffs
    does: Mapping[str, Does]
    examiner: RowExaminer
    counts_tokens: bool
    counts_length: bool
    knows_benchmark: bool


class ExaminationPlan(Struct, frozen=True):
    """How to look: the log as it was hashed, the prompts and the template, and what to do.

    `scan`: secrets are searched by detect-secrets, too.
    """

    path: Path
    sha256: str
    prompts: Prompts
    base: str
    max_tokens: int
    renderer: Renderer
    does: Mapping[str, Does]
    scan: bool = False


def examine(
    plan: ExaminationPlan,
    spill: Spill,
    near: NearDuplicates,
    report: Reporter,
    earlier: Mapping[str, str] | None = None,
) -> Examination:
    """Judge every line. earlier: the group that each prompt had before."""
    if plan.scan:
        require_scanner()
    vocabularies = vocabularies_here(report)
    benchmark = humaneval()
    over_long = RowLengthCheck(plan.max_tokens, plan.renderer, plan.base, vocabularies)
    examiner = RowExaminer(plan.renderer, plan.prompts, over_long, benchmark, scan=plan.scan)
    log = read_log(plan.path, plan.sha256, report)
    rows = examine_rows(examined_lines(log, scan=plan.scan), examiner, spill, near)
    if examiner.unseen_tools:
        report(
            Caution(
                f"the chat template ({plan.renderer.origin}) has no place for the tools on offer"
                f" in {examiner.unseen_tools} rows: a model learns there without seeing them",
                hint="use a base whose template has tools, or take these rows out",
            )
        )
    cut_offs = find_cut_offs(spill, vocabularies)
    add_cut_offs(rows, cut_offs)
    groups = add_groups(rows, near.groups(earlier))
    add_decisions(rows, plan.does)
    return Examination(
        Source(str(plan.path), plan.sha256, len(rows)),
        rows,
        groups,
        cut_offs,
        plan.does,
        examiner,
        counts_tokens=bool(vocabularies),
        counts_length=over_long.counts,
        knows_benchmark=benchmark is not None,
    )
