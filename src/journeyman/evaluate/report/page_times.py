"""The page's part about cost: how long users wait, what that depends on, and how much memory."""

from collections.abc import Mapping, Sequence

from journeyman.evaluate.records.evaluation import ArmId, ArmResult, Evaluation, ScoredItem
from journeyman.evaluate.report.charts import Axes, Series, chart
from journeyman.evaluate.report.terminal import cost_table, warm_table
from journeyman.formatting import byte_size, percent, seconds
from journeyman.html.markup import Html, card, element, section, table_of

LEGEND = "Solid line and filled dots: tuned. Dashed line and hollow dots: base."


def times(evaluation: Evaluation) -> Html:
    """Latency: the share answered by a time, what it depends on, cold and warm, prediction."""
    if not evaluation.arms:
        return Html()
    target = evaluation.plan.targets.latency_s
    waits = {r.arm.id: sorted(_waits(evaluation, r)) for r in evaluation.arms}
    parts = [card(table_of(cost_table(evaluation)))]
    if any(waits.values()):
        longest = max([target, *(max(found, default=0.0) for found in waits.values())]) * 1.05
        parts += [
            element("h3", "How many of the planned answers were there by when"),
            _steps(evaluation, waits, longest, target),
            element("h3", "What the wait depends on: the length of the answer"),
            _scatter(evaluation, longest, target),
            element("p", f"{LEGEND} Dashed grey: the target of {target:g} s.", class_="soft"),
        ]
    warm = warm_table(evaluation)
    if warm.rows:
        parts += [element("h3", "Warm: the start that prompts share is read already"),
                  card(table_of(warm))]  # fmt: skip
    parts += [element("p", line) for line in _sentences(evaluation)]
    return section("Time", *parts)


def _waits(evaluation: Evaluation, result: ArmResult) -> list[float]:
    answers = (item.answer for item in evaluation.items if item.arm == result.arm.id)
    return [answer.latency_s for answer in answers if answer.latency_s is not None]


def _steps(
    evaluation: Evaluation, waits: Mapping[ArmId, list[float]], longest: float, target: float
) -> Html:
    """The share of planned answers that were there by a time: a failed one never comes."""
    planned = evaluation.plan.tasks
    axes = Axes("seconds", "share of planned answers", longest, 1.0)
    series = []
    for arm, found in waits.items():
        points, height = [(0.0, 0.0)], 0.0
        for number, wait in enumerate(found, start=1):
            points += [(wait, height), (wait, height := number / planned)]
        series.append(Series(arm, [*points, (longest, height)]))
    within = (
        f"{arm}: {sum(wait < target for wait in found)} of {planned} within {target:g} s"
        for arm, found in waits.items()
    )
    return chart(axes, series, says="; ".join(within), upright=target)


def _scatter(evaluation: Evaluation, longest: float, target: float) -> Html:
    points = {
        result.arm.id: _lengths([i for i in evaluation.items if i.arm == result.arm.id])
        for result in evaluation.arms
    }
    most = max((x for found in points.values() for x, _ in found), default=0.0)
    if not most:
        return element("p", "The engine did not count tokens.", class_="soft")
    axes = Axes("tokens of the answer", "seconds", most * 1.05, longest)
    series = [Series(arm, found, joined=False) for arm, found in points.items()]
    series += [Series(arm, line) for arm, found in points.items() if (line := fitted(found))]
    says = f"seconds against tokens; the longest answer has {most:.0f} tokens"
    return chart(axes, series, says=says, level=target)


def _lengths(items: Sequence[ScoredItem]) -> list[tuple[float, float]]:
    answers = (item.answer for item in items)
    return [(a.answer_tokens, a.latency_s) for a in answers if a.answer_tokens and a.latency_s]


def fitted(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The ends of the least-squares line through points; empty where they do not make one."""
    n = len(points)
    if n < 2:
        return []
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return []
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    ends = (min(x for x, _ in points), max(x for x, _ in points))
    return [(x, max(0.0, mean_y + slope * (x - mean_x))) for x in ends]


def _sentences(evaluation: Evaluation) -> list[str]:
    found = []
    change = evaluation.latency_difference
    if change is not None and change.low is not None and change.high is not None:
        found.append(
            f"Tuned minus base on the same tasks: {change.mean:+.2f} s "
            f"({change.low:+.2f} to {change.high:+.2f}, 95 %, {change.clusters} independent tasks)."
        )
    for result in evaluation.arms:
        guess, times = result.prediction, result.latency
        if guess is not None:
            found.append(
                f"{result.arm.id}: llama-bench reads {guess.prompt_tokens_per_s:.1f} and writes "
                f"{guess.decode_tokens_per_s:.1f} tokens a second, which predicts "
                f"{seconds(guess.predicted_s)}; measured {seconds(guess.measured_s)}."
            )
        if times.other_load is not None and times.cores:
            found.append(
                f"{result.arm.id}: meanwhile other programs kept {times.other_load:.2f} of "
                f"{times.cores} cores busy."
            )
        if times.overhead_share is not None:
            share = percent(max(0.0, times.overhead_share))
            found.append(
                f"{result.arm.id}: {share} of the wait is outside of the server's own clock."
            )
    return found


def memory(evaluation: Evaluation) -> Html:
    """What the server held, answer by answer, against the limit."""
    series, tables = [], []
    for result in evaluation.arms:
        held = [i.memory for i in evaluation.items if i.arm == result.arm.id and i.memory]
        gib = [m.peak_bytes / 2**30 for m in held if m.peak_bytes]
        series.append(Series(result.arm.id, list(enumerate(gib, start=1))))
        tables.append(_held(result, evaluation))
    longest = max((len(one.points) for one in series), default=0)
    if not longest:
        return Html()
    limit = evaluation.plan.targets.memory_bytes / 2**30
    most = max([limit, *(y for one in series for _, y in one.points)]) * 1.05
    axes = Axes("answers", "GiB at the peak so far", max(longest, 2), most)
    says = "; ".join(tables)
    return section(
        "Memory",
        element("p", says + f". Limit {limit:g} GiB; mapped pages of files count."),
        chart(axes, series, says=says, level=limit),
        element("p", f"{LEGEND} Dashed grey: the limit.", class_="soft"),
    )


def _held(result: ArmResult, evaluation: Evaluation) -> str:
    last = [i.memory for i in evaluation.items if i.arm == result.arm.id and i.memory][-1:]
    text = f"{result.arm.id}: peak {byte_size(result.peak_memory_bytes)}"
    if last:
        text += (
            f", at the end {byte_size(last[0].anonymous_bytes)} of its own, "
            f"{byte_size(last[0].file_bytes)} of files, "
            f"{byte_size(last[0].proportional_bytes)} by share (PSS)"
        )
    return text
