"""Rung S2: does an answer have the form that its agent's work has? Nothing is executed.

Covered: coder (code that parses, is no stub, defines the names asked for and those it uses), tester
(a test function with an assert), and for the others a text with some structure, which says nothing
about its worth. Not covered: whether imports resolve (S3), whether names are defined in time.

Names that code uses and nothing gives it: not the code itself, not Python, not its task.

By Python's own symbol tables, so without running anything, and whatever the order or the branch in
which a name is bound: what is found is certainly missing. Not covered: attributes, names inside of
strings, modules that are not installed (rung S3 imports them).
"""

import ast
import builtins
import re
import symtable
from collections.abc import Iterator

from journeyman.evaluate.records.scores import EvaluationTask, Score
from journeyman.evaluate.scoring.extract_code import (
    Extraction,
    after_thinking,
    defined_names,
    parse,
)

FORM_ONLY = "form only"
"""What such a score says nothing about is the content."""

STUB_SHARE = 0.5

_SIGNATURE = re.compile(
    r"^[ \t>`]*(?:async[ \t]+)?(?:def[ \t]+(\w+)[ \t]*\(|class[ \t]+(\w+)[ \t]*[(:])"
)

_NAMED = re.compile(r"\b(?:function|class|method)\s+(?:called\s+|named\s+)?`(\w+)(?:\([^`]*\))?`")

_STRUCTURE = re.compile(r"^\s*(?:[-*+•]\s+\S|\d+[.)]\s+\S|#{1,6}\s+\S|\*\*\S)", re.MULTILINE)

_ASSERTING = re.compile(r"assert|expect|verify|raises|fail", re.IGNORECASE)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def form(task: EvaluationTask, answer: str, extraction: Extraction) -> Score:
    """The S2 score of one answer, by its agent's rule."""
    if task.agent == "coder":
        return _coder_form(task, extraction)
    if task.agent == "tester":
        return _tester_form(extraction)
    return _text_form(answer)


def asked_names(task: EvaluationTask) -> frozenset[str]:
    """The names that an answer must define: the checks' entry point, else those the prompt gives.

    A prompt gives one by a signature (`def name(`, `class Name:`) at the start of a line, or as
    ``function `name` ``. Names that are only mentioned are not asked for.
    """
    if task.entry_point:
        return frozenset({task.entry_point})
    signatures = (found for line in task.prompt.split("\n") if (found := _SIGNATURE.match(line)))
    names = {found[1] or found[2] for found in signatures}
    return frozenset(names | set(_NAMED.findall(task.prompt)))


def _coder_form(task: EvaluationTask, extraction: Extraction) -> Score:
    tree = parse(extraction.code) if extraction.parses else None
    if tree is None:
        return _no_code(extraction)
    if is_stub(tree):
        return Score("S2", passed=False, code="stub", detail="most bodies are `pass` or `...`")
    defined = defined_names(tree)
    missing = sorted(asked_names(task) - defined - _methods(tree))
    if missing:
        return Score("S2", passed=False, code="name_missing", detail=", ".join(missing))
    if not defined:
        return Score("S2", passed=False, code="no_definition", detail="defines nothing")
    return _all_defined(task, extraction.code)


def _all_defined(task: EvaluationTask, code: str) -> Score:
    """Every name is bound somewhere, or stands in what was asked, or in what a check gives."""
    given = words_of(*(turn.content for turn in task.messages), *(c.setup for c in task.checks))
    try:
        unknown = undefined_names(code, given)
    except (SyntaxError, RecursionError) as error:
        return Score("S2", passed=False, code="syntax", detail=str(error))
    if unknown:
        return Score("S2", passed=False, code="undefined_name", detail=", ".join(unknown))
    return Score("S2", passed=True)


def _tester_form(extraction: Extraction) -> Score:
    tree = parse(extraction.code) if extraction.parses else None
    if tree is None:
        return _no_code(extraction)
    tests = [function for function in _functions(tree) if function.name.startswith("test")]
    if not tests:
        return Score("S2", passed=False, code="no_test", detail="no function `test…`")
    if not any(_asserts(function) for function in tests):
        return Score("S2", passed=False, code="no_assert", detail=f"{len(tests)} tests")
    return Score("S2", passed=True)


def _text_form(answer: str) -> Score:
    spoken = after_thinking(answer) or ""
    parts = len(_STRUCTURE.findall(spoken))
    if parts >= 3:
        return Score("S2", passed=True, detail=FORM_ONLY)
    return Score(
        "S2", passed=False, code="form", detail=f"{parts} list items or headings, 3 needed"
    )


def _no_code(extraction: Extraction) -> Score:
    code = "syntax" if extraction.rule == "broken_block" else extraction.rule
    detail = "its Python block does not parse" if code == "syntax" else ""
    return Score("S2", passed=False, code=code, detail=detail)


def is_stub(tree: ast.Module) -> bool:
    """True where at least half of the functions do nothing; those of an interface are meant to."""
    interfaces = [node for node in ast.walk(tree) if _is_protocol(node)]
    meant = {id(function) for interface in interfaces for function in _functions(interface)}
    functions = [f for f in _functions(tree) if not _is_abstract(f) and id(f) not in meant]
    empty = sum(_is_empty(function) for function in functions)
    return bool(functions) and empty >= STUB_SHARE * len(functions)


def _functions(tree: ast.AST) -> list[Function]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def _methods(tree: ast.Module) -> frozenset[str]:
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return frozenset(f.name for c in classes for f in _functions(c))


def _is_protocol(node: ast.AST) -> bool:
    return isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(b) for b in node.bases)


def _is_abstract(function: Function) -> bool:
    return any("abstract" in ast.unparse(mark) or "overload" in ast.unparse(mark)
               for mark in function.decorator_list)  # fmt: skip


def _is_empty(function: Function) -> bool:
    """True where the body is a docstring, `pass`, `...` or `raise NotImplementedError` alone."""
    return all(
        isinstance(node, ast.Pass)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Raise) and "NotImplemented" in ast.unparse(node))
        for node in function.body
    )


def _asserts(function: Function) -> bool:
    """True where a test states something: an `assert`, or a call such as `self.assertEqual`."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call) and _ASSERTING.search(ast.unparse(node.func)):
            return True
    return False


_MODULE_NAMES = frozenset(
    {"__annotations__", "__builtins__", "__class__", "__doc__", "__file__", "__loader__"}
    | {"__module__", "__name__", "__package__", "__path__", "__qualname__", "__spec__"}
)

KNOWN = frozenset(dir(builtins)) | _MODULE_NAMES

_WORD = re.compile(r"[^\W\d]\w*")

_STAR_IMPORT = re.compile(r"^\s*from\s+\S+\s+import\s*\(?\s*\*", re.MULTILINE)


def words_of(*texts: str) -> frozenset[str]:
    """Everything in some texts that could be a name."""
    return frozenset(word for text in texts for word in _WORD.findall(text))


def undefined_names(code: str, given: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The names that are read and never bound, sorted; none where a star import may bind any.

    given: names that the task gives. Raises SyntaxError where the code parses and does not compile,
    as for a `nonlocal` at the top.
    """
    if _STAR_IMPORT.search(code):
        return ()
    tables = list(_tables(symtable.symtable(code, "answer", "exec")))
    bound = {
        symbol.get_name()
        for table in tables
        for symbol in table.get_symbols()
        if (table.get_type() == "module" or symbol.is_declared_global())
        and (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace())
    }
    used = {
        symbol.get_name()
        for table in tables
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table.get_type() == "module" or symbol.is_global())
    }
    return tuple(sorted(used - bound - KNOWN - given))


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for below in table.get_children():
        yield from _tables(below)
