"""`journeyman prepare`: a log of interactions becomes train, val and test, and every line is told.

Memory: the log is read line by line, but the rows that are used are held until they are written
(about three times their text), because the split needs all of them.
Equal input and settings give equal files, but for the time in manifest.json.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from journeyman.data.groups import joined
from journeyman.data.prompts import ROLE_PROMPTS
from journeyman.data.splits import Member, Splits, asked_counts, split_groups
from journeyman.events import Note, Reporter, StageStarted, ignore
from journeyman.prepare.dataset import publish
from journeyman.prepare.judging import Judged, judge
from journeyman.prepare.records import Metadata, Prepared, Source
from journeyman.prepare.refusals import (
    require_every_split,
    require_own_folder,
    require_readable,
    require_rows,
    require_settings,
)
from journeyman.prepare.rendering import Renderer, find_renderer
from journeyman.prepare.source import find_log, hash_of, read_log
from journeyman.prepare.summary import (
    baseline_of,
    cautions_of,
    findings_of,
    groups_of,
    table_of,
    totals_of,
)
from journeyman.settings import PrepareSettings


def prepare(settings: PrepareSettings, report: Reporter = ignore) -> Prepared:
    """Write the dataset of a log as a whole, or raise and leave everything as it was.

    Raises UsageError (settings, a place that is not ours), DataRefused (too many bad lines,
    nothing left to train on), MachineError (the disk), IntegrityError (a log that changes).
    """
    require_settings(settings)
    path = find_log(settings.input, report)
    sha256 = hash_of(path)
    require_own_folder(settings.output_dir)
    report(StageStarted("prepare", f"{path} -> {settings.output_dir}, policy {settings.policy}"))
    renderer = find_renderer(settings.base, report)
    rows = judge(
        read_log(path, sha256, report),
        renderer,
        policy=settings.policy,
        prompts=settings.prompts,
    )
    findings = table_of(rows)
    require_readable(rows, path, settings.max_bad_lines, report)
    require_rows(rows, path, findings, report)
    rows = _with_groups(rows)
    splits = _split(rows, settings)
    source = Source(str(path), sha256, len(rows))
    metadata = _metadata(rows, splits, renderer, source, settings)
    publish(rows, splits.of_group, metadata, settings)
    prepared = Prepared(
        settings.output_dir, metadata, findings, tuple(cautions_of(rows, splits, settings.policy))
    )
    _tell(prepared, report)
    return prepared


def _with_groups(rows: Sequence[Judged]) -> list[Judged]:
    """The rows with what must stay together joined: equal prompts, and turns of a conversation."""
    used = [row for row in rows if row.usable]
    names = iter(joined([_keys(row) for row in used]))
    return [
        msgspec.structs.replace(row, usable=msgspec.structs.replace(row.usable, group=next(names)))
        if row.usable
        else row
        for row in rows
    ]


def _keys(row: Judged) -> tuple[str, ...]:
    assert row.usable is not None
    conversation = row.interaction.conversation if row.interaction else None
    # The prefix keeps a conversation's name from being taken for a prompt's id.
    return (row.usable.prompt, *([f"~{conversation}"] if conversation else []))


def _split(rows: Sequence[Judged], settings: PrepareSettings) -> Splits:
    members = [
        Member(row.usable.group, row.interaction.agent)
        for row in rows
        if row.usable and row.interaction
    ]
    asked = asked_counts(len(members), settings.train_share, settings.val_share)
    require_every_split(asked, groups_of(rows).count)
    splits = split_groups(members, asked, settings.seed)
    require_every_split(splits.counts, groups_of(rows).count)
    return splits


def _metadata(
    rows: Sequence[Judged],
    splits: Splits,
    renderer: Renderer,
    source: Source,
    settings: PrepareSettings,
) -> Metadata:
    used = [row.interaction for row in rows if row.usable and row.interaction]
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
        findings=findings_of(rows),
        groups=groups_of(rows),
        sources=_counted(row.source for row in used),
        producers=_counted(row.producer or "unknown" for row in used),
        baseline=baseline,
        input=source,
    )


def _by_agent(agents: Sequence[str]) -> dict[str, int]:
    found = Counter(agents)
    known = [agent for agent in ROLE_PROMPTS if agent in found]
    return {agent: found[agent] for agent in [*known, *sorted(set(found) - set(known))]}


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _tell(prepared: Prepared, report: Reporter) -> None:
    metadata, totals = prepared.metadata, prepared.metadata.totals
    if prepared.findings.rows:
        report(prepared.findings)
    for caution in prepared.cautions:
        report(caution)
    base = metadata.baseline
    latency = (
        f"; mean {base.mean_latency_s:.1f} s, median {base.median_latency_s:.1f} s an answer"
        f" (n {base.latency_n})"
        if base.mean_latency_s is not None and base.median_latency_s is not None
        else ""
    )
    report(Note(f"the log: {base.k} of {base.n} calls succeeded{latency}"))
    report(
        Note(
            f"{metadata.total_interactions} rows: {totals.kept} kept, {totals.masked} masked,"
            f" {totals.dropped} dropped, {totals.quarantined} quarantined"
        )
    )
    counts = metadata.splits
    report(
        Note(f"train {counts.train}, val {counts.val}, test {counts.test} in `{prepared.folder}`")
    )
