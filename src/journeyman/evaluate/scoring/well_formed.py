"""Rung S2: does an answer have the form that its agent's work needs? Nothing is executed.

Covered: coder (code that parses, is not a stub, and defines the requested names and those it uses),
tester (a test function with an assert), and for other agents a text with some structure, which says
nothing about its worth.
Undefined names come from Python's symbol tables, in any order and branch: a name that is reported
is certainly missing.
Not covered: whether imports resolve (S3), whether names are defined in time, attributes, names
inside strings.
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
"""Such a score says nothing about the content."""

STUB_SHARE = 0.5

_SIGNATURE = re.compile(
    r"^[ \t>`]*(?:async[ \t]+)?(?:def[ \t]+(\w+)[ \t]*\(|class[ \t]+(\w+)[ \t]*[(:])"
)

_NAMED = re.compile(r"\b(?:function|class|method)\s+(?:called\s+|named\s+)?`(\w+)(?:\([^`]*\))?`")

_STRUCTURE = re.compile(r"^\s*(?:[-*+•]\s+\S|\d+[.)]\s+\S|#{1,6}\s+\S|\*\*\S)", re.MULTILINE)

_ASSERTING = re.compile(r"assert|expect|verify|raises|fail", re.IGNORECASE)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def score_form(task: EvaluationTask, answer: str, extraction: Extraction) -> Score:
    """The S2 score of one answer, by its agent's rule."""
    if task.agent == "coder":
        return _coder_form(task, extraction)
    if task.agent == "tester":
        return _tester_form(extraction)
    return _text_form(answer)


def requested_names(task: EvaluationTask) -> frozenset[str]:
    """The names that an answer must define: the checks' entry point, otherwise those of the prompt.

    A prompt requests a name by a signature (`def name(`, `class Name:`) at the start of a line, or
    as ``function `name` ``. A name that is only mentioned is not requested.
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
    missing = sorted(requested_names(task) - defined - _methods(tree))
    if missing:
        return Score("S2", passed=False, code="name_missing", detail=", ".join(missing))
    if not defined:
        return Score("S2", passed=False, code="no_definition", detail="defines nothing")
    return _all_defined(task, extraction.code)


def _all_defined(task: EvaluationTask, code: str) -> Score:
    """Every name is bound somewhere, or is a word of the prompt or of a check's setup."""
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
    parts = len(_STRUCTURE.findall(after_thinking(answer) or ""))
    if parts >= 3:
        return Score("S2", passed=True, detail=FORM_ONLY)
    return Score(
        "S2", passed=False, code="form", detail=f"{parts} list items or headings, 3 needed"
    )


def _no_code(extraction: Extraction) -> Score:
    detail = "its Python block does not parse" if extraction.failure == "syntax" else ""
    return Score("S2", passed=False, code=extraction.failure, detail=detail)


def is_stub(tree: ast.Module) -> bool:
    """Whether at least half of the functions do nothing. Those of an interface do not count."""
    interfaces = [node for node in ast.walk(tree) if _is_protocol(node)]
    declared = {id(function) for interface in interfaces for function in _functions(interface)}
    functions = [f for f in _functions(tree) if not _is_abstract(f) and id(f) not in declared]
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
    """Whether the body is only a docstring, `pass`, `...` or `raise NotImplementedError`."""
    return all(
        isinstance(node, ast.Pass)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Raise) and "NotImplemented" in ast.unparse(node))
        for node in function.body
    )


def _asserts(function: Function) -> bool:
    """Whether a test checks something: an `assert`, or a call such as `self.assertEqual`."""
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
    """All words of some texts that could be a name."""
    return frozenset(word for text in texts for word in _WORD.findall(text))


def undefined_names(code: str, given: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The names that are read and never bound, sorted; none if a star import may bind them.

    given: names that the task defines. Raises SyntaxError if the code parses but does not compile,
    as with a `nonlocal` at the top level.
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
