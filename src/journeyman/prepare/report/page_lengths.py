"""How long the answers are, by producer, with the pile that a cap leaves marked and named."""

from collections.abc import Iterator, Sequence

from journeyman.html.markup import Html, coded, counted, element, section
from journeyman.prepare.records import Lengths
from journeyman.prepare.rules.length_spikes import ABOVE, BELOW

WIDTH, HEIGHT, TOP, SIDE = 420, 110, 22, 8
_SHOWN = 6


def lengths(found: Sequence[Lengths]) -> Html:
    """A histogram a producer, those with a pile first and the others folded away."""
    drawn = sorted((one for one in found if one.counts), key=lambda one: -one.answers)
    piled = [one for one in drawn if one.cut_off and one.cap][:_SHOWN] or drawn[:1]
    others = [one for one in drawn if one not in piled]
    if not drawn:
        return Html()
    words = (
        "Lengths of answers that ended by themselves are spread. A pile at one length is a cap on"
        " tokens: those answers were cut off. Striped: at the cap."
    )
    more = element(
        "details",
        element("summary", f"{counted(len(others), 'more producer')}"),
        element("div", *map(_figure, others), class_="figures inset"),
    )
    return section(
        "How long the answers are",
        element("p", words, class_="soft"),
        element("div", *map(_figure, piled), class_="figures"),
        *([more] if others else []),
    )


def _figure(one: Lengths) -> Html:
    caption = [element("b", one.producer or "no producer named"), f": {_said(one)}"]
    if one.evidence:
        caption.append(element("span", coded(one.evidence), class_="soft hint"))
    return element(
        "figure",
        element("figcaption", *caption),
        element(
            "svg", *_bars(one), *_axis(one), viewBox=f"0 0 {WIDTH} {TOP + HEIGHT + 18}",
            role="img", aria_label=f"lengths in {one.unit}; {_said(one)}",
        ),
        class_="card picture",
    )  # fmt: skip


def _said(one: Lengths) -> str:
    if not one.cut_off:
        return f"{counted(one.answers, 'answer')}, none cut off"
    share = one.cut_off / max(1, one.answers)
    how = "end in the middle" if one.cap is None else f"ran into the cap of {one.cap:,} {one.unit}"
    return f"{one.cut_off:,} of {one.answers:,} answers ({share:.0%}) {how}"


def _step(one: Lengths) -> float:
    return (WIDTH - 2 * SIDE) / len(one.counts)


def _bars(one: Lengths) -> Iterator[Html]:
    step, most = _step(one), max(1, *one.counts)
    for place, count in enumerate(one.counts):
        if not count:
            continue
        height = max(1.5, HEIGHT * count / most)
        capped = one.cut_off > 0 and _at_cap(one, place)
        yield element(
            "rect",
            x=round(SIDE + place * step, 2),
            y=round(TOP + HEIGHT - height, 2),
            width=round(max(0.8, step * 0.9), 2),
            height=round(height, 2),
            class_="bar masked" if capped else "bar plain",
        )


def _at_cap(one: Lengths, place: int) -> bool:
    """Whether a bar holds lengths of the window around the cap; characters are cut exactly."""
    if one.cap is None:
        return False
    below, above = (BELOW, ABOVE) if one.unit == "tokens" else (0, 0)
    low = one.start + place * one.width
    return low <= one.cap + above and low + one.width > one.cap - below


def _axis(one: Lengths) -> Iterator[Html]:
    bottom, step = TOP + HEIGHT, _step(one)
    end = one.start + one.width * len(one.counts)
    yield element("line", x1=SIDE, x2=WIDTH - SIDE, y1=bottom, y2=bottom, class_="axis")
    yield element("text", f"{one.start:,}", x=SIDE, y=bottom + 14)
    yield element("text", f"{end:,} {one.unit}", x=WIDTH - SIDE, y=bottom + 14, text_anchor="end")
    yield element("text", f"highest bar: {max(one.counts):,}", x=SIDE, y=13, class_="faint")
    if one.cap is None or not one.cut_off or not one.start <= one.cap <= end:
        return
    x = round(SIDE + min((one.cap - one.start) / one.width, len(one.counts)) * step, 1)
    yield element("line", x1=x, x2=x, y1=2, y2=bottom, class_="cap")
    words = f"cap {one.cap:,}: {one.cut_off:,} cut off"
    left = x > WIDTH / 2
    yield element(
        "text", words, x=x - 5 if left else x + 5, y=13, text_anchor="end" if left else "start"
    )
