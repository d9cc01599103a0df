"""Plain facts about one logged answer: a table of rules, one small function each.

A rule states what is there; what follows from it is the policy's (`registry`).
Covered: empty, mock, failed, cut off (by `finish_reason`, else by the text), `<think>`.
Not covered: answers cut off at a sentence's end, which only the producer's token count shows.

Whether an answer ends inside a bracket, in the code block that ends it or its last paragraph.

A sign for answers whose tokens nobody counted, so it speaks only where it is sure. Covered: blocks
labelled with a language whose brackets come in pairs, and prose. Not covered: shells, whose `case`
has single ones; regular expressions (`/[(]/`); brackets that close in another order, such as the
half-open interval `[0, 1)`, about which nothing is said.
"""

import ast
import re
import warnings
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from journeyman.data.log_row import SUCCESS
from journeyman.data.markdown import fenced_blocks, has_open_fence
from journeyman.records import Interaction

Severity = Literal["error", "warning"]

# Escapes: a closing quote, and the wide exclamation and question marks of Chinese.
_CLOSERS = "*_)]}\"'`”»\u2019"

_SENTENCE_ENDS = tuple(".!?…。\uff01\uff1f")

_FINISHED = frozenset(
    {"stop", "end_turn", "eos", "stop_sequence", "tool_calls", "tool_use", "function_call"}
)

_CUT = frozenset(
    {
        "length",
        "max_tokens",
        "abort",
        "aborted",
        "cancelled",
        "client_abort",
        "content_filter",
        "error",
    }
)

NO_END = "no end of a sentence"

OPEN_BRACKET = "open bracket"

WEAK_ENDS = frozenset({NO_END, OPEN_BRACKET})
"""The weak signs that an answer was cut off: where tokens were counted, they decide instead."""


class RowRule(Struct, frozen=True):
    """A fact to look for: `look` gives what was seen, or None. An `error` should not be trained."""

    id: str
    severity: Severity
    meaning: str
    look: Callable[[Interaction], str | None]


def _failed(interaction: Interaction) -> str | None:
    return None if interaction.status == SUCCESS else f"status `{interaction.status}`"


def _empty(interaction: Interaction) -> str | None:
    said = (interaction.answer or "").strip() or interaction.tool_calls
    return None if said else "no text"


def _mock(interaction: Interaction) -> str | None:
    if (interaction.producer or "").split("/")[0].casefold() == "mock":
        return "provider `mock`"
    said = (interaction.answer or "").lstrip().startswith("Mock response")
    return "`Mock response`" if said else None


def _thinks(interaction: Interaction) -> str | None:
    return "`<think>`" if "<think>" in (interaction.answer or "") else None


def _thinks_without_end(interaction: Interaction) -> str | None:
    answer = interaction.answer or ""
    return "no `</think>`" if answer.rfind("<think>") > answer.rfind("</think>") else None


def _cut_off(interaction: Interaction) -> str | None:
    answer = interaction.answer or ""
    if not answer.strip():
        return None
    finish = (interaction.finish_reason or "").casefold()
    if finish in _FINISHED:
        return None
    if finish in _CUT:
        return f"finish_reason `{finish}`"
    if has_open_fence(answer):
        return "open code fence"
    if _thinks_without_end(interaction):
        return "inside `<think>`"
    # What stands before a tool call need not be a sentence.
    return None if interaction.tool_calls else _weak_end(answer)


def _weak_end(answer: str) -> str | None:
    # Brackets in strings are code's own business, and code that parses has no other ones open.
    if has_open_bracket(answer) and not _is_python(answer):
        return OPEN_BRACKET
    return None if ends_well(answer) else NO_END


def ends_well(text: str) -> bool:
    """Whether a text whose fences are closed ends with a fence, a sentence or whole Python."""
    last = text.rstrip().rsplit("\n", 1)[-1].strip()
    if set(last) in ({"`"}, {"~"}) and len(last) >= 3:
        return True
    return last.rstrip(_CLOSERS).endswith(_SENTENCE_ENDS) or _is_python(text)


def _is_python(text: str) -> bool:
    """Whether a text is a module that defines or imports something, and not just a word."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    return any(isinstance(statement, kinds) for statement in module.body)


RULES = (
    RowRule("failed", "error", "the call did not succeed", _failed),
    RowRule("empty", "error", "the answer holds no text and no call", _empty),
    RowRule("mock", "error", "the answer is a stand-in, not a model's", _mock),
    RowRule("cut-off", "warning", "the answer ends in the middle", _cut_off),
    RowRule("think", "warning", "the answer holds `<think>`", _thinks),
    RowRule("think-unclosed", "error", "a `<think>` never ends", _thinks_without_end),
)

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
