"""Splits a docstring into prose and doctest examples, and shortens docstrings in source."""

import ast
import doctest
import inspect
import re
from collections.abc import Sequence

from journeyman.collect.python.package_source import Module

Documented = ast.FunctionDef | ast.AsyncFunctionDef


def parts_of(docstring: str) -> list[str | doctest.Example]:
    """Prose and examples in order. Raises ValueError if an example is malformed."""
    return doctest.DocTestParser().parse(inspect.cleandoc(docstring))


def prose_of(parts: Sequence[str | doctest.Example]) -> str:
    """The text between the examples, with single blank lines and no colon before an example."""
    kept: list[str] = []
    for part, following in zip(parts, [*parts[1:], ""], strict=True):
        if isinstance(part, str):
            introduces = not isinstance(following, str)
            kept.append(re.sub(r"::?\s*\Z", ".\n", part) if introduces else part)
    text = re.sub(r"[ \t]+$", "", "".join(kept), flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def doctest_text(examples: Sequence[doctest.Example]) -> str:
    """Examples as doctest text: `>>>` lines and their output."""
    blocks: list[str] = []
    for example in examples:
        first, *more = example.source.rstrip("\n").split("\n")
        lines = [f">>> {first}", *(f"... {line}".rstrip() for line in more)]
        blocks.append("\n".join(lines) + "\n" + example.want)
    return "".join(blocks)


def first_sentence(docstring: str) -> str:
    """The first paragraph on one line, up to its first full stop."""
    paragraph = " ".join(inspect.cleandoc(docstring).partition("\n\n")[0].split())
    sentence = re.split(r"(?<=[.!?])\s", paragraph, maxsplit=1)[0].rstrip(":")
    plain = sentence.replace("\\", "").replace('"', "'")
    return plain if plain.endswith((".", "!", "?")) else plain + "."


def with_short_docstrings(text: str) -> str:
    """The source with every docstring cut to its first sentence, otherwise unchanged."""
    lines = text.split("\n")
    for node in reversed(_documented(ast.parse(text))):
        literal = node.body[0]
        assert literal.end_lineno is not None
        before = lines[literal.lineno - 1][: literal.col_offset]
        after = lines[literal.end_lineno - 1][literal.end_col_offset :]
        if before.strip() or after.strip() or len(node.body) == 1:
            continue
        short = first_sentence(ast.get_docstring(node) or "")
        replacement = [] if ">>>" in short or not short.strip(".") else [f'{before}"""{short}"""']
        end = literal.end_lineno
        while end < len(lines) and not lines[end].strip():
            end += 1
        lines[literal.lineno - 1 : end] = replacement
    return "\n".join(lines)


def _documented(tree: ast.Module) -> list[Documented | ast.ClassDef]:
    nodes = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and ast.get_docstring(node) is not None
    ]
    return sorted(nodes, key=lambda node: node.lineno)


def documented_functions(module: Module) -> list[Documented]:
    """Public top-level functions of a module whose docstring has prose and an example."""
    functions = []
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
            docstring = ast.get_docstring(node) or ""
            if ">>>" in docstring and docstring.strip().partition(">>>")[0].strip():
                functions.append(node)
    return functions
