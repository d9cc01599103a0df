"""Code in an answer that cannot be what was asked for: it does not parse, or it does nothing.

Code is parsed, never run. Covered: Python, by label or, where a block has none, by its own lines.
Not covered: other languages than Python, whose blocks are only counted; whether code is right.
"""

import ast
import re
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache

from msgspec import Struct

from journeyman.data.facts import Rule
from journeyman.data.fences import Block, fenced_blocks
from journeyman.records import Interaction

PYTHON = frozenset({"python", "py", "python3"})
_SIZE_LIMIT = 200_000
_PYTHON_LINE = re.compile(
    r"^[ \t]*(?:(?:async[ ]+)?def[ ]+\w+[ ]*\(|class[ ]+\w+[ ]*(?:\([^)]*\))?:"
    r"|from[ ]+[\w.]+[ ]+import\b|import[ ]+[\w.]+(?:[ ]+as[ ]+\w+)?[ \t]*$)",
    re.MULTILINE,
)
_DOCTEST = re.compile(r"^[ \t]*>>> ", re.MULTILINE)


class PythonBlock(Struct, frozen=True):
    """A block of Python. `fault` is the parser's complaint, empty where there is none."""

    block: Block
    fault: str


def languages(answers: Iterable[str]) -> Counter[str]:
    """How many blocks there are of each language; `` where a block names none."""
    return Counter(
        "python" if is_python(block) else block.label
        for answer in answers
        for block in fenced_blocks(answer)
    )


def is_python(block: Block) -> bool:
    """Whether a block says that it is Python, or says nothing and looks like it."""
    return block.label in PYTHON or (not block.label and bool(_PYTHON_LINE.search(block.text)))


def python_blocks(answer: str) -> list[PythonBlock]:
    """The blocks of Python in an answer, in order, and what is wrong with each."""
    blocks = (block for block in fenced_blocks(answer) if is_python(block))
    return [PythonBlock(block, _fault(block.text)) for block in blocks]


def _fault(text: str) -> str:
    # A session of the interpreter is documentation, and no module.
    if _DOCTEST.search(text):
        return ""
    parsed = _parsed(text)
    return parsed if isinstance(parsed, str) else ""


# Several rules look at the blocks of one answer, one after the other.
@lru_cache(maxsize=16)
def _parsed(text: str) -> ast.Module | str:
    """The syntax tree, or what is wrong."""
    if len(text) > _SIZE_LIMIT:
        return f"longer than {_SIZE_LIMIT} characters"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(textwrap.dedent(text))
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error) or type(error).__name__


def _unparsable(interaction: Interaction) -> str | None:
    blocks = python_blocks(interaction.answer or "")
    bad = [one for one in blocks if one.fault]
    if not bad:
        return None
    end = ", in a block that never closes" if bad[-1].block.unclosed else ""
    return f"{len(bad)} of {len(blocks)}: {bad[0].fault}{end}"


def _stubs(interaction: Interaction) -> str | None:
    """Every function of the answer's Python is empty; one that works is enough."""
    names = []
    for function in _functions(interaction.answer or ""):
        if not _is_stub(function):
            return None
        names.append(function.name)
    return f"{len(names)} functions, none with a body: `{names[0]}`" if names else None


def _functions(answer: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions of an answer's Python but for abstract ones, the outer before the inner."""
    for block in fenced_blocks(answer):
        tree = _parsed(block.text) if is_python(block) and "def " in block.text else ""
        if not isinstance(tree, ast.Module):
            continue
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
    Rule("bad-python", "warning", "a block of Python does not parse", _unparsable),
    Rule("stub", "warning", "the Python holds functions without bodies only", _stubs),
)
NOTES = (Rule("other-code", "warning", "a block is not Python", _other_languages),)
"""To be counted over the set, not held against a row."""
