"""`journeyman prepare`: a log of interactions becomes train, val and test; a ledger has every line.

The log is read once and examined, while its rows wait in a nameless file beside the output; from
there they go to the splits. Memory: about 1.5 KB a row, however long it is.
Equal input, settings and earlier dataset give equal files, except for the time in manifest.json.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from journeyman.data.role_prompts import ROLE_PROMPTS
from journeyman.errors import MachineError
from journeyman.events import Note, Reporter, StageStarted, counted, ignore
from journeyman.prepare.assign_splits import read_earlier, split
from journeyman.prepare.chat_template import find_renderer
from journeyman.prepare.dataset import publish
from journeyman.prepare.examine import Examination, ExaminationPlan, examine
from journeyman.prepare.log import Spill, find_log, hash_of
from journeyman.prepare.records import (
    FileCheck,
    Metadata,
    PreparedDataset,
    PromptGroupCounts,
    Report,
    RuleExample,
)
from journeyman.prepare.report.build import baseline_of, report_of, totals_of
from journeyman.prepare.report.terminal import (
    cautions_of,
    findings_table,
    report_examination,
    split_cautions,
    totals_in_words,
)
from journeyman.prepare.requirements import (
    require_allowed,
    require_own_folder,
    require_readable,
    require_rows,
    require_settings,
)
from journeyman.prepare.rules.registry import treatments
from journeyman.prepare.split.group_split import GroupSplit
from journeyman.prepare.split.near_duplicates import NearDuplicates
from journeyman.settings import PrepareSettings


def prepare(settings: PrepareSettings, report: Reporter = ignore) -> PreparedDataset:
    """Write the whole dataset of a log, or raise and leave everything as it was.

    Raises UsageError (settings, a folder with other files), DataRefused (too many bad lines, no row
    to train on), MachineError (the disk), IntegrityError (a log that changes).
    """
    require_settings(settings)
    chosen = treatments(settings.policy, settings.rule)
    path = find_log(settings.input, report)
    sha256 = hash_of(path)
    require_own_folder(settings.output_dir)
    report(StageStarted("prepare", f"{path} -> {settings.output_dir}, policy {settings.policy}"))
    plan = ExaminationPlan(path, sha256, settings, find_renderer(settings.base, report), chosen)
    scratch = _scratch(settings.output_dir)
    try:
        with Spill(scratch=scratch) as spill, NearDuplicates(scratch=scratch) as near:
            return _prepared(plan, spill, near, settings, report)
    except OSError as error:
        raise MachineError(
            f"cannot write in `{scratch}`: {error.strerror or error}",
            hint="check the free space and the permissions; prepare keeps a copy of the log there",
        ) from error


def _prepared(
    plan: ExaminationPlan,
    spill: Spill,
    near: NearDuplicates,
    settings: PrepareSettings,
    report: Reporter,
) -> PreparedDataset:
    earlier = read_earlier(settings)
    examined = examine(plan, spill, near, report, earlier.groups)
    rows = examined.rows
    require_readable(rows, plan.path, settings.max_bad_lines, report)
    require_allowed(rows, plan.path, plan.treatments)
    require_rows(rows, plan.path, findings_table(report_of(examined)), report)
    outcome = split(rows, settings, earlier)

    def described(
        examples: Mapping[str, Sequence[RuleExample]], checks: Sequence[FileCheck]
    ) -> Metadata:
        whole = report_of(
            examined,
            examples,
            checks=(*checks, _near_check(separated=outcome.separates_near)),
            split_settings=_split_settings(plan, settings, len(earlier.splits)),
            command=command_of(settings, plan.path),
        )
        return _metadata(examined, whole, outcome.splits, settings)

    metadata = publish(examined, spill, settings, described)
    cautions = split_cautions(
        outcome.splits, earlier.moved(rows), separates_near=outcome.separates_near
    )
    prepared = PreparedDataset(
        settings.output_dir, metadata, (*cautions_of(metadata.report), *cautions)
    )
    _report_dataset(prepared, report)
    return prepared


def _near_check(*, separated: bool) -> FileCheck:
    check = "prompts that are nearly equal are in one split"
    detail = "a split would be empty; equal ones are" if separated else "by shared pieces of words"
    return FileCheck(check, ok=not separated, detail=detail)


def _scratch(folder: Path) -> Path:
    """The nearest folder that exists already: on the same disk as the output."""
    return next(place for place in folder.absolute().parents if place.is_dir())


def _split_settings(
    plan: ExaminationPlan, settings: PrepareSettings, kept_prompts: int
) -> dict[str, str]:
    """The settings that only a dataset has, as the report shows them."""
    earlier = f"{kept_prompts} prompts keep their split" if kept_prompts else "none"
    return {
        "chat template": f"{plan.renderer.origin} ({plan.renderer.sha256[:12]})",
        "split by": settings.split_by,
        "shares": f"{settings.train_share:g} train, {settings.val_share:g} val, the rest test",
        "seed": str(settings.seed),
        "earlier dataset": earlier,
    }


def _metadata(
    examined: Examination,
    report: Report,
    splits: GroupSplit,
    settings: PrepareSettings,
) -> Metadata:
    rows, renderer = examined.rows, examined.plan.renderer
    used = [row for row in rows if row.used]
    baseline = baseline_of(rows)
    return Metadata(
        total_interactions=len(rows),
        successful_interactions=baseline.k,
        training_examples=len(used),
        splits=splits.counts,
        agent_distribution=_by_agent([row.agent for row in used]),
        random_seed=settings.seed,
        policy=settings.policy,
        prompts=settings.prompts,
        base=settings.base,
        template_sha256=renderer.sha256,
        template_origin=renderer.origin,
        totals=totals_of(rows),
        findings={rule.id: rule.count for rule in report.rules if rule.count},
        groups=_groups([(row.prompt, row.answer) for row in used]),
        sources=_counted(row.source for row in used),
        producers=_counted(row.producer or "unknown" for row in used),
        baseline=baseline,
        input=examined.source,
        report=report,
    )


def _groups(rows: Sequence[tuple[str, int]]) -> PromptGroupCounts:
    """How many prompts the used rows have. rows: prompt and answer."""
    prompts = Counter(prompt for prompt, _ in rows)
    different = Counter(prompt for prompt, _ in set(rows))
    return PromptGroupCounts(
        count=len(prompts),
        repeated=sum(count > 1 for count in prompts.values()),
        repeated_rows=sum(count for count in prompts.values() if count > 1),
        contradicting=sum(count > 1 for count in different.values()),
    )


def _by_agent(agents: Sequence[str]) -> dict[str, int]:
    counts = Counter(agents)
    known = [agent for agent in ROLE_PROMPTS if agent in counts]
    return {agent: counts[agent] for agent in [*known, *sorted(set(counts) - set(known))]}


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _report_dataset(prepared: PreparedDataset, report: Reporter) -> None:
    metadata, counts = prepared.metadata, prepared.metadata.splits
    report_examination(metadata.report, prepared.cautions, report)
    rows = counted(metadata.total_interactions, "row", "rows")
    report(Note(f"{rows}: {totals_in_words(metadata.totals)}"))
    report(
        Note(
            f"train {counts.train}, val {counts.val}, test {counts.test} in `{prepared.folder}`;"
            " open `report.html` there"
        )
    )


def command_of(settings: PrepareSettings, log: Path) -> str:
    """The command that makes the dataset again: the log and all settings that are not default."""
    words = ["journeyman", "prepare", "--input", str(log), *_options(settings)]
    return shlex.join(words)


def _options(settings: PrepareSettings) -> Iterator[str]:
    default = PrepareSettings()
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name == "input" or value == getattr(default, field.name):
            continue
        if value is True:
            yield f"--{field.name.replace('_', '-')}"
            continue
        for one in value if isinstance(value, tuple) else (value,):
            yield from (f"--{field.name.replace('_', '-')}", str(one))
