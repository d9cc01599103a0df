"""Text from the log, short enough to look at, with what differs or is missing made visible."""

from journeyman.html.markup import Html, element

LONGEST = 1600
"""Characters of one excerpt on the page; the middle of a longer one is left out, and that said."""
_END, _END_LINES = 700, 16
"""Of a cut-off answer the end is shown, so short that it is seen without scrolling."""


def shortened(text: str) -> str:
    """A text, or its two ends with a line between that says how much is not shown."""
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters not shown …]\n{text[-half:]}"


def text_box(title: str, text: str) -> Html:
    """A text under its title."""
    return _box(title, shortened(text) if text.strip() else element("i", "no text"))


def ending_box(title: str, text: str, *, masked: bool) -> Html:
    """The end of an answer that was cut off, with the place where it was."""
    kept = "\n".join(text[-_END:].split("\n")[-_END_LINES:])
    missing = len(text) - len(kept)
    start = f"[… {missing:,} characters not shown …]\n" if missing else ""
    marks = [element("span", "✂ the answer stops here", class_="cut")]
    if masked:
        marks.append(element("span", "⊘ no end of turn is trained", class_="cut"))
    return _box(title, start, kept, *marks)


def changed_boxes(before: str, after: str) -> tuple[Html, Html]:
    """The log's and the dataset's text, each with what the other has not marked."""
    return (
        _box("in the log", *_marked(before, after, "del")),
        _box("in the dataset", *_marked(after, before, "ins")),
    )


def _box(title: str, *content: str) -> Html:
    return element("div", element("p", title, class_="soft"), element("pre", *content))


def _marked(text: str, other: str, tag: str) -> tuple[str, ...]:
    """The text with the part between what both begin and end with in an element."""
    start = _equal(text, other)
    end = _equal(text[start:][::-1], other[start:][::-1])
    middle, rest = text[start : len(text) - end], text[len(text) - end :]
    # Short of the surroundings: what differs must not fall into the part that is not shown.
    marked = element(tag, shortened(middle)) if middle else ""
    return _tail(text[:start]), marked, _head(rest)


def _equal(one: str, other: str) -> int:
    """How many first characters are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _tail(text: str) -> str:
    missing = len(text) - LONGEST // 2
    return f"[… {missing:,} characters …]{text[missing:]}" if missing > 0 else text


def _head(text: str) -> str:
    missing = len(text) - LONGEST // 2
    return f"{text[: LONGEST // 2]}[… {missing:,} characters …]" if missing > 0 else text
