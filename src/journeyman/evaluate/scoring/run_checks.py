"""Run an answer's code: on its own (S3), and against the checks of its task (S4).

S4t is for an answer that is itself a file of tests. They must pass on a right implementation and
fail on the same with empty bodies; how many of its mutants they find is counted beside it. A
model's tests never score the same model's code.
If the tests import a module that does not exist, the import is pointed at the implementation,
provided that it defines the imported names. Names that the tests use without an import are
imported from it.
"""

import ast
import sys
from collections.abc import Callable, Sequence

from journeyman.evaluate.records.scores import RungId, Score
from journeyman.evaluate.scoring.extract_code import Extraction, defined_names, parse
from journeyman.evaluate.scoring.mutants import mutants_of, stub_of
from journeyman.records import Check
from journeyman.sandbox.check_result import CheckResult

DETAIL_LIMIT = 500

CheckCode = Callable[[str, Check], CheckResult]
"""Runs one check against code, in the sandbox."""

LOADS = Check("assert", "assert True", n=1)
"""Any code passes this that compiles, imports and executes to its end."""

INSTALLED = frozenset({"pytest", *sys.stdlib_module_names})


def score_checks(
    extraction: Extraction,
    checks: Sequence[Check],
    check_code: CheckCode | None,
    rung: RungId = "S4",
) -> Score:
    """S4: the code passes every check. Without a sandbox it is not run, and not scored."""
    if check_code is None:
        return _not_executed(rung)
    if not extraction.parses:
        return Score(rung, passed=False, code=extraction.failure)
    for check in checks:
        result = check_code(extraction.code, check)
        if not result.passed:
            code = result.failure or "failed"
            return Score(rung, passed=False, code=code, detail=detail_of(result))
    return Score(rung, passed=True)


def _not_executed(rung: RungId) -> Score:
    return Score(rung, passed=None, code="not_executed", detail="no sandbox")


def detail_of(result: CheckResult) -> str:
    """How far a check came, and its message."""
    ran = f"{result.ran} of {result.expected} ran"
    return (f"{ran}: {result.detail}" if result.detail else ran)[:DETAIL_LIMIT]


def score_tests(
    extraction: Extraction, references: Sequence[Check], check_code: CheckCode | None
) -> Score:
    """S4t of one answer. references: its task's checks of kind `reference`."""
    if check_code is None:
        return _not_executed("S4t")
    if not extraction.parses:
        return Score("S4t", passed=False, code=extraction.failure)
    found = of = 0
    for reference in references:
        tests = _tests_for(reference, extraction.code)
        right = check_code(reference.source, tests)
        if not right.passed:
            code = "fails_reference" if right.failure == "assert" else right.failure
            return Score("S4t", passed=False, code=code or "failed", detail=detail_of(right))
        if check_code(stub_of(reference.source), tests).passed:
            return Score("S4t", passed=False, code="passes_stub", detail="empty bodies pass too")
        mutants = mutants_of(reference.source)
        of += len(mutants)
        found += sum(not check_code(mutant, tests).passed for mutant in mutants)
    return Score("S4t", passed=True, detail=f"{found} of {of} mutants found", found=found, of=of)


def _tests_for(reference: Check, code: str) -> Check:
    """The answer's tests as a check of the implementation."""
    module = reference.file.removesuffix(".py")
    implementation = parse(reference.source)
    names = frozenset() if implementation is None else defined_names(implementation)
    source = with_imports(code, module, names)
    return Check("pytest", source, n=max(1, reference.n), setup=reference.setup,
                 file=reference.file)  # fmt: skip


def with_imports(code: str, module: str, names: frozenset[str]) -> str:
    """Tests that import from `module` what they test, under any name they gave the module."""
    tree = parse(code)
    if tree is None:
        return code
    bound = set(defined_names(tree))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            bound |= _redirect(node, module, names)
        elif isinstance(node, ast.Import):
            node.names = [_redirected(alias, module) for alias in node.names]
            bound |= {alias.asname or alias.name for alias in node.names}
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    wanted = sorted((used & names) - bound)
    if wanted:
        place = next((at for at, one in enumerate(tree.body) if not _must_be_first(one)), 0)
        added = ast.ImportFrom(module, [ast.alias(name) for name in wanted], 0)
        tree.body.insert(place, added)
    return ast.unparse(ast.fix_missing_locations(tree))


def _redirect(node: ast.ImportFrom, module: str, names: frozenset[str]) -> frozenset[str]:
    """Point an import of a missing module at `module`, if possible; gives the names it binds."""
    imported = {alias.name for alias in node.names}
    if _is_missing(node.module) and imported <= names | {"*"}:
        node.module, node.level = module, 0
    bound = {alias.asname or alias.name for alias in node.names}
    return frozenset(bound | names if "*" in imported else bound)


def _must_be_first(node: ast.stmt) -> bool:
    """Whether it is a docstring or an import from `__future__`."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _is_missing(module: str | None) -> bool:
    return module is None or module.partition(".")[0] not in INSTALLED


def _redirected(alias: ast.alias, module: str) -> ast.alias:
    if not _is_missing(alias.name):
        return alias
    return ast.alias(module, alias.asname or alias.name.partition(".")[0])
