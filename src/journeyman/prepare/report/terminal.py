"""The report in the terminal: the findings, what to do about them, and the result.

Made from the report alone, like the page.
"""

from collections.abc import Iterable, Iterator

from journeyman.events import Caution, Note, Reporter, Table, counted
from journeyman.prepare.records import Report, RuleReport, Totals
from journeyman.prepare.rules.registry import BENCHMARK, CUT_OFF, OVER_LONG, PROMPT_DIFFERS, SECRET
from journeyman.prepare.split.group_split import GroupSplit


def findings_table(report: Report) -> Table:
    """Each rule that matched, with its rows and what became of them."""
    lines = [
        (rule.id, rule.level, *_numbers(rule), _meaning(rule))
        for rule in report.rules
        if rule.count
    ]
    if report.totals.quarantined:
        bad = str(report.totals.quarantined)
        lines.append(
            ("quarantined", "error", bad, "0", "0", "0", "the line cannot be read or rendered")
        )
    columns = ("finding", "level", "rows", "kept", "masked", "dropped", "meaning")
    return Table(
        f"findings in {counted(report.source.lines, 'row', 'rows')}", columns, tuple(lines)
    )


def _numbers(rule: RuleReport) -> tuple[str, ...]:
    return tuple(map(str, (rule.count, rule.kept, rule.masked, rule.dropped)))


def _meaning(rule: RuleReport) -> str:
    return f"{rule.meaning} (redacted)" if rule.redacted else rule.meaning


def cautions_of(report: Report) -> Iterator[Caution]:
    """What the user should act on, each with a next step."""
    rules = {rule.id: rule for rule in report.rules}
    used = report.totals.kept + report.totals.masked
    yield from _cut_off(report, rules[CUT_OFF], used)
    yield from _thinking(rules, used)
    if _used(rules["mock"]):
        yield Caution(
            f"{_of(_used(rules['mock']), used)} come from a mock, not from a model",
            hint="`--policy salvage` drops them",
        )
    yield from _prompts(report, rules, used)
    yield from _risks(report, rules, used)


def _used(rule: RuleReport) -> int:
    return rule.kept + rule.masked


def _cut_off(report: Report, rule: RuleReport, used: int) -> Iterator[Caution]:
    limit = f" (it was {report.noted_cap})" if report.noted_cap else ""
    raised = f"raise `max_tokens` in the program that writes the log{limit}"
    if rule.masked:
        yield Caution(
            f"{_of(rule.masked, used)} are cut off; their end of turn is not trained",
            hint=f"{raised}; `--policy strict` leaves them out",
        )
    if rule.kept:
        yield Caution(
            f"{_of(rule.kept, used)} are cut off, and the model will learn to stop there",
            hint=f"`--policy salvage` does not train their end; {raised}",
        )
    if rule.dropped and not _used(rule):
        yield Caution(f"{rule.dropped} cut-off answers are left out", hint=raised)


def _thinking(rules: dict[str, RuleReport], used: int) -> Iterator[Caution]:
    thinks, unclosed = _used(rules["think"]), _used(rules["think-unclosed"])
    if unclosed:
        yield Caution(
            f"{_of(thinks, used)} contain `<think>`, and {unclosed} of them never close it",
            hint="`--policy salvage` drops those that never close it",
        )
    elif thinks:
        yield Caution(
            f"{_of(thinks, used)} contain `<think>`: the model will learn to think aloud",
            hint="if you do not want that, log with thinking switched off",
        )


def _prompts(report: Report, rules: dict[str, RuleReport], used: int) -> Iterator[Caution]:
    found = report.duplicates
    if found.exact_groups or found.near_groups:
        near = f" ({found.near_groups} nearly equal)" if found.near_groups else ""
        yield Caution(
            f"{found.rows} rows share {max(found.exact_groups, found.near_groups)} prompts{near};"
            " each prompt is kept in one split",
            hint=f"when you judge a result, count prompts, not the {used} rows",
        )
    if found.contradicting:
        yield Caution(
            f"{found.contradicting} prompts have different answers in the log",
            hint="keep only the better answer of each in the log, or expect a mixture of them;"
            " `--rule contradiction=drop` leaves all of them out",
        )
    if _used(rules[PROMPT_DIFFERS]):
        yield Caution(
            f"{_of(_used(rules[PROMPT_DIFFERS]), used, 'rows')} are trained on another prompt"
            " than the log shows",
            hint="serve with this project's prompts, or train on those: `--prompts logged`",
        )


def _risks(report: Report, rules: dict[str, RuleReport], used: int) -> Iterator[Caution]:
    secrets = rules[SECRET]
    if _used(secrets) > secrets.redacted:
        yield Caution(
            f"{counted(_used(secrets), 'row contains', 'rows contain')} keys or passwords, and the"
            " model may learn them",
            hint="`--policy salvage` redacts them; replace every real one",
        )
    elif secrets.redacted:
        yield Caution(
            f"the keys or passwords of {counted(secrets.redacted, 'row', 'rows')} were redacted",
            hint="they are still in the log: replace every real one",
        )
    forbidden = sum(one.used for one in report.producers if one.verdict == "forbids")
    if forbidden:
        yield Caution(
            f"{_of(forbidden, used)} come from models whose terms forbid training on their answers",
            hint="the report names the clauses; ask a lawyer whether they bind you",
        )
    unknown = sum(one.used for one in report.producers if one.verdict == "unknown")
    if unknown:
        yield Caution(
            f"{_of(unknown, used, 'rows')}: licence unknown, because the log does not name a model"
            " that we know",
            hint="log provider and model, and read the model's terms before you train;"
            " `--rule licence-unknown=drop` leaves these rows out",
        )
    if _used(rules[BENCHMARK]):
        yield Caution(
            f"contamination: {_used(rules[BENCHMARK])} prompts are HumanEval's",
            hint="`--rule benchmark=drop` leaves them out; else do not report that benchmark",
        )
    if _used(rules[OVER_LONG]):
        yield Caution(
            f"{counted(_used(rules[OVER_LONG]), 'row is', 'rows are')} longer than `--max-tokens`",
            hint="training leaves them out and lists them; `--rule over-long=drop` does so now",
        )


def split_cautions(splits: GroupSplit, moved: int, *, separates_near: bool) -> Iterator[Caution]:
    """Warnings about the splits.

    moved: rows that had another split before. separates_near: nearly equal prompts are in different
    splits.
    """
    if separates_near:
        yield Caution(
            "so many prompts are nearly equal that a split would be empty, so only equal ones stay"
            " together: val and test are easier than they look",
            hint="log tasks that differ in more than a word or a number",
        )
    if splits.counts != splits.target:
        got, target = splits.counts, splits.target
        yield Caution(
            f"train/val/test have {got.train}/{got.val}/{got.test} rows, not"
            f" {target.train}/{target.val}/{target.test}: rows with the same prompt stay together",
            hint="this is the closest split; more distinct prompts make it exact",
        )
    if moved:
        yield Caution(
            f"{counted(moved, 'row is', 'rows are')} in another split than in the earlier dataset",
            hint="the counts require it; compare results only with models trained on this split",
        )


def report_examination(found: Report, cautions: Iterable[Caution], report: Reporter) -> None:
    """The findings, the warnings, what was not checked, and the log's own success and speed."""
    table = findings_table(found)
    if table.rows:
        report(table)
    for caution in cautions:
        report(caution)
    for sentence in found.unknown:
        report(Note(f"{sentence[:1].lower()}{sentence[1:].rstrip('.')}"))
    base = found.baseline
    latency = (
        f"; mean {base.mean_latency_s:.1f} s, median {base.median_latency_s:.1f} s an answer"
        f" (n {base.latency_n})"
        if base.mean_latency_s is not None and base.median_latency_s is not None
        else ""
    )
    report(Note(f"the log: {base.k} of {base.n} calls succeeded{latency}"))


def totals_in_words(totals: Totals) -> str:
    """`12 kept, 3 masked, 1 dropped, 0 quarantined`."""
    redacted = f" ({totals.redacted} redacted)" if totals.redacted else ""
    return (
        f"{totals.kept} kept, {totals.masked} masked, {totals.dropped} dropped,"
        f" {totals.quarantined} quarantined{redacted}"
    )


def _of(count: int, used: int, what: str = "answers") -> str:
    return f"{count} of {used} {what} ({count / max(1, used):.0%})"
