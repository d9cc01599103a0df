"""Is the answer complete? One small function for each rule.

Covered: empty, mock, failed, cut off (by `finish_reason`, else by the text), `<think>`.
Not covered: answers cut off at the end of a sentence; only the token count shows those
(`token_limit`).

An open bracket in the last paragraph, or in a code block that ends the answer, is a sign of a cut
if tokens were not counted, so the test only fires when it is sure. Covered: code in languages whose
brackets come in pairs, and prose. Not covered: shells (a `case` has single brackets), regular
expressions (`/[(]/`), and brackets that close in another order (the half-open interval `[0, 1)`).
"""

import ast
import re
import warnings

from journeyman.data.log_row import SUCCESS
from journeyman.data.markdown import fenced_blocks, has_open_fence
from journeyman.prepare.rules.rule import RowRule
from journeyman.records import Interaction

# The escapes are a closing quote, and the full-width exclamation and question marks.
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
"""The weak signs of a cut-off answer; if tokens were counted, the count decides instead."""


def _failed(interaction: Interaction) -> str | None:
    return None if interaction.status == SUCCESS else f"status `{interaction.status}`"


def _empty(interaction: Interaction) -> str | None:
    has_content = (interaction.answer or "").strip() or interaction.tool_calls
    return None if has_content else "no text"


def _mock(interaction: Interaction) -> str | None:
    if (interaction.producer or "").split("/")[0].casefold() == "mock":
        return "provider `mock`"
    is_mock = (interaction.answer or "").lstrip().startswith("Mock response")
    return "`Mock response`" if is_mock else None


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
    # The text before a tool call need not be a sentence.
    return None if interaction.tool_calls else _weak_end(answer)


def _weak_end(answer: str) -> str | None:
    # Code that parses has no open brackets outside of its strings.
    if has_open_bracket(answer) and not _is_python(answer):
        return OPEN_BRACKET
    return None if ends_well(answer) else NO_END


def ends_well(text: str) -> bool:
    """Whether a text with closed fences ends with a fence or a sentence, or is all Python."""
    last = text.rstrip().rsplit("\n", 1)[-1].strip()
    if set(last) in ({"`"}, {"~"}) and len(last) >= 3:
        return True
    return last.rstrip(_CLOSERS).endswith(_SENTENCE_ENDS) or _is_python(text)


def _is_python(text: str) -> bool:
    """Whether a text is a Python module that defines or imports something, not just a word."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    return any(isinstance(statement, kinds) for statement in module.body)


RULES = (
    RowRule("failed", "error", "the call failed", _failed),
    RowRule("empty", "error", "the answer has neither text nor a tool call", _empty),
    RowRule("mock", "error", "the answer comes from a mock, not from a model", _mock),
    RowRule("cut-off", "warning", "the answer was cut off before its end", _cut_off),
    RowRule("think", "warning", "the answer contains `<think>`", _thinks),
    RowRule("think-unclosed", "error", "a `<think>` is never closed", _thinks_without_end),
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

# Strings and comments; a `#` inside a word does not start a comment.
_NO_CODE = re.compile(
    r'\\.|"""(?s:.*?)"""|\'\'\'(?s:.*?)\'\'\'|`[^`]*`|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    r"|/\*(?s:.*?)\*/|//[^\n]*|(?m:(?:^|(?<=\s))#[^\n]*)"
)

# Inline code, smileys such as `:-(`, and quoted brackets.
_NO_PROSE = re.compile(
    r"\\.|`[^`\n]*`|(?<!\S)[:;=]['o-]?[(\[{](?!\w)|[\"'\u2018\u201c][()\[\]{}]{1,3}[\"'\u2019\u201d]"
)


def has_open_bracket(text: str) -> bool:
    """Whether a text with closed fences ends inside a bracket."""
    text = text.rstrip()
    if text.endswith(("```", "~~~")):
        blocks = fenced_blocks(text)
        return bool(blocks) and blocks[-1].label in _PAIRED and _is_open(blocks[-1].text, _NO_CODE)
    return _is_open(_last_paragraph(text), _NO_PROSE)


def _last_paragraph(text: str) -> str:
    """The text after the last blank line and the last fence."""
    fence = max(text.rfind("\n```"), text.rfind("\n~~~"))
    after_fence = text.find("\n", fence + 1) if fence >= 0 else -1
    return text[max(text.rfind("\n\n"), after_fence, 0) :]


def _is_open(text: str, ignored: re.Pattern[str]) -> bool:
    opened: list[str] = []
    for bracket in _BRACKET.findall(ignored.sub(" ", text)):
        if bracket not in _CLOSES:
            opened.append(bracket)
        elif opened and opened.pop() != _CLOSES[bracket]:
            return False
    return bool(opened)
