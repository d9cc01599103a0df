"""Patterns for the pictures' areas, so that they can be told apart without colour."""

from journeyman.html.markup import Html, element


def patterns() -> Html:
    """A picture of no size that holds the patterns; the style sheet names them by their ids."""
    return element(
        "svg",
        element("defs", _stripes("stripes", 45), _stripes("level", 0), _dots(), _cross()),
        width=0,
        height=0,
        aria_hidden="true",
        class_="patterns",
    )


def _stripes(name: str, turned: int) -> Html:
    return _pattern(
        name,
        element("line", x1=0, y1=2, x2=6, y2=2),
        size=5,
        patternTransform=f"rotate({turned})",
    )


def _dots() -> Html:
    return _pattern("dots", element("circle", cx=2.5, cy=2.5, r=1.3), size=5)


def _cross() -> Html:
    lines = (element("line", x1=0, y1=0, x2=6, y2=6), element("line", x1=6, y1=0, x2=0, y2=6))
    return _pattern("cross", *lines, size=6)


def _pattern(name: str, *marks: Html, size: int, **more: str) -> Html:
    back = element("rect", width=size, height=size, class_="back")
    return element(
        "pattern",
        back,
        *marks,
        id=name,
        width=size,
        height=size,
        patternUnits="userSpaceOnUse",
        class_=name,
        **more,
    )
