"""Whether an answer ends inside a bracket, in the code block that ends it or its last paragraph.

A sign for answers whose tokens nobody counted, so it speaks only where it is sure. Covered: blocks
labelled with a language whose brackets come in pairs, and prose. Not covered: shells, whose `case`
has single ones; regular expressions (`/[(]/`); brackets that close in another order, such as the
half-open interval `[0, 1)`, about which nothing is said.
"""

import re

from journeyman.data.fences import fenced_blocks

_PAIRED = frozenset(
    [
        "c",
        "c#",
        "c++",
        "cpp",
        "cs",
        "csharp",
        "go",
        "golang",
        "java",
        "javascript",
        "js",
        "json",
        "jsx",
        "kotlin",
        "php",
        "py",
        "python",
        "python3",
        "rs",
        "rust",
        "scala",
        "swift",
        "ts",
        "tsx",
        "typescript",
    ]
)
_CLOSES = {")": "(", "]": "[", "}": "{"}
_BRACKET = re.compile(r"[()\[\]{}]")
# Strings and comments; a `#` in the middle of a word starts none.
_NO_CODE = re.compile(
    r'\\.|"""(?s:.*?)"""|\'\'\'(?s:.*?)\'\'\'|`[^`]*`|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    r"|/\*(?s:.*?)\*/|//[^\n]*|(?m:(?:^|(?<=\s))#[^\n]*)"
)
# Code in a line, faces such as `:-(`, and brackets that are spoken of in quotes.
_NO_PROSE = re.compile(
    r"\\.|`[^`\n]*`|(?<!\S)[:;=]['o-]?[(\[{](?!\w)|[\"'\u2018\u201c][()\[\]{}]{1,3}[\"'\u2019\u201d]"
)


def has_open_bracket(text: str) -> bool:
    """Whether a text whose fences are closed ends with a bracket open."""
    text = text.rstrip()
    if text.endswith(("```", "~~~")):
        blocks = fenced_blocks(text)
        return bool(blocks) and blocks[-1].label in _PAIRED and _is_open(blocks[-1].text, _NO_CODE)
    return _is_open(_last_paragraph(text), _NO_PROSE)


def _last_paragraph(text: str) -> str:
    """What follows the last blank line and the last fence."""
    fence = max(text.rfind("\n```"), text.rfind("\n~~~"))
    after_fence = text.find("\n", fence + 1) if fence >= 0 else -1
    return text[max(text.rfind("\n\n"), after_fence, 0) :]


def _is_open(text: str, passed_over: re.Pattern[str]) -> bool:
    opened: list[str] = []
    for bracket in _BRACKET.findall(passed_over.sub(" ", text)):
        if bracket not in _CLOSES:
            opened.append(bracket)
        elif opened and opened.pop() != _CLOSES[bracket]:
            return False
    return bool(opened)
