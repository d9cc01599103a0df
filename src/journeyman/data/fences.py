"""The fenced code blocks of a Markdown answer, and the answer without its reasoning.

Nothing is executed or judged here. (CommonMark 0.31, section 4.5; a fence may be indented as
deeply as a list needs, and may follow a list's marker.)
"""

import re
from collections.abc import Iterator

from msgspec import Struct

_OPENING = re.compile(r"^([ \t]*)(?:[-*+][ \t]+|\d+[.)][ \t]+)?(`{3,}(?=[^`]*$)|~{3,})[ \t]*(.*)$")
# Pandoc writes a label as `{.python}`.
_LABEL = re.compile(r"(?:\{[ \t]*\.)?([a-z0-9+#.-]+)")
_THINK = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)


class Block(Struct, frozen=True):
    """A fenced block: its lower-case label, its text, and whether its fence was never closed."""

    label: str
    text: str
    unclosed: bool = False


def fenced_blocks(text: str) -> list[Block]:
    """The fenced blocks of a text, in order, their indentation taken off."""
    blocks: list[Block] = []
    lines = iter(text.replace("\r\n", "\n").split("\n"))
    for line in lines:
        opening = _OPENING.match(line)
        if opening:
            blocks.append(_block(lines, *opening.groups()))
    return blocks


def _block(lines: Iterator[str], indent: str, fence: str, info: str) -> Block:
    """Read one block up to its closing fence: as long as the opening one, without a label."""
    found = _LABEL.match(info.casefold())
    label = found[1] if found else ""
    content: list[str] = []
    for line in lines:
        bare = line.strip()
        if len(bare) >= len(fence) and not bare.strip(fence[0]):
            return Block(label, "\n".join(content) + "\n")
        content.append(line.removeprefix(indent))
    return Block(label, "\n".join(content) + "\n", unclosed=True)


def without_thinking(answer: str) -> str:
    """An answer without its `<think>` parts; one that never closes takes the rest with it."""
    return _THINK.sub("", answer)
