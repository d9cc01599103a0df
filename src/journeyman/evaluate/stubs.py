"""Code with its bodies left out: what no check and no test may take for the real thing."""

import ast

from journeyman.evaluate.extract import parse


def stub_of(code: str) -> str:
    """The code with every function's body left out: its names are there and do nothing."""
    tree = parse(code)
    return "" if tree is None else ast.unparse(_Emptied().visit(tree))


class _Emptied(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Leave the signature."""
        node.body = [ast.Pass()]
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        """Leave the signature."""
        node.body = [ast.Pass()]
        return node
