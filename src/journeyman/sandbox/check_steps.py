"""The verdict on one step of a check, made out here from text and data that came from inside.

A step sends source into the sandbox and keeps what it should give. For a doctest example that is
the text to print; for `assert A == LITERAL` (any comparison with a literal on one side) it is the
literal, and only A goes in; an example `>>> A == LITERAL` that prints True is taken so too.
Any other statement of an `assert` check runs inside as a whole, and that it did not raise is the
word of the process that it ran in (`Statement`).
"""

import ast
import copy
import doctest
import operator
from collections.abc import Callable
from typing import Any, Protocol

from journeyman.records import Check
from journeyman.sandbox.session import Action, Failure, Reply
from journeyman.sandbox.values import Malformed, Opaque, decoded

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
    """The check holds nothing that could fail, or cannot be read."""


class CheckStep(Protocol):
    """One thing to do inside, and the judgement on what came back."""

    action: Action
    source: str

    def judge(self, reply: Reply) -> tuple[Failure, str]:
        """Why it failed, or an empty word, and the detail."""
        ...


def raised(reply: Reply) -> tuple[Failure, str]:
    """The word for an exception that nothing expected; empty where none was raised."""
    words: dict[str, Failure] = {
        "": "",
        "MemoryError": "memory",
        "SystemExit": "exit",
        "AssertionError": "assert",
    }
    return words.get(reply.raised, "error"), reply.message.strip()[:300]


class DoctestCheck:
    """A doctest example: its printed text or its exception is compared by doctest's own rules."""

    action: Action = "example"

    def __init__(self, example: doctest.Example) -> None:
        self.source = example.source
        self._example = example
        self._flags = sum(flag for flag, on in example.options.items() if on)

    def judge(self, reply: Reply) -> tuple[Failure, str]:
        """Compare by doctest's rules, option flags and all."""
        if not reply.raised:
            return self._compared(self._example.want, reply.text)
        if self._example.exc_msg is None:
            return raised(reply)
        message = reply.message.removeprefix(_ANSWER_MODULE)
        if self._flags & doctest.IGNORE_EXCEPTION_DETAIL:
            return self._compared(_class_name(self._example.exc_msg), _class_name(message))
        return self._compared(self._example.exc_msg, message)

    def _compared(self, want: str, got: str) -> tuple[Failure, str]:
        if doctest.OutputChecker().check_output(want, got, self._flags):
            return "", ""
        shown = self.source.strip().splitlines()[0][:120]
        return "mismatch", f"{shown}: want {_short(want)}, got {_short(got)}"


class ComparisonCheck:
    """`assert A <op> LITERAL`: A is evaluated inside, the comparison is made out here."""

    action: Action = "value"

    def __init__(
        self, source: str, operation: type[ast.cmpop], literal: object, *, flipped: bool
    ) -> None:
        self.source = source
        self._operation = operation
        self._literal = literal
        self._flipped = flipped

    def judge(self, reply: Reply) -> tuple[Failure, str]:
        """Compare the value with the literal."""
        if reply.raised:
            return raised(reply)
        try:
            value = decoded(reply.value)
            held = self._holds(value)
        except Malformed as error:
            return "sandbox", f"a damaged value: {error}"
        except TypeError as error:
            return "error", str(error)
        if held:
            return "", ""
        shown = f"{self.source[:120]}: {self._operation.__name__} {_short(repr(self._literal))}"
        return "mismatch", f"{shown}, got {_short(repr(value))}"

    def _holds(self, value: object) -> bool:
        """Whether the comparison is true; an object that is not plain data makes none true."""
        if isinstance(value, Opaque):
            return False
        left, right = (self._literal, value) if self._flipped else (value, self._literal)
        return bool(_OPERATORS[self._operation](left, right))


class Statement:
    """A statement of a check that runs inside as a whole; not raising is all that is seen of it.

    `asserts` is whether it could have proved something; an assignment could not.
    """

    action: Action = "statement"

    def __init__(self, statement: ast.stmt) -> None:
        self.source = ast.unparse(statement)
        self.asserts = any(isinstance(node, ast.Assert | ast.Raise) for node in ast.walk(statement))

    def judge(self, reply: Reply) -> tuple[Failure, str]:
        """Whether it is said to have raised."""
        return raised(reply)


def steps_of(check: Check) -> list[CheckStep]:
    """What to do for a check, in order; at least `check.n` steps. Raises NoTests."""
    parse = _examples if check.kind == "doctest" else _statements
    try:
        steps = parse(check.source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NoTests(f"the check cannot be read: {error}") from error
    if len(steps) < check.n:
        raise NoTests(f"the check holds {len(steps)} steps, {check.n} were promised")
    return steps


def _examples(source: str) -> list[CheckStep]:
    examples = doctest.DocTestParser().get_examples(source)
    if any(example.options.get(doctest.SKIP) for example in examples):
        raise NoTests("an example is marked to be skipped, and what is skipped proves nothing")
    if not any(example.want for example in examples):
        raise NoTests("no example says what it should print")
    return [_comparison(example) or DoctestCheck(example) for example in examples]


def _comparison(example: doctest.Example) -> CheckStep | None:
    """`>>> A == LITERAL` that prints True: an object equal to everything would print it as well."""
    if example.want != "True\n":
        return None
    body = ast.parse(example.source).body
    if len(body) != 1 or not isinstance(body[0], ast.Expr):
        return None
    step = _step(ast.Assert(body[0].value))
    return step if isinstance(step, ComparisonCheck) else None


def _statements(source: str) -> list[CheckStep]:
    tree = ast.parse(source)
    if not any(isinstance(node, ast.Assert | ast.Raise) for node in ast.walk(tree)):
        raise NoTests("no statement could fail: there is no `assert`")
    return [_step(statement) for statement in _unrolled(tree.body)]


def _step(statement: ast.stmt) -> CheckStep:
    match statement:
        case ast.Assert(test=ast.Compare(left=left, ops=[operation], comparators=[right])):
            for inside, literal, flipped in ((left, right, False), (right, left, True)):
                if _is_literal(literal):
                    value = ast.literal_eval(literal)
                    return ComparisonCheck(
                        ast.unparse(inside), type(operation), value, flipped=flipped
                    )
    return Statement(statement)


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def _unrolled(body: list[ast.stmt]) -> list[ast.stmt]:
    """Replace `def check(candidate): ...` and its one call `check(name)` by the body itself.

    So that the many suites of this shape are compared out here, assertion by assertion.
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
    """One plain parameter, no value given back, one call that stands alone, no other mention."""
    bare = ast.arguments([], [*function.args.args[:1]], None, [], [], None, [])
    plain = ast.dump(function.args) == ast.dump(bare) and bool(function.args.args)
    leaving = (ast.Return, ast.Yield, ast.YieldFrom, ast.Nonlocal, ast.Global)
    mentions = [
        node
        for statement in body
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and node.id == function.name
    ]
    stays = not any(isinstance(node, leaving) for node in ast.walk(function))
    return plain and stays and not function.decorator_list and len(mentions) == 1


def _class_name(message: str) -> str:
    """The bare class name of an exception's last line."""
    head, _, _ = message.partition("\n")[0].partition(":")
    return head.rpartition(".")[2].strip() + "\n"


def _short(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "...")
