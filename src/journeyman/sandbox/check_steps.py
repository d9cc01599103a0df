"""The steps of a check: what runs inside the sandbox, and the comparison made outside of it.

A step sends source into the sandbox and keeps the expected result. For a doctest example that is
the printed text; for `assert A == LITERAL` (any comparison with a literal on one side) it is the
literal, and only A goes in; an example `>>> A == LITERAL` that prints True is handled the same way.
Any other statement of an `assert` check runs inside as a whole, and only its own process reports
that it did not raise (`StatementStep`).
"""

import ast
import copy
import doctest
import operator
from collections.abc import Callable
from typing import Any, Protocol

from journeyman.records import Check
from journeyman.sandbox.session import Action, Failure, Reply
from journeyman.sandbox.tagged_values import Malformed, Opaque, value_of

_OPERATORS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda item, many: item in many,
    ast.NotIn: lambda item, many: item not in many,
}
_ANSWER_MODULE = "answer."


class NoTests(Exception):
    """The check has nothing that could fail, or cannot be read."""


class CheckStep(Protocol):
    """Source to run inside, and the comparison of its reply with the expected result."""

    action: Action
    source: str

    def outcome(self, reply: Reply) -> tuple[Failure, str]:
        """Why the step failed, empty if it passed, and the detail."""
        ...


def failure_of(reply: Reply) -> tuple[Failure, str]:
    """The failure that an unexpected exception means, empty if none was raised; and its message."""
    failures: dict[str, Failure] = {
        "": "",
        "MemoryError": "memory",
        "SystemExit": "exit",
        "AssertionError": "assert",
    }
    return failures.get(reply.raised, "error"), reply.message.strip()[:300]


class DoctestStep:
    """A doctest example: its output or its exception is compared by doctest's own rules."""

    action: Action = "example"

    def __init__(self, example: doctest.Example) -> None:
        self.source = example.source
        self._example = example
        self._flags = sum(flag for flag, on in example.options.items() if on)

    def outcome(self, reply: Reply) -> tuple[Failure, str]:
        """Compare by doctest's rules, including its option flags."""
        if not reply.raised:
            return self._compare(self._example.want, reply.text)
        if self._example.exc_msg is None:
            return failure_of(reply)
        message = reply.message.removeprefix(_ANSWER_MODULE)
        if self._flags & doctest.IGNORE_EXCEPTION_DETAIL:
            return self._compare(_class_name(self._example.exc_msg), _class_name(message))
        return self._compare(self._example.exc_msg, message)

    def _compare(self, want: str, got: str) -> tuple[Failure, str]:
        if doctest.OutputChecker().check_output(want, got, self._flags):
            return "", ""
        shown = self.source.strip().splitlines()[0][:120]
        return "mismatch", f"{shown}: expected {_short(want)}, got {_short(got)}"


class ComparisonStep:
    """`assert A <op> LITERAL`: A is evaluated inside, the comparison is made outside."""

    action: Action = "value"

    def __init__(
        self, source: str, operation: type[ast.cmpop], literal: object, *, flipped: bool
    ) -> None:
        self.source = source
        self._operation = operation
        self._literal = literal
        self._flipped = flipped

    def outcome(self, reply: Reply) -> tuple[Failure, str]:
        """Compare the value with the literal."""
        if reply.raised:
            return failure_of(reply)
        try:
            value = value_of(reply.value)
            is_true = self._is_true(value)
        except Malformed as error:
            return "sandbox", f"a damaged value: {error}"
        except TypeError as error:
            return "error", str(error)
        if is_true:
            return "", ""
        shown = f"{self.source[:120]}: {self._operation.__name__} {_short(repr(self._literal))}"
        return "mismatch", f"{shown}, got {_short(repr(value))}"

    def _is_true(self, value: object) -> bool:
        """Whether the comparison is true. With an object that is not plain data it never is."""
        if isinstance(value, Opaque):
            return False
        left, right = (self._literal, value) if self._flipped else (value, self._literal)
        return bool(_OPERATORS[self._operation](left, right))


class StatementStep:
    """A statement that runs inside as a whole; outside it is only known whether it raised.

    `asserts` is whether it can fail at all; an assignment cannot.
    """

    action: Action = "statement"

    def __init__(self, statement: ast.stmt) -> None:
        self.source = ast.unparse(statement)
        self.asserts = any(isinstance(node, ast.Assert | ast.Raise) for node in ast.walk(statement))

    def outcome(self, reply: Reply) -> tuple[Failure, str]:
        """Whether its process reports an exception."""
        return failure_of(reply)


def steps_of(check: Check) -> list[CheckStep]:
    """The steps of a check in order, at least `check.n`. Raises NoTests."""
    parse = _examples if check.kind == "doctest" else _statements
    try:
        steps = parse(check.source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NoTests(f"the check cannot be read: {error}") from error
    if len(steps) < check.n:
        raise NoTests(f"the check has {len(steps)} steps, not {check.n}")
    return steps


def _examples(source: str) -> list[CheckStep]:
    examples = doctest.DocTestParser().get_examples(source)
    if any(example.options.get(doctest.SKIP) for example in examples):
        raise NoTests("an example is marked to be skipped, so it proves nothing")
    if not any(example.want for example in examples):
        raise NoTests("no example has an expected output")
    return [_comparison(example) or DoctestStep(example) for example in examples]


def _comparison(example: doctest.Example) -> CheckStep | None:
    """The step of `>>> A == LITERAL` that prints True: a liar's object would print it as well."""
    if example.want != "True\n":
        return None
    body = ast.parse(example.source).body
    if len(body) != 1 or not isinstance(body[0], ast.Expr):
        return None
    step = _step(ast.Assert(body[0].value))
    return step if isinstance(step, ComparisonStep) else None


def _statements(source: str) -> list[CheckStep]:
    tree = ast.parse(source)
    if not any(isinstance(node, ast.Assert | ast.Raise) for node in ast.walk(tree)):
        raise NoTests("no statement can fail: there is no `assert`")
    return [_step(statement) for statement in _unrolled(tree.body)]


def _step(statement: ast.stmt) -> CheckStep:
    match statement:
        case ast.Assert(test=ast.Compare(left=left, ops=[operation], comparators=[right])):
            for inside, literal, flipped in ((left, right, False), (right, left, True)):
                if _is_literal(literal):
                    value = ast.literal_eval(literal)
                    return ComparisonStep(
                        ast.unparse(inside), type(operation), value, flipped=flipped
                    )
    return StatementStep(statement)


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def _unrolled(body: list[ast.stmt]) -> list[ast.stmt]:
    """Replace `def check(candidate): ...` and its one call `check(name)` by the function's body.

    Many suites have this shape; this way each assertion is compared outside.
    """
    functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
    result: list[ast.stmt] = []
    for statement in body:
        match statement:
            case ast.FunctionDef(name=name) if _is_suite(functions[name], body):
                continue
            case ast.Expr(ast.Call(ast.Name(name), [argument], [])) if (
                name in functions and _is_suite(functions[name], body)
            ):
                suite = copy.deepcopy(functions[name])
                target = ast.Name(suite.args.args[0].arg, ast.Store())
                result.append(ast.fix_missing_locations(ast.Assign([target], argument, lineno=1)))
                result += suite.body
            case _:
                result.append(statement)
    return result


def _is_suite(function: ast.FunctionDef, body: list[ast.stmt]) -> bool:
    """Whether a function has one plain parameter, returns nothing and is mentioned only once."""
    parameters = function.args
    only_first = ast.arguments([], [*parameters.args[:1]], None, [], [], None, [])
    has_one = bool(parameters.args) and ast.dump(parameters) == ast.dump(only_first)
    leaving = (ast.Return, ast.Yield, ast.YieldFrom, ast.Nonlocal, ast.Global)
    mentions = [
        node
        for statement in body
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and node.id == function.name
    ]
    leaves = any(isinstance(node, leaving) for node in ast.walk(function))
    is_plain = has_one and not leaves and not function.decorator_list
    return is_plain and len(mentions) == 1


def _class_name(message: str) -> str:
    """The class name in the last line of a traceback, without its module."""
    head, _, _ = message.partition("\n")[0].partition(":")
    return head.rpartition(".")[2].strip() + "\n"


def _short(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "...")
