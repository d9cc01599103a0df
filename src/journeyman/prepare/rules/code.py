"""Code that cannot be right: it does not parse, or it does nothing.

Code is parsed, never run. Covered: Python, by the block's label or, without one, by its lines.
Not covered: other languages (their blocks are only counted), and whether code is right.
"""

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator
from functools import lru_cache

from msgspec import Struct

from journeyman.data.markdown import FencedBlock, fenced_blocks
from journeyman.prepare.rules.rule import RowRule
from journeyman.records import Interaction

PYTHON = frozenset({"python", "py", "python3"})
_SIZE_LIMIT = 200_000
_PYTHON_LINE = re.compile(
    r"^[ \t]*(?:(?:async[ ]+)?def[ ]+\w+[ ]*\(|class[ ]+\w+[ ]*(?:\([^)]*\))?:"
    r"|from[ ]+[\w.]+[ ]+import\b|import[ ]+[\w.]+(?:[ ]+as[ ]+\w+)?[ \t]*$)",
    re.MULTILINE,
)
_DOCTEST = re.compile(r"^[ \t]*>>> ", re.MULTILINE)
_BLANK_LINE = re.compile(r"\n[^\S\n]+(?:\n|\Z)")


class _Parsed(Struct, frozen=True):
    """The result of parsing a block: the syntax error, or else its functions.

    `empty` names the functions without a body, except abstract ones. `works`: at least one has a
    body; the list is then incomplete.
    """

    fault: str
    empty: tuple[str, ...] = ()
    works: bool = False


class PythonBlock(Struct, frozen=True):
    """A Python block. `fault` is the syntax error, or empty."""

    block: FencedBlock
    fault: str


def is_python(block: FencedBlock) -> bool:
    """Whether a block is labelled as Python, or has no label and looks like it."""
    return block.label in PYTHON or (not block.label and _looks_like_python(block.text))


# Several rules read the blocks of one answer one after the other.
@lru_cache(maxsize=16)
def _looks_like_python(text: str) -> bool:
    return _PYTHON_LINE.search(text) is not None


def python_blocks(answer: str) -> list[PythonBlock]:
    """The Python blocks of an answer in order, each with its syntax error."""
    blocks = (block for block in fenced_blocks(answer) if is_python(block))
    return [PythonBlock(block, _fault(block.text)) for block in blocks]


def _fault(text: str) -> str:
    # An interpreter session is documentation, not a module.
    if ">>> " in text and _DOCTEST.search(text):
        return ""
    return _parsed(text).fault


# The results are cached, not the tree: a tree takes a lot of memory.
@lru_cache(maxsize=16)
def _parsed(text: str) -> _Parsed:
    if len(text) > _SIZE_LIMIT:
        return _Parsed(f"longer than {_SIZE_LIMIT} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(_dedented(text))
    except SyntaxError as error:
        return _Parsed(f"line {error.lineno}: {error.msg}")
    except (ValueError, RecursionError, MemoryError) as error:
        return _Parsed(str(error) or type(error).__name__)
    empty: list[str] = []
    for function in _functions(tree) if "def " in text else ():
        if not _is_stub(function):
            return _Parsed("", tuple(empty), works=True)
        empty.append(function.name)
    return _Parsed("", tuple(empty))


def _dedented(text: str) -> str:
    """`textwrap.dedent`, called only if it would change something (it is slow)."""
    indented = text[:1].isspace() or _BLANK_LINE.search(text)
    return textwrap.dedent(text) if indented else text


def _unparsable(interaction: Interaction) -> str | None:
    blocks = python_blocks(interaction.answer or "")
    bad = [one for one in blocks if one.fault]
    if not bad:
        return None
    end = ", in a block that never closes" if bad[-1].block.unclosed else ""
    return f"{len(bad)} of {len(blocks)}: {bad[0].fault}{end}"


def _stubs(interaction: Interaction) -> str | None:
    """The answer has Python functions and none of them has a body."""
    blocks = fenced_blocks(interaction.answer or "")
    parsed = [_parsed(x.text) for x in blocks if "def " in x.text and is_python(x)]
    names = [name for one in parsed for name in one.empty]
    if not names or any(one.works for one in parsed):
        return None
    return f"{len(names)} functions, none with a body: `{names[0]}`"


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions of a module except abstract ones, outer ones first."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not any(
            "abstract" in ast.unparse(mark) for mark in node.decorator_list
        ):
            yield node


def _is_stub(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return all(map(_does_nothing, function.body))


def _does_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Raise):
        return "NotImplemented" in ast.unparse(statement)
    # A docstring or `...` is an expression of one constant.
    bare = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return bare or isinstance(statement, ast.Pass)


def _other_languages(interaction: Interaction) -> str | None:
    blocks = fenced_blocks(interaction.answer or "")
    found = sorted({block.label for block in blocks if block.label and not is_python(block)})
    return ", ".join(f"`{label}`" for label in found) or None


RULES = (
    RowRule("bad-python", "warning", "a Python block does not parse", _unparsable),
    RowRule("stub", "warning", "no Python function in the answer has a body", _stubs),
    RowRule("other-code", "note", "a code block is not Python", _other_languages),
)
