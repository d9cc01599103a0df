"""What there is to say about a prepared log: counts, findings, and what to do about them."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from journeyman.data.facts import RULES
from journeyman.data.log_row import SUCCESS
from journeyman.data.splits import Splits
from journeyman.events import Caution, Table
from journeyman.files import content_id
from journeyman.prepare.judging import Judged
from journeyman.prepare.policy import REPEATED
from journeyman.prepare.records import Baseline, Groups, Totals
from journeyman.settings import Policy

_MEANINGS = {rule.id: rule.meaning for rule in RULES} | {
    REPEATED: "the line has the id and the content of an earlier one"
}


def totals_of(rows: Sequence[Judged]) -> Totals:
    """How many rows were kept, masked, dropped and quarantined."""
    found = Counter(row.action for row in rows)
    totals = Totals(found["kept"], found["masked"], found["dropped"], found["quarantined"])
    assert totals.kept + totals.masked + totals.dropped + totals.quarantined == len(rows)
    return totals


def baseline_of(rows: Sequence[Judged]) -> Baseline:
    """How often the logged calls succeeded, and how long those took."""
    calls = [row.interaction for row in rows if row.interaction and REPEATED not in row.rules]
    successes = [call for call in calls if call.status == SUCCESS]
    seconds = [call.duration_s for call in successes if call.duration_s]
    return Baseline(
        k=len(successes),
        n=len(calls),
        latency_n=len(seconds),
        mean_latency_s=round(statistics.fmean(seconds), 3) if seconds else None,
        median_latency_s=round(statistics.median(seconds), 3) if seconds else None,
    )


def groups_of(rows: Sequence[Judged]) -> Groups:
    """How the used rows fall into prompts."""
    answers: dict[str, list[str]] = {}
    for row in rows:
        if row.usable:
            said = content_id(row.usable.messages[-1].content.strip())
            answers.setdefault(row.usable.prompt, []).append(said)
    repeated = [said for said in answers.values() if len(said) > 1]
    return Groups(
        count=len(answers),
        repeated=len(repeated),
        repeated_rows=sum(map(len, repeated)),
        contradicting=sum(len(set(said)) > 1 for said in repeated),
    )


def findings_of(rows: Sequence[Judged]) -> dict[str, int]:
    """How many rows of the log each rule matched, in the rules' order."""
    found = Counter(rule for row in rows for rule in row.rules)
    return {rule: found[rule] for rule in _MEANINGS if found[rule]}


def table_of(rows: Sequence[Judged]) -> Table:
    """Each rule with its rows, and what became of them."""
    lines = []
    for rule, count in findings_of(rows).items():
        matched = totals_of([row for row in rows if rule in row.rules])
        numbers = (count, matched.kept, matched.masked, matched.dropped)
        lines.append((rule, *map(str, numbers), _MEANINGS[rule]))
    bad = [row for row in rows if row.action == "quarantined"]
    if bad:
        lines.append(("quarantined", str(len(bad)), "0", "0", "0", "the line cannot be used"))
    columns = ("finding", "rows", "kept", "masked", "dropped", "meaning")
    return Table(f"findings in {len(rows)} rows", columns, tuple(lines))


def cautions_of(rows: Sequence[Judged], splits: Splits, policy: Policy) -> Iterator[Caution]:
    """What the user should act on, each with the next step."""
    used = [row for row in rows if row.usable]
    yield from _cut_off(used, policy)
    yield from _thinking(used)
    mock = _count(used, "mock")
    if mock:
        yield Caution(
            f"{_of(mock, used)} come from a mock, not from a model",
            hint="`--policy salvage` drops them",
        )
    yield from _prompts(groups_of(rows), used)
    if splits.counts != splits.asked:
        got, asked = splits.counts, splits.asked
        yield Caution(
            f"train/val/test have {got.train}/{got.val}/{got.test} rows, not"
            f" {asked.train}/{asked.val}/{asked.test}: rows with the same prompt stay together",
            hint="this is the closest split there is; more distinct prompts make it exact",
        )


def _cut_off(used: Sequence[Judged], policy: Policy) -> Iterator[Caution]:
    cut = [row for row in used if "cut-off" in row.rules]
    if not cut:
        return
    limits = Counter(row.interaction.max_tokens for row in cut if row.interaction)
    limit = limits.most_common(1)[0][0]
    raised = "raise `max_tokens` where the log is made" + (f" (it was {limit})" if limit else "")
    if policy == "salvage":
        yield Caution(
            f"{_of(len(cut), used)} end in the middle; their end of turn is not trained",
            hint=f"{raised}; `--policy strict` leaves them out",
        )
    else:
        yield Caution(
            f"{_of(len(cut), used)} end in the middle, and the model will learn to stop there",
            hint=f"`--policy salvage` does not train their end; {raised}",
        )


def _thinking(used: Sequence[Judged]) -> Iterator[Caution]:
    thinks, unclosed = _count(used, "think"), _count(used, "think-unclosed")
    if unclosed:
        yield Caution(
            f"{_of(thinks, used)} hold `<think>`, and {unclosed} of them never end it",
            hint="`--policy salvage` drops those that never end",
        )
    elif thinks:
        yield Caution(
            f"{_of(thinks, used)} hold `<think>`: the model will learn to think aloud",
            hint="if that is not wanted, log with thinking switched off",
        )


def _prompts(groups: Groups, used: Sequence[Judged]) -> Iterator[Caution]:
    if groups.repeated:
        yield Caution(
            f"{groups.repeated_rows} rows share {groups.repeated} prompts; each prompt is kept in"
            " one split",
            hint=f"count {groups.count} prompts, not {len(used)} rows, when judging a result",
        )
    if groups.contradicting:
        yield Caution(
            f"{groups.contradicting} prompts have different answers in the log",
            hint="keep the better answer of each in the log, or expect a mixture of them",
        )


def _count(rows: Sequence[Judged], rule: str) -> int:
    return sum(rule in row.rules for row in rows)


def _of(count: int, used: Sequence[Judged]) -> str:
    return f"{count} of {len(used)} answers ({count / len(used):.0%})"
