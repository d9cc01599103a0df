"""Places in a text, such as those of secrets and of personal data."""

from collections import Counter
from collections.abc import Callable, Iterable

from msgspec import Struct


class Span(Struct, frozen=True, order=True):
    """What is in a text: its kind, and the characters `start` to before `end`."""

    start: int
    end: int
    kind: str


def kinds_in(texts: Iterable[str], find: Callable[[str], Iterable[Span]]) -> str | None:
    """How many different values of each kind the texts of a row contain, in words, or None.

    Different values, since the sent messages repeat the task.
    """
    values = {(one.kind, text[one.start : one.end]) for text in texts for one in find(text)}
    counts = Counter(kind for kind, _ in values)
    return ", ".join(f"{counts[kind]} `{kind}`" for kind in sorted(counts)) or None
