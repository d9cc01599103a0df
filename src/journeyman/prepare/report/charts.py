"""The way of the rows as a picture: read, what became of them, the split; widths are counts."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from journeyman.events import Table
from journeyman.html.markup import Html, card, element, section, table_of
from journeyman.prepare.records import Action, Flow, Report

WIDTH, HEIGHT, TOP = 420, 200, 24
LEFT, MIDDLE, RIGHT, BAR = 0, 112, 322, 12
"""Units of the picture; about a pixel on a phone. HEIGHT is all rows, gaps come on top."""
LABEL, GAP = 15, 7
_MOST, _REASON_LENGTH = 7, 20
_WORDS: dict[Action, str] = {"kept": "kept as they are", "masked": "end not trained"}


class Node(NamedTuple):
    """A bar in the picture. top: of its bar, in units; kind: a class of the style sheet."""

    kind: str
    label: str
    rows: int
    top: float


def flow(report: Report) -> Html:
    """The picture, and the same as a table."""
    columns = ("what became of it", "decided by", "rows")
    table = Table("", columns, tuple(map(_row, sorted(report.flows, key=_order))))
    return section(
        "From the log to the splits", card(_picture(report), table_of(table), kind="flow")
    )


def _order(one: Flow) -> tuple[bool, bool, int]:
    return one.action not in _WORDS, one.action == "masked", -one.rows


def _row(one: Flow) -> tuple[str, str, str]:
    return one.action, one.reason, f"{one.rows:,}"


def _picture(report: Report) -> Html:
    unit = HEIGHT / max(1, report.source.lines)
    ends = _placed(_ends(report.flows), unit, LABEL)
    splits = _placed([(one.name, one.name, one.rows) for one in report.splits], unit, 2 * LABEL)
    feet = [node.top + max(LABEL, node.rows * unit) for node in ends]
    feet += [node.top + max(2 * LABEL, node.rows * unit) for node in splits]
    bottom = max([TOP + HEIGHT, *feet])
    read = Node("read", "", report.source.lines, TOP)
    parts = [
        *_from_log(ends, unit),
        *_to_splits(report, ends, splits, unit),
        _bar(read, LEFT, unit),
        *(_bar(node, MIDDLE, unit) for node in ends),
        *(_bar(node, RIGHT, unit) for node in splits),
        _text(LEFT, 14, f"{report.source.lines:,} read"),
        *(_text(MIDDLE + BAR + 5, _centre(node, unit, LABEL) + 4, _named(node)) for node in ends),
        *(
            _text(RIGHT + BAR + 5, _centre(node, unit, 2 * LABEL) + 4 + below, words)
            for node in splits
            for below, words in ((-7, node.label), (8, f"{node.rows:,}"))
        ),
    ]
    words = "; ".join(_named(node) for node in (*ends, *splits))
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {WIDTH} {bottom + 6:.0f}",
        role="img",
        aria_label=f"{report.source.lines:,} read: {words}",
    )


def _ends(flows: Sequence[Flow]) -> list[tuple[str, str, int]]:
    """(action, label, rows): used rows first, then the others by reason, the largest first."""
    rows: dict[tuple[Action, str], int] = defaultdict(int)
    for one in flows:
        rows[one.action, "" if one.action in _WORDS else one.reason] += one.rows
    used = [(action, _WORDS[action], rows[action, ""]) for action in _WORDS if rows[action, ""]]
    lost = sorted(
        ((key, count) for key, count in rows.items() if count and key[0] not in _WORDS),
        key=lambda pair: -pair[1],
    )
    named = [
        (action, f"{action}: {_short(reason)}" if reason else action, count)
        for (action, reason), count in lost[:_MOST]
    ]
    rest = sum(count for _, count in lost[_MOST:])
    return [*used, *named, *([("dropped", "other reasons", rest)] if rest else [])]


def _short(reason: str) -> str:
    return reason if len(reason) <= _REASON_LENGTH else reason[: _REASON_LENGTH - 1] + "…"


def _placed(nodes: Sequence[tuple[str, str, int]], unit: float, label: int) -> list[Node]:
    """Bars under each other, each with room for its label."""
    placed, top = [], float(TOP)
    for kind, words, rows in nodes:
        placed.append(Node(kind, words, rows, top))
        top += max(rows * unit, label) + GAP
    return placed


def _from_log(ends: Sequence[Node], unit: float) -> list[Html]:
    ribbons, start = [], float(TOP)
    for node in ends:
        ribbons.append(_ribbon(node.kind, (LEFT, start), (MIDDLE, node.top), node.rows * unit))
        start += node.rows * unit
    return ribbons


def _to_splits(
    report: Report, ends: Sequence[Node], splits: Sequence[Node], unit: float
) -> list[Html]:
    """Ribbons of the whole rows first, then of the masked ones, so that none cross within a bar."""
    start = {node.kind: node.top for node in ends}
    ribbons = []
    for split, node in zip(report.splits, splits, strict=True):
        goal = node.top
        for kind, rows in (("kept", split.rows - split.masked), ("masked", split.masked)):
            if rows > 0 and kind in start:
                ribbons.append(_ribbon(kind, (MIDDLE, start[kind]), (RIGHT, goal), rows * unit))
                start[kind] += rows * unit
                goal += rows * unit
    return ribbons


def _ribbon(
    kind: str, start: tuple[float, float], goal: tuple[float, float], height: float
) -> Html:
    x0, y0, x1, y1 = start[0] + BAR, start[1], goal[0], goal[1]
    middle, thick = (x0 + x1) / 2, max(height, 0.8)
    path = (
        f"M{x0:.1f} {y0:.1f}C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
        f"V{y1 + thick:.1f}C{middle:.1f} {y1 + thick:.1f} {middle:.1f} {y0 + thick:.1f}"
        f" {x0:.1f} {y0 + thick:.1f}Z"
    )
    return element("path", d=path, class_=f"ribbon {kind}")


def _bar(node: Node, x: float, unit: float) -> Html:
    height = round(max(node.rows * unit, 1.5), 1)
    return element(
        "rect", x=x, y=round(node.top, 1), width=BAR, height=height, class_=f"bar {node.kind}"
    )


def _centre(node: Node, unit: float, label: int) -> float:
    """The middle of a bar, or of the room for its label where that is higher."""
    return node.top + max(node.rows * unit, label) / 2


def _named(node: Node) -> str:
    return f"{node.label} {node.rows:,}"


def _text(x: float, y: float, words: str) -> Html:
    return element("text", words, x=round(x, 1), y=round(y, 1))
