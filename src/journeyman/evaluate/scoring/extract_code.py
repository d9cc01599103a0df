"""The Python code in an answer, and the rule that found it.

Nothing is executed: candidates are only parsed. The report says how often each rule was needed,
because a failed extraction must not be mistaken for a wrong answer.
Not covered: several files in one answer (the longest one counts), other languages.
"""

import ast
import re
import textwrap
import warnings
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from journeyman.data.markdown import FencedBlock, fenced_blocks

PYTHON_LABELS = frozenset({"python", "py", "python3"})
SIZE_LIMIT = 200_000
SPAN_LIMIT_LINES = 400

Rule = Literal[
    "entry_point",  # one block that defines the requested name
    "joined_blocks",  # that block, with the blocks that define what it uses
    "longest_block",  # the longest block that parses
    "whole_answer",  # no fence, and the whole answer is code
    "longest_span",  # no fence; the longest run of lines that is code
    "broken_block",  # there are Python blocks, but none parses: `code` holds the longest
    "no_code",
    "no_answer",  # nothing is left outside the reasoning
]

STRICT_RULES: frozenset[Rule] = frozenset({"entry_point", "longest_block"})

_THINK_START = re.compile(r"^[ \t]*<think>", re.MULTILINE)
_THINK_END = "</think>"
_CODE_START = re.compile(r"(?:async\s+)?(?:def|class)\s|import\s|from\s+[\w.]+\s+import\s|@")


class Extraction(Struct, frozen=True):
    """The code of an answer (empty if there is none), the rule that found it, and all its blocks.

    `unclosed`: the last fence never closes. `strict`: no leniency was needed, because one closed
    block marked as Python is the code, and no other could be meant.
    """

    code: str
    rule: Rule
    blocks: int
    unclosed: bool
    strict: bool = False

    @property
    def parses(self) -> bool:
        """Whether `code` is Python by its grammar."""
        return self.rule not in ("broken_block", "no_code", "no_answer")

    @property
    def failure(self) -> str:
        """The failure code of an answer whose code does not parse, or that has none."""
        return "syntax" if self.rule == "broken_block" else self.rule


def extract(answer: str, entry_point: str | None = None) -> Extraction:
    """The code of one answer. With an entry point, the block that defines it wins."""
    spoken = after_thinking(answer)
    if spoken is None or not spoken.strip():
        return Extraction("", "no_answer", 0, unclosed=False)
    blocks = fenced_blocks(spoken)
    unclosed = bool(blocks) and blocks[-1].unclosed
    if blocks:
        rule, code = _from_blocks(blocks, entry_point)
    else:
        rule, code = _from_prose(spoken)
    strict = rule in STRICT_RULES and _is_the_one(code, blocks, entry_point)
    return Extraction(code, rule, len(blocks), unclosed, strict)


def _is_the_one(code: str, blocks: Sequence[FencedBlock], entry_point: str | None) -> bool:
    """Whether the code is a closed block marked as Python, and no other block could be meant."""
    marked = [block for block in blocks if block.label in PYTHON_LABELS]
    if entry_point is not None:
        marked = [block for block in marked if _defines(block, entry_point)]
    return len(marked) == 1 and not marked[0].unclosed and textwrap.dedent(marked[0].text) == code


def _defines(block: FencedBlock, name: str) -> bool:
    tree = parse(textwrap.dedent(block.text))
    return tree is not None and name in defined_names(tree)


def after_thinking(answer: str) -> str | None:
    """The answer without its `<think>` parts; None if one is never closed.

    A closing tag alone ends reasoning that the template opened. Tags count only at the start of a
    line: an answer may hold code that names them.
    """
    text = answer.replace("\r\n", "\n")
    first = _THINK_START.search(text)
    if first is None:
        head, tag, rest = text.partition("\n" + _THINK_END)
        inside_fence = any(block.unclosed for block in fenced_blocks(head))
        return rest if tag and not inside_fence else text
    while match := _THINK_START.search(text):
        end = text.find(_THINK_END, match.end())
        if end < 0:
            return None
        text = text[: match.start()] + text[end + len(_THINK_END) :]
    return text


def _from_blocks(blocks: Sequence[FencedBlock], entry_point: str | None) -> tuple[Rule, str]:
    labelled = [block.text for block in blocks if block.label in PYTHON_LABELS]
    candidates = labelled or [block.text for block in blocks if not block.label]
    texts = [textwrap.dedent(text) for text in candidates]
    parsed = [(text, tree) for text in texts if (tree := parse(text)) is not None and tree.body]
    if not parsed:
        return ("broken_block", max(texts, key=len)) if texts else ("no_code", "")
    longest = max((text for text, _ in parsed), key=len)
    if entry_point is None:
        return "longest_block", longest
    defining = [pair for pair in parsed if entry_point in defined_names(pair[1])]
    if defining:
        return _with_helpers(max(defining, key=lambda pair: len(pair[0])), parsed)
    return "longest_block", longest


def _with_helpers(
    chosen: tuple[str, ast.Module], parsed: list[tuple[str, ast.Module]]
) -> tuple[Rule, str]:
    """The chosen block, and before it the blocks that bind a name which it uses but lacks."""
    text, tree = chosen
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - _bound_names(tree)
    wanted = [other for other, its in parsed if other != text and used & _bound_names(its)]
    return ("joined_blocks", "\n".join([*wanted, text])) if wanted else ("entry_point", text)


def _from_prose(text: str) -> tuple[Rule, str]:
    tree = parse(text)
    # A single word parses as Python too, so it takes a statement that only code has.
    if tree is not None and any(not isinstance(node, ast.Expr) for node in tree.body):
        return "whole_answer", text
    span = _longest_span(text.split("\n"))
    return ("longest_span", span) if span else ("no_code", "")


def _longest_span(lines: list[str]) -> str:
    """The longest run of lines that starts like code and parses, with a definition in it."""
    best: list[str] = []
    for start, line in enumerate(lines):
        if not _CODE_START.match(line):
            continue
        run = _parsing_run(lines[start : start + SPAN_LIMIT_LINES])
        if len(run) > len(best):
            best = run
    return "\n".join(best) + "\n" if best else ""


def _parsing_run(lines: list[str]) -> list[str]:
    """The longest beginning of some lines that parses and defines something; may be empty.

    The parser's error says where the code ends, so few attempts are enough.
    """
    end = len(lines)
    while end > 0:
        text = "\n".join(lines[:end])
        error_line = _error_line(text)
        if error_line is None:
            tree = parse(text)
            return lines[:end] if tree is not None and defined_names(tree) else []
        end = min(end - 1, error_line - 1)
    return []


def _error_line(text: str) -> int | None:
    """The line of the first syntax error, from 1; 1 if it is unknown; None without an error."""
    try:
        _parsed(text)
    except SyntaxError as error:
        return max(1, error.lineno or 1)
    except (ValueError, RecursionError, MemoryError):
        return 1
    return None


def parse(code: str) -> ast.Module | None:
    """The syntax tree, or None if the text is not Python of a reasonable size and depth."""
    if len(code) > SIZE_LIMIT:
        return None
    try:
        return _parsed(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _parsed(code: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return ast.parse(code)


def _bound_names(tree: ast.Module) -> frozenset[str]:
    """What a module defines or imports at its top level."""
    imported = (node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))
    aliases = (alias for node in imported for alias in node.names)
    names = {alias.asname or alias.name.partition(".")[0] for alias in aliases}
    return defined_names(tree) | names


def defined_names(tree: ast.Module) -> frozenset[str]:
    """The functions, classes and variables that a module defines at its top level."""
    names = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return frozenset(names)
