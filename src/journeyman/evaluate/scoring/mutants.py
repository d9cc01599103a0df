"""Mutants: small wrong versions of right code. Good tests find many of them. Also: empty stubs.

Each mutant differs from the original in one place: a comparison, an operator, a constant, a negated
condition, a value not returned, a branch or a statement left out. (DeMillo et al. 1978, Computer
11(4):34, for the idea; the list of changes is our own.)
Not covered: mutants that behave like the original, which no test can find, so perfect tests may
score below 1; changes in more than one place.
"""

import ast
import copy
from collections.abc import Iterator

from journeyman.evaluate.scoring.extract_code import parse

MOST = 12

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}

_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}


def mutants_of(code: str, most: int = MOST) -> list[str]:
    """Up to `most` mutants of some code, spread evenly over it; none if it does not parse."""
    tree = parse(code)
    if tree is None:
        return []
    original = ast.unparse(tree)
    every = list(dict.fromkeys(text for text in _each(tree) if text != original))
    count = min(most, len(every))
    return [every[place * len(every) // count] for place in range(count)]


def _each(tree: ast.Module) -> Iterator[str]:
    """Every mutant as source, in the order of the code."""
    documented = _docstrings(tree)
    for place, node in enumerate(ast.walk(tree)):
        if id(node) in documented:
            continue
        for number in range(len(_changes(node))):
            changed = copy.deepcopy(tree)
            # ast.walk visits a copy in the same order.
            target = next(one for at, one in enumerate(ast.walk(changed)) if at == place)
            _apply(target, number)
            yield ast.unparse(ast.fix_missing_locations(changed))


def _docstrings(tree: ast.Module) -> frozenset[int]:
    """The nodes of constants that are statements: changing them changes nothing."""
    alone = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
    return frozenset(id(value) for value in alone if isinstance(value, ast.Constant))


def _changes(node: ast.AST) -> tuple[str, ...]:  # noqa: PLR0911 - one for each node
    """The kinds of change that a node allows."""
    match node:
        case ast.Compare(ops=[operation]) if type(operation) in _COMPARISONS:
            return ("comparison",)
        case ast.BinOp(op=operation) if type(operation) in _OPERATORS:
            return ("operator",)
        case ast.AugAssign(op=operation) if type(operation) in _OPERATORS:
            return ("operator", "dropped")
        case ast.BoolOp():
            return ("logic",)
        case ast.UnaryOp(op=ast.Not()):
            return ("not",)
        case ast.If() | ast.While() | ast.IfExp():
            return ("condition",)
        case ast.Return(value=ast.expr()):
            return ("nothing",)
        case ast.Constant(value=bool() | int() | float() | str()):
            return ("constant",)
        case ast.Raise():
            return ("dropped",)
    return ()


def _apply(node: ast.AST, number: int) -> None:
    match node, _changes(node)[number]:
        case ast.Compare(), "comparison":
            node.ops = [_COMPARISONS[type(node.ops[0])]()]
        case ((ast.BinOp() | ast.AugAssign()), "operator"):
            node.op = _OPERATORS[type(node.op)]()
        case ast.BoolOp(), "logic":
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.UnaryOp(), "not":
            # Two negations cancel out, except for the type.
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
        case ((ast.If() | ast.While() | ast.IfExp()), "condition"):
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case ast.Return(), "nothing":
            node.value = ast.Constant(None)
        case ast.Constant(), "constant":
            node.value = _other(node.value)
        case ast.AugAssign(), "dropped":
            node.value, node.op = ast.Constant(0), ast.Add()
        case ast.Raise(), "dropped":
            node.exc, node.cause = ast.Name("RuntimeError"), None


def _other(value: object) -> bool | float | str:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return f"{value}x"


def stub_of(code: str) -> str:
    """The code with empty function bodies: every name is there and does nothing."""
    tree = parse(code)
    return "" if tree is None else ast.unparse(_Emptied().visit(tree))


class _Emptied(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Keep the signature only."""
        node.body = [ast.Pass()]
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        """Keep the signature only."""
        node.body = [ast.Pass()]
        return node
