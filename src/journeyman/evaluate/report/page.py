"""An evaluation as one self-contained page. Models' answers are hostile text here: all is escaped.

It loads nothing and runs nothing (its own policy forbids it), and says with words what it says with
colour.
"""

import shlex
from collections.abc import Iterable

from journeyman.evaluate.records.evaluation import ArmResult, Environment, Evaluation, Rung
from journeyman.evaluate.records.measurements import Targets
from journeyman.evaluate.report.page_items import task_details
from journeyman.evaluate.report.page_style import STYLE as OWN_STYLE
from journeyman.evaluate.report.page_suites import counted_words, pairs, proved, suites
from journeyman.evaluate.report.page_times import memory, times
from journeyman.evaluate.report.terminal import baseline_table, read_strictly, rung_name
from journeyman.formatting import NOT_MEASURED, percent, rate
from journeyman.html.markup import (
    Html,
    card,
    coded,
    document,
    element,
    joined,
    list_section,
    rows_table,
    section,
    table_of,
)
from journeyman.html.style import STYLE
from journeyman.records import Interval


def page(evaluation: Evaluation) -> str:
    """The whole page as text."""
    parts = [
        _banner(evaluation),
        _criteria(evaluation),
        list_section("What these numbers can and cannot claim", evaluation.verdict.claims),
        _validity(evaluation),
        _baseline(evaluation),
        _rungs(evaluation),
        pairs(evaluation),
        proved(evaluation),
        suites(evaluation),
        times(evaluation),
        memory(evaluation),
        _tasks(evaluation),
        _origin(evaluation),
    ]
    title = f"{evaluation.verdict.label}: {evaluation.plan.test_data}"
    return document(title, STYLE + OWN_STYLE, element("main", *parts))


def _banner(evaluation: Evaluation) -> Html:
    verdict = evaluation.verdict
    sentence = verdict.headline.removeprefix(f"{verdict.label}: ")
    models = ", ".join(f"{r.arm.id}: {r.arm.name} {r.arm.quantization}" for r in evaluation.arms)
    parts = [
        element("h1", f"Evaluation of {evaluation.plan.tasks} held-out tasks"),
        element("strong", verdict.label),
        element("p", coded(sentence)),
        *(element("p", coded(f"Because: {reason}")) for reason in verdict.reasons),
    ]
    if verdict.next_steps:
        parts.append(element("p", element("b", "Next:")))
        parts.append(element("ul", *(element("li", coded(step)) for step in verdict.next_steps)))
    parts.append(element("p", models, class_="soft"))
    return element("section", *parts, class_=f"banner {verdict.label}")


def _criteria(evaluation: Evaluation) -> Html:
    if not evaluation.verdict.criteria:
        return Html()
    rows = [
        element(
            "tr",
            element("td", element("span", one.state, class_=f"state {one.state}")),
            element("th", one.name, scope="row"),
            element("td", one.target, class_="number"),
            element("td", coded(one.found + (f"; needs {one.need}" if one.need else ""))),
        )
        for one in evaluation.verdict.criteria
    ]
    table = rows_table(
        (
            "state",
            "criterion",
            "target",
            f"found (one-sided {percent(1 - evaluation.plan.alpha)} bounds)",
        ),
        rows,
    )
    return section("Criteria", card(table, kind="criteria"))


def _validity(evaluation: Evaluation) -> Html:
    """Each gate as a word, so that it is read without colour."""
    if not evaluation.validity:
        return Html()
    words = {True: "holds", False: "FAILS", None: "not known"}
    rows = [
        element(
            "tr",
            element("td", words[gate.ok], class_="state"),
            element("th", gate.id, scope="row"),
            element("td", coded(gate.text)),
        )
        for gate in evaluation.validity
    ]
    table = rows_table(("state", "gate", "what was found"), rows)
    return section("May these numbers be used?", card(table, kind="criteria"))


def _rungs(evaluation: Evaluation) -> Html:
    rows = [
        row
        for place, rung in enumerate(evaluation.arms[0].rungs if evaluation.arms else ())
        for row in _rung_rows(evaluation.arms, place, rung)
    ]
    if not rows:
        return Html()
    legend = (
        "Share of the planned tasks on each rung with its 95 % interval (Wilson). Each rung is "
        "judged by itself; form only: the shape of a text, not its content. "
        "Dashed line: the target of S1. Hollow: base."
    )
    if evaluation.reference is not None:
        legend += (
            f" The rows' own answers pass their checks (S4): {rate(evaluation.reference.rate)}."
        )
    table = rows_table(("rung", "arm", "passed", "0 to 100 %", "failures"), rows)
    ways = [
        element("p", f"Code of {r.arm.id} by rule: {counted_words(r.extract_rules)}", class_="soft")
        for r in evaluation.arms
        if r.extract_rules
    ]
    return section("Rungs", element("p", legend, class_="soft"), card(table, kind="rungs"), *ways)


def _rung_rows(arms: tuple[ArmResult, ...], place: int, rung: Rung) -> Iterable[Html]:
    for number, result in enumerate(arms):
        mine = result.rungs[place]
        codes = counted_words(mine.codes)
        strictly = read_strictly(mine)
        strict = element("div", strictly, class_="soft") if strictly else Html()
        noted = bool(mine.note) and number == 0
        note = element("div", mine.note, class_="soft") if noted else Html()
        yield element(
            "tr",
            element("th", rung_name(rung) if number == 0 else "", scope="row"),
            element("td", result.arm.id),
            element("td", rate(mine.rate), class_="number"),
            element("td", _bar(mine.rate, result.arm.id, target=rung.id == "S1")),
            element("td", codes, strict, note),
        )


def _bar(interval: Interval | None, arm: str, *, target: bool) -> Html:
    """An interval as a line with a dot, on an axis from 0 to 1; the cell beside it says it too."""
    if interval is None:
        return joined(NOT_MEASURED)

    def x(share: float) -> float:
        return round(4 + 192 * share, 1)

    parts = [element("line", x1=4, x2=196, y1=12, y2=12, class_="axis")]
    if target:
        goal = x(Targets().success)
        parts.append(element("line", x1=goal, x2=goal, y1=1, y2=23, class_="target"))
    parts += [
        element(
            "line", x1=x(interval.low), x2=x(interval.high), y1=12, y2=12,
            class_=arm, stroke_width=5,
        ),
        element("circle", cx=x(interval.share), cy=12, r=5, class_=arm, stroke_width=2),
    ]  # fmt: skip
    return element(
        "svg", *parts, class_="bar", viewBox="0 0 200 24", preserveAspectRatio="xMinYMid meet",
        role="img", aria_label=rate(interval),
    )  # fmt: skip


def _baseline(evaluation: Evaluation) -> Html:
    if evaluation.baseline is None:
        return Html()
    beside = baseline_table(evaluation)
    table = [card(table_of(beside))] if beside.rows else []
    return section("The system in use", element("p", coded(evaluation.baseline.text)), *table)


def _tasks(evaluation: Evaluation) -> Html:
    """Of every suite, what tuning broke and fixed before the rest."""
    if not evaluation.items:
        return Html()
    parts = [*task_details(evaluation.tasks, evaluation.items, evaluation.paired)]
    for suite in evaluation.suites:
        if suite.items:
            parts.append(element("h3", suite.title))
            parts += task_details(suite.tasks, suite.items, suite.paired)
    return section("Every task", *parts)


def sandbox_line(place: Environment) -> str:
    """The profile in which code was run, and what it was tried with just before."""
    test = place.self_test
    if test is None or not test.attacks:
        return place.sandbox if test is None or not test.reason else f"none ({test.reason})"
    held = len(test.attacks) - len(test.failed)
    return f"{place.sandbox} (self test: {held} of {len(test.attacks)} attacks held)"


def _origin(evaluation: Evaluation) -> Html:
    plan, place = evaluation.plan, evaluation.environment
    load = NOT_MEASURED if place.load_average is None else f"{place.load_average:.2f}"
    lines = [
        f"plan {plan_short(evaluation)}, fixed before the first answer; look {plan.look} at these "
        f"test rows, each one-sided bound at {percent(1 - plan.alpha)}",
        f"test rows: {plan.test_data} (sha256 {plan.test_sha256[:16]}), {plan.rows} rows, "
        f"{plan.tasks} tasks, {plan.clusters} independent",
        f"decoding: {plan.decoding}, at most {plan.max_tokens} tokens, seed {plan.seed}",
        f"machine: {place.machine}; load before {load}; sandbox {sandbox_line(place)}",
        "versions: " + ", ".join(f"{name} {value}" for name, value in place.versions.items()),
        *(f"{r.arm.id}: {r.arm.engine}, sha256 {r.arm.sha256[:16]}" for r in evaluation.arms),
        *(f"{arm.id} is served by: {shlex.join(arm.command)}" for arm in plan.arms if arm.command),
        f"created: {place.created_utc}",
        "make these numbers again: journeyman verify RESULT.json",
    ]
    return list_section("Where this comes from", lines)


def plan_short(evaluation: Evaluation) -> str:
    """The first digits of the plan's hash."""
    return evaluation.plan_sha256[:16] or "without a hash"
