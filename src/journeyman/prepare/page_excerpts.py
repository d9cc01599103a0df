"""Text from the log, short enough to look at, with what differs or is missing made visible."""

from journeyman.pages.markup import Html, element, joined

LONGEST = 2400
"""Characters of one excerpt on the page; the middle of a longer one is left out, and that said."""


def shortened(text: str) -> str:
    """A text, or its two ends with a line between that says how much is not shown."""
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters not shown …]\n{text[-half:]}"


def before(text: str, after: str, *, cut: bool) -> Html:
    """The log's text; what the dataset has not is marked, and the place of a cut."""
    end = [element("span", "✂ the answer stops here", class_="cut")] if cut else []
    return element("pre", *_marked(text, after, "del"), *end)


def after(text: str, before: str, *, masked: bool) -> Html:
    """The dataset's text; what the log has not is marked, and that its end is not trained."""
    if not text:
        return element("p", "not in the dataset", class_="soft")
    end = [element("span", "⊘ no end of turn is trained here", class_="cut")] if masked else []
    if text == before:
        return element("p", "the same text ", *end)
    return element("pre", *_marked(text, before, "ins"), *end)


def _marked(text: str, other: str, tag: str) -> list[str]:
    """The text with the part between what both begin and end with in an element."""
    if not other or text == other:
        return [shortened(text)]
    start = _equal(text, other)
    end = _equal(text[start:][::-1], other[start:][::-1])
    middle = text[start : len(text) - end]
    # Short of the middle first: what differs must not fall into the part that is not shown.
    parts = [_tail(text[:start]), element(tag, shortened(middle)) if middle else ""]
    return [joined(*parts), _head(text[len(text) - end :])]


def _equal(one: str, other: str) -> int:
    """How many first characters are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _tail(text: str) -> str:
    half = LONGEST // 2
    return text if len(text) <= half else f"[… {len(text) - half:,} characters …]{text[-half:]}"


def _head(text: str) -> str:
    half = LONGEST // 2
    return text if len(text) <= half else f"{text[:half]}[… {len(text) - half:,} characters …]"
