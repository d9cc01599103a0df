"""The page's charts in numbers (units of a view box); `charts.html` draws them."""

from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar

from msgspec import Struct

from journeyman.html.environment import counted
from journeyman.prepare.records import Flow, Lengths, Report, RoleReport
from journeyman.prepare.rules.length_spikes import ABOVE, BELOW
from journeyman.prepare.rules.rule import Action

USED: dict[Action, str] = {"kept": "kept as they are", "masked": "end not trained"}

_MOST_REASONS, _REASON_LENGTH, _HISTOGRAMS = 7, 20, 6


class BarRectangle(Struct, frozen=True):
    """A rectangle. kind: its class in the style sheet."""

    kind: str
    x: float
    y: float
    width: float
    height: float


class Label(Struct, frozen=True):
    """A line of text that starts at x, on the baseline y."""

    x: float
    y: float
    text: str


class Ribbon(Struct, frozen=True):
    """A band between two bars: its edges on the left and on the right, and where it bends."""

    kind: str
    left: float
    middle: float
    right: float
    left_top: float
    left_bottom: float
    right_top: float
    right_bottom: float


class FlowChart(Struct, frozen=True):
    """The rows on their way: read, what became of them, their split. Heights are counts."""

    width: ClassVar[int] = 420
    height: int
    description: str
    ribbons: tuple[Ribbon, ...]
    bars: tuple[BarRectangle, ...]
    labels: tuple[Label, ...]


# All rows are 200 high; the gaps between bars come on top.
_FLOW_TOP, _FLOW_HEIGHT, _LABEL, _GAP = 24, 200, 15, 7
_LOG, _ENDS, _SPLITS, _BAR = 0, 112, 322, 12


class _Node(Struct, frozen=True):
    """A bar and its text; `room` is the height of the higher one of them."""

    kind: str
    label: str
    rows: int
    top: float
    height: float
    room: float

    @property
    def named(self) -> str:
        return f"{self.label} {self.rows:,}"

    @property
    def centre(self) -> float:
        return self.top + self.room / 2

    def bar(self, x: float) -> BarRectangle:
        return BarRectangle(self.kind, x, round(self.top, 1), _BAR, round(max(self.height, 1.5), 1))


def flow_chart(report: Report) -> FlowChart:
    """What became of the rows that were read, and which split they went to."""
    read = f"{report.source.lines:,} read"
    unit = _FLOW_HEIGHT / max(1, report.source.lines)
    ends = _stacked(_ends(report.flows), unit, _LABEL)
    splits = _stacked([(one.name, one.name, one.rows) for one in report.splits], unit, 2 * _LABEL)
    nodes = (*ends, *splits)
    bottom = max([_FLOW_TOP + _FLOW_HEIGHT, *(node.top + node.room for node in nodes)])
    log = _Node("read", "", report.source.lines, _FLOW_TOP, report.source.lines * unit, 0)
    labels = [Label(_ENDS + _BAR + 5, round(node.centre + 4, 1), node.named) for node in ends]
    for node in splits:
        x = _SPLITS + _BAR + 5
        labels.append(Label(x, round(node.centre - 3, 1), node.label))
        labels.append(Label(x, round(node.centre + 12, 1), f"{node.rows:,}"))
    bars = [*(node.bar(_ENDS) for node in ends), *(node.bar(_SPLITS) for node in splits)]
    return FlowChart(
        round(bottom + 6),
        f"{read}: {'; '.join(node.named for node in nodes)}",
        (*_from_log(ends), *_to_splits(report, ends, splits, unit)),
        (log.bar(_LOG), *bars),
        (Label(_LOG, 14, read), *labels),
    )


def _ends(flows: Sequence[Flow]) -> list[tuple[str, str, int]]:
    """(action, label, rows): used rows first, then the others by reason, the largest first."""
    rows: dict[tuple[Action, str], int] = defaultdict(int)
    for one in flows:
        rows[one.action, "" if one.action in USED else one.reason] += one.rows
    used = [(action, USED[action], rows[action, ""]) for action in USED if rows[action, ""]]
    lost = sorted(
        ((key, count) for key, count in rows.items() if count and key[0] not in USED),
        key=lambda pair: -pair[1],
    )
    named = [
        (action, f"{action}: {_short(reason)}" if reason else action, count)
        for (action, reason), count in lost[:_MOST_REASONS]
    ]
    rest = sum(count for _, count in lost[_MOST_REASONS:])
    return [*used, *named, *([("dropped", "other reasons", rest)] if rest else [])]


def _short(reason: str) -> str:
    return reason if len(reason) <= _REASON_LENGTH else reason[: _REASON_LENGTH - 1] + "…"


def _stacked(nodes: Sequence[tuple[str, str, int]], unit: float, label: int) -> list[_Node]:
    """Bars below each other, each with room for its label."""
    stacked, top = [], float(_FLOW_TOP)
    for kind, text, rows in nodes:
        node = _Node(kind, text, rows, top, rows * unit, max(rows * unit, label))
        stacked.append(node)
        top += node.room + _GAP
    return stacked


def _from_log(ends: Sequence[_Node]) -> list[Ribbon]:
    ribbons, start = [], float(_FLOW_TOP)
    for node in ends:
        ribbons.append(_ribbon(node.kind, (_LOG, start), (_ENDS, node.top), node.height))
        start += node.height
    return ribbons


def _to_splits(
    report: Report, ends: Sequence[_Node], splits: Sequence[_Node], unit: float
) -> list[Ribbon]:
    """Ribbons of the kept rows, then of the masked ones, so that none cross inside a bar."""
    start = {node.kind: node.top for node in ends}
    ribbons = []
    for split, node in zip(report.splits, splits, strict=True):
        goal = node.top
        for kind, rows in (("kept", split.rows - split.masked), ("masked", split.masked)):
            if rows > 0 and kind in start:
                ribbons.append(_ribbon(kind, (_ENDS, start[kind]), (_SPLITS, goal), rows * unit))
                start[kind] += rows * unit
                goal += rows * unit
    return ribbons


def _ribbon(
    kind: str, start: tuple[float, float], goal: tuple[float, float], height: float
) -> Ribbon:
    left, right, thickness = float(start[0] + _BAR), float(goal[0]), max(height, 0.8)
    tops = start[1], goal[1]
    edges = [round(y + below, 1) for y in tops for below in (0, thickness)]
    return Ribbon(kind, left, round((left + right) / 2, 1), right, *edges)


class LimitMark(Struct, frozen=True):
    """The line at a token limit, and where its text goes so that it stays inside the picture."""

    x: float
    text_x: float
    text_anchor: str


class Histogram(Struct, frozen=True):
    """How long one producer's answers are; bars at the limit are of kind `masked`."""

    width: ClassVar[int] = 420
    side: ClassVar[int] = 8
    top: ClassVar[int] = 22
    bottom: ClassVar[int] = 132
    lengths: Lengths
    summary: str
    longest: int
    bars: tuple[BarRectangle, ...]
    limit: LimitMark | None


class Histograms(Struct, frozen=True):
    """Those to show at once (with answers at a limit, else the largest), and those to fold away."""

    shown: tuple[Histogram, ...]
    folded: tuple[Histogram, ...]


def histograms(lengths: Sequence[Lengths]) -> Histograms:
    """A histogram for each producer with answers, the one with the most answers first."""
    drawn = sorted((one for one in lengths if one.counts), key=lambda one: -one.answers)
    piled = [one for one in drawn if one.cut_off and one.cap][:_HISTOGRAMS] or drawn[:1]
    others = [one for one in drawn if one not in piled]
    return Histograms(tuple(map(_histogram, piled)), tuple(map(_histogram, others)))


def _histogram(one: Lengths) -> Histogram:
    longest = one.start + one.width * len(one.counts)
    return Histogram(one, _summary(one), longest, _histogram_bars(one), _limit_mark(one, longest))


def _summary(one: Lengths) -> str:
    if not one.cut_off:
        return f"{counted(one.answers, 'answer')}, none cut off"
    share = one.cut_off / max(1, one.answers)
    limit = "" if one.cap is None else f", at the limit of {one.cap:,} {one.unit}"
    return f"{one.cut_off:,} of {one.answers:,} answers ({share:.0%}) are cut off{limit}"


def _bar_width(one: Lengths) -> float:
    return (Histogram.width - 2 * Histogram.side) / len(one.counts)


def _histogram_bars(one: Lengths) -> tuple[BarRectangle, ...]:
    step, most = _bar_width(one), max(1, *one.counts)
    bars = []
    for place, count in enumerate(one.counts):
        if not count:
            continue
        height = max(1.5, (Histogram.bottom - Histogram.top) * count / most)
        bars.append(
            BarRectangle(
                "masked" if one.cut_off > 0 and _is_at_limit(one, place) else "plain",
                x=round(Histogram.side + place * step, 2),
                y=round(Histogram.bottom - height, 2),
                width=round(max(0.8, step * 0.9), 2),
                height=round(height, 2),
            )
        )
    return tuple(bars)


def _is_at_limit(one: Lengths, place: int) -> bool:
    """Whether a bar has lengths near the limit; limits on characters are exact."""
    if one.cap is None:
        return False
    below, above = (BELOW, ABOVE) if one.unit == "tokens" else (0, 0)
    low = one.start + place * one.width
    return low <= one.cap + above and low + one.width > one.cap - below


def _limit_mark(one: Lengths, longest: int) -> LimitMark | None:
    if one.cap is None or not one.cut_off or not one.start <= one.cap <= longest:
        return None
    bars = min((one.cap - one.start) / one.width, len(one.counts))
    x = round(Histogram.side + bars * _bar_width(one), 1)
    if x > Histogram.width / 2:
        return LimitMark(x, x - 5, "end")
    return LimitMark(x, x + 5, "start")


ROLE_PARTS = (("train", "train"), ("val", "val"), ("test", "test"), ("left", "left out"))
"""(kind of the bar, heading) of the parts of a role's rows, in their order."""


class RoleBar(Struct, frozen=True):
    """The rows of one role by split; `bars` are parts of one bar, in one scale for all roles."""

    width: ClassVar[int] = 200
    agent: str
    counts: tuple[int, ...]
    bars: tuple[BarRectangle, ...]
    description: str


def role_bars(roles: Sequence[RoleReport]) -> list[RoleBar]:
    """One bar a role."""
    counts = [(role.train, role.val, role.test, role.left_out) for role in roles]
    most = max([1, *map(sum, counts)])
    return [_role_bar(role.agent, row, most) for role, row in zip(roles, counts, strict=True)]


def _role_bar(agent: str, counts: tuple[int, ...], most: int) -> RoleBar:
    bars, x = [], 0.0
    for (kind, _), count in zip(ROLE_PARTS, counts, strict=True):
        width = RoleBar.width * count / most
        if count:
            bars.append(BarRectangle(kind, round(x, 1), 0, round(width, 1), 12))
        x += width
    named = [f"{heading} {n}" for (_, heading), n in zip(ROLE_PARTS, counts, strict=True)]
    return RoleBar(agent, counts, tuple(bars), ", ".join(named))
