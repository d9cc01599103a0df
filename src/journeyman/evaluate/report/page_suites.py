"""The page's part about what stands beside the held-out tasks: public tasks, probes, likelihood."""

from collections.abc import Mapping, Sequence

from journeyman.evaluate.records.evaluation import (
    CheckTrust,
    Evaluation,
    PairedOutcomes,
    Rung,
    Suite,
)
from journeyman.evaluate.records.suites import Likelihood, QuantisationDivergence
from journeyman.evaluate.report.charts import difference_bar
from journeyman.evaluate.report.terminal import SHOWN_BY_AGENT, read_strictly, rung_name
from journeyman.formatting import percent, points, rate
from journeyman.html.markup import Html, card, element, rows_table, section

REACH = 0.3
"""How far a bar of a difference reaches to each side; beyond it the numbers tell."""


def pairs(evaluation: Evaluation) -> Html:
    """Tuned minus base on every rung, as bars; then on the public tasks and probes."""
    rows = [_pair_row("held-out", pair, evaluation) for pair in evaluation.paired]
    for suite in evaluation.suites:
        rows += [_pair_row(suite.title, pair, evaluation) for pair in suite.paired]
    if not rows:
        return Html()
    legend = (
        f"Tuned minus base, from {points(-REACH)} to {points(REACH)} with its 95 % interval "
        "(Tango). Upright line: no difference. Dashed line: the margin that it must not fall below."
    )
    columns = ("tasks", "rung", "difference (95%)", "fixed", "broken", "McNemar p", "")
    return section(
        "Base and tuned on the same tasks",
        element("p", legend, class_="soft"),
        card(rows_table(columns, rows), kind="pairs"),
    )


def _pair_row(name: str, pair: PairedOutcomes, evaluation: Evaluation) -> Html:
    targets = evaluation.plan.targets
    margin = targets.small_margin if pair.n <= targets.small_n else targets.margin
    found = pair.difference
    says = (
        f"{points(found.difference)} ({100 * found.low:+.1f} to {100 * found.high:+.1f}) "
        f"over {pair.n} pairs"
    )
    bar = difference_bar(
        found.low, found.difference, found.high, reach=REACH, margin=margin, says=says
    )
    return element(
        "tr",
        element("th", name, scope="row"),
        element("td", pair.rung),
        element("td", says),
        element("td", f"{pair.fixed} fixed", class_="number"),
        element("td", f"{pair.broken} broken", class_="number"),
        element("td", f"p {pair.p:.3g}", class_="number"),
        element("td", bar),
    )


def suites(evaluation: Evaluation) -> Html:
    """Each suite with its rates, or why it has none."""
    if not evaluation.suites:
        return Html()
    return section("Beside the held-out tasks", *(_suite(one) for one in evaluation.suites))


def _suite(suite: Suite) -> Html:
    parts = [element("h3", f"{suite.title}: {suite.n} tasks, {suite.clusters} independent")]
    if suite.not_measured:
        parts.append(element("p", f"Not measured: {suite.not_measured}."))
    if suite.note:
        parts.append(element("p", suite.note, class_="soft"))
    rows = [
        element(
            "tr",
            element("th", rung_name(rung), scope="row"),
            element("td", arm.arm),
            element("td", rate(rung.rate), class_="number"),
            element("td", "; ".join(part for part in _beside(rung) if part)),
        )
        for arm in suite.arms
        for rung in arm.rungs
        if not rung.agent or rung.id in SHOWN_BY_AGENT
    ]
    if rows:
        parts.append(card(rows_table(("rung", "arm", "passed (95%)", "failures"), rows)))
    if suite.likelihood is not None:
        parts.append(element("p", _likelihood(suite.likelihood)))
    if suite.divergence is not None:
        parts.append(element("p", _divergence(suite.divergence)))
    if suite.canaries:
        parts.append(element("p", tried_words(suite.canaries), class_="soft"))
    if suite.excluded:
        names = {task.id: task.task_id or task.id for task in suite.tasks}
        left = ", ".join(
            f"{names.get(one.task, one.task)} ({one.canary})" for one in suite.excluded
        )
        parts.append(element("p", f"Left out: {left}.", class_="soft"))
    return element("div", *parts)


def _beside(rung: Rung) -> tuple[str, ...]:
    return counted_words(rung.codes), read_strictly(rung)


def counted_words(counts: Mapping[str, int]) -> str:
    """`limit 3, syntax 1`."""
    return ", ".join(f"{word} {count}" for word, count in counts.items())


def _likelihood(found: Likelihood) -> str:
    change = found.difference
    ends = (
        ""
        if change.low is None or change.high is None
        else f" ({change.low:+.3f} to {change.high:+.3f}, 95 %)"
    )
    return (
        f"Nats a token of the held-out answers: base {found.base.mean:.3f}, tuned "
        f"{found.tuned.mean:.3f}, tuned minus base {change.mean:+.3f}{ends}; below 0 is a gain. "
        f"{change.n} answers, {found.method}. It says how well the answers are imitated, not "
        "whether they are right."
    )


def _divergence(found: QuantisationDivergence) -> str:
    return (
        f"{found.state}: {found.quantization} against F16 on {found.tokens} tokens: mean KL "
        f"{found.mean_kl:.4f} (limit {found.limit_kl:g}), 99th percentile {found.p99_kl:.3f}; the "
        f"likeliest next token is the same for {percent(found.same_top)} "
        f"(limit {percent(found.limit_same_top)}); perplexity {found.perplexity_f16:.2f} to "
        f"{found.perplexity:.2f}."
    )


def proved(evaluation: Evaluation) -> Html:
    """How the held-out checks were tried, and each task that does not count, with its canary."""
    if not evaluation.canaries:
        return Html()
    lines = [
        f"{one.task}: {one.canary}" + (f" ({one.detail})" if one.detail else "")
        for one in evaluation.excluded
    ]
    parts = [element("p", tried_words(evaluation.canaries))]
    if lines:
        parts.append(element("ul", *(element("li", line) for line in lines)))
    return section("Can the checks be trusted?", *parts)


def tried_words(canaries: Sequence[CheckTrust]) -> str:
    """How many checks proved themselves, and on what."""
    sound = [one for one in canaries if not one.failed]
    refused, mutants = sum(one.refused for one in sound), sum(one.mutants for one in sound)
    return (
        f"The checks of {len(sound)} of {len(canaries)} tasks count: each passes its row's own "
        "answer, fails the same with empty bodies and code that leaves early, and sees small "
        f"mistakes ({refused} of {mutants} mutants refused)."
        + (" The others are left out of S4." if len(sound) < len(canaries) else "")
    )
