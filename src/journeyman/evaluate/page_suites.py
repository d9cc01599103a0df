"""The page's part about what stands beside the held-out tasks: public tasks, probes, likelihood."""

from journeyman.evaluate.page_charts import difference_bar
from journeyman.evaluate.records import Evaluation, Paired, Suite
from journeyman.evaluate.suite_records import Divergence, Likelihood
from journeyman.evaluate.summary import SHOWN_BY_AGENT, rung_name
from journeyman.evaluate.words import percent, points, rate
from journeyman.pages.markup import Html, element
from journeyman.pages.parts import card, list_section, rows_table, section

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


def _pair_row(name: str, pair: Paired, evaluation: Evaluation) -> Html:
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
            element("td", ", ".join(f"{code} {count}" for code, count in rung.codes.items())),
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
    if suite.excluded:
        parts.append(element("p", f"{len(suite.excluded)} tasks do not count: their checks "
                             "failed a canary.", class_="soft"))  # fmt: skip
    return element("div", *parts)


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


def _divergence(found: Divergence) -> str:
    return (
        f"{found.state}: {found.quantization} against F16 on {found.tokens} tokens: mean KL "
        f"{found.mean_kl:.4f} (limit {found.limit_kl:g}), 99th percentile {found.p99_kl:.3f}; the "
        f"likeliest next token is the same for {percent(found.same_top)} "
        f"(limit {percent(found.limit_same_top)}); perplexity {found.perplexity_f16:.2f} to "
        f"{found.perplexity:.2f}."
    )


def excluded(evaluation: Evaluation) -> Html:
    """Held-out tasks that do not count on S4, each with the canary that failed."""
    lines = [
        f"{one.task}: {one.canary}" + (f" ({one.detail})" if one.detail else "")
        for one in evaluation.excluded
    ]
    return list_section("Tasks whose checks cannot be trusted, left out of S4", lines)
