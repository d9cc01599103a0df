"""`journeyman prepare`: a log of interactions becomes train, val and test, and every line is told.

The log is read twice: once to judge it, when its rows go to a file without a name beside the
output, and once more from there to the splits. Memory: about 1.5 KB a row, whatever its length.
Equal input, settings and earlier dataset give equal files, but for the time in manifest.json.

The command line that makes a dataset again, from the settings it was made with.
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
from journeyman.prepare.chat_template import Renderer, find_renderer
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
    cautions_of_splits,
    in_words,
    table_of,
    tell_log,
)
from journeyman.prepare.requirements import (
    require_allowed,
    require_own_folder,
    require_readable,
    require_rows,
    require_settings,
)
from journeyman.prepare.rules.registry import resolved
from journeyman.prepare.split.group_split import GroupSplit
from journeyman.prepare.split.near_duplicates import NearDuplicates
from journeyman.settings import PrepareSettings


def prepare(settings: PrepareSettings, report: Reporter = ignore) -> PreparedDataset:
    """Write the dataset of a log as a whole, or raise and leave everything as it was.

    Raises UsageError (settings, a place that is not ours), DataRefused (too many bad lines,
    nothing left to train on), MachineError (the disk), IntegrityError (a log that changes).
    """
    require_settings(settings)
    does = resolved(settings.policy, settings.rule)
    path = find_log(settings.input, report)
    sha256 = hash_of(path)
    require_own_folder(settings.output_dir)
    report(StageStarted("prepare", f"{path} -> {settings.output_dir}, policy {settings.policy}"))
    renderer = find_renderer(settings.base, report)
    limits = (settings.base, settings.max_tokens)
    plan = ExaminationPlan(
        path, sha256, settings.prompts, *limits, renderer, does, settings.detect_secrets
    )
    scratch = _scratch(settings.output_dir)
    try:
        with Spill(scratch=scratch) as spill, NearDuplicates(scratch=scratch) as near:
            return _prepared(plan, spill, near, settings, report)
    except OSError as error:
        raise MachineError(
            f"cannot write in `{scratch}`: {error.strerror or error}",
            hint="check the free space and the permissions; a copy of the log waits there",
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
    found = report_of(examined, settings.policy, {}, {})
    require_allowed(rows, plan.path, plan.does)
    require_rows(rows, plan.path, table_of(found), report)
    outcome = split(rows, settings, earlier)

    def described(
        examples: Mapping[str, Sequence[RuleExample]], checks: Sequence[FileCheck]
    ) -> Metadata:
        shown = _shown(settings, plan.renderer, len(earlier.splits))
        every = (*checks, _near_check(parted=outcome.parted))
        again = command_of(settings, plan.path)
        whole = report_of(examined, settings.policy, shown, examples, checks=every, command=again)
        return _metadata(examined, whole, outcome.splits, plan.renderer, settings)

    metadata = publish(examined, spill, plan.renderer, settings, described)
    assert metadata.report is not None
    cautions = [
        *cautions_of(metadata.report),
        *cautions_of_splits(outcome.splits, earlier.moved(rows), parted=outcome.parted),
    ]
    prepared = PreparedDataset(
        settings.output_dir, metadata, table_of(metadata.report), tuple(cautions)
    )
    _tell(prepared, metadata.report, report)
    return prepared


def _near_check(*, parted: bool) -> FileCheck:
    what = "prompts that are nearly equal stand in one split"
    detail = "a split would be empty; equal ones do" if parted else "by shared pieces of words"
    return FileCheck(what, ok=not parted, detail=detail)


def _scratch(folder: Path) -> Path:
    """The nearest folder that is there already: on the same disk as the output."""
    return next(place for place in folder.absolute().parents if place.is_dir())


def _shown(settings: PrepareSettings, renderer: Renderer, known: int) -> dict[str, str]:
    return {
        "policy": settings.policy,
        "rules": ", ".join(settings.rule) or "as the policy says",
        "prompts": settings.prompts,
        "base": settings.base,
        "chat template": f"{renderer.origin} ({renderer.sha256[:12]})",
        "split by": settings.split_by,
        "shares": f"{settings.train_share:g} train, {settings.val_share:g} val, the rest test",
        "seed": str(settings.seed),
        "longest row": f"{settings.max_tokens} tokens",
        "secrets by": "own patterns" + (" and detect-secrets" if settings.detect_secrets else ""),
        "earlier dataset": f"{known} prompts keep their split" if known else "none",
    }


def _metadata(
    examined: Examination,
    report: Report,
    splits: GroupSplit,
    renderer: Renderer,
    settings: PrepareSettings,
) -> Metadata:
    rows = examined.rows
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
    """How the used rows fall into prompts. rows: prompt and answer."""
    prompts = Counter(prompt for prompt, _ in rows)
    different = Counter(prompt for prompt, _ in set(rows))
    return PromptGroupCounts(
        count=len(prompts),
        repeated=sum(count > 1 for count in prompts.values()),
        repeated_rows=sum(count for count in prompts.values() if count > 1),
        contradicting=sum(count > 1 for count in different.values()),
    )


def _by_agent(agents: Sequence[str]) -> dict[str, int]:
    found = Counter(agents)
    known = [agent for agent in ROLE_PROMPTS if agent in found]
    return {agent: found[agent] for agent in [*known, *sorted(set(found) - set(known))]}


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _tell(prepared: PreparedDataset, found: Report, report: Reporter) -> None:
    if prepared.findings.rows:
        report(prepared.findings)
    for caution in prepared.cautions:
        report(caution)
    tell_log(found, report)
    metadata = prepared.metadata
    report(
        Note(f"{counted(metadata.total_interactions, 'row', 'rows')}: {in_words(metadata.totals)}")
    )
    counts = metadata.splits
    report(
        Note(
            f"train {counts.train}, val {counts.val}, test {counts.test} in `{prepared.folder}`;"
            " look at `report.html` there"
        )
    )


def command_of(settings: PrepareSettings, log: Path) -> str:
    """`journeyman prepare --input log.jsonl ...`: the log and all that is not default."""
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
