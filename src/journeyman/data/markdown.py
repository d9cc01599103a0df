"""The fenced code blocks of a Markdown answer, and the answer without its reasoning.

(CommonMark 0.31, section 4.5; a fence may also be indented as deeply as a list needs, and may
follow a list marker.)
"""

import re
from functools import lru_cache

from msgspec import Struct

_MARKS = ("```", "~~~")

_OPENING = re.compile(r"([ \t]*)(?:[-*+][ \t]+|\d+[.)][ \t]+)?(`{3,}(?=[^`]*$)|~{3,})[ \t]*(.*)$")

# Pandoc writes a label as `{.python}`.
_LABEL = re.compile(r"(?:\{[ \t]*\.)?([a-z0-9+#.-]+)")

_THINK = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)


class FencedBlock(Struct, frozen=True):
    """A fenced block: its lower-case label, its text, and whether its fence was never closed."""

    label: str
    text: str
    unclosed: bool = False


# Several rules read the blocks of one answer one after the other.
@lru_cache(maxsize=8)
def fenced_blocks(text: str) -> tuple[FencedBlock, ...]:
    """The fenced blocks of a text in order, without their indentation."""
    text = text.replace("\r\n", "\n")
    blocks: list[FencedBlock] = []
    mark = _next_mark(text, 0)
    while mark >= 0:
        start, end = _line_around(text, mark)
        opening = _OPENING.match(text[start:end])
        if opening:
            block, end = _block(text, end + 1, *opening.groups())
            blocks.append(block)
        mark = _next_mark(text, end)
    return tuple(blocks)


def _next_mark(text: str, start: int) -> int:
    """The position of the next fence mark, or -1."""
    found = [at for mark in _MARKS if (at := text.find(mark, start)) >= 0]
    return min(found, default=-1)


def _line_around(text: str, place: int) -> tuple[int, int]:
    end = text.find("\n", place)
    return text.rfind("\n", 0, place) + 1, len(text) if end < 0 else end


def _block(text: str, start: int, indent: str, fence: str, info: str) -> tuple[FencedBlock, int]:
    """The block whose lines begin at `start`, and the end of its closing line."""
    found = _LABEL.match(info.casefold())
    label = found[1] if found else ""
    closing = _closing(text, start, fence)
    stop, end = closing or (len(text) + 1, len(text))
    # Without the last line end, so that a block of no lines and one of an empty line are equal.
    content = text[start : max(start, stop - 1)]
    if indent:
        content = "\n".join(line.removeprefix(indent) for line in content.split("\n"))
    return FencedBlock(label, content + "\n", unclosed=closing is None), end


def _closing(text: str, start: int, fence: str) -> tuple[int, int] | None:
    """Start and end of the closing line; its fence is at least as long as the opening one."""
    mark = text.find(fence, start)
    while mark >= 0:
        first, last = _line_around(text, mark)
        if not text[first:last].strip().strip(fence[0]):
            return first, last
        mark = text.find(fence, last)
    return None


def without_thinking(answer: str) -> str:
    """An answer without its `<think>` parts; one that is never closed extends to the end."""
    return _THINK.sub("", answer) if "<think>" in answer else answer


def has_open_fence(text: str) -> bool:
    """Whether the last Markdown code fence is never closed."""
    blocks = fenced_blocks(text)
    return bool(blocks) and blocks[-1].unclosed
