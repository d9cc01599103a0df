"""Makes a task of a documented function: the prompt, the answer, and the check on it."""

import ast
import doctest
import re
from dataclasses import dataclass

from journeyman.collect.python.docstrings import Documented, doctest_text, parts_of, prose_of
from journeyman.collect.python.package_source import Module, Package, origin_of
from journeyman.collect.python.standalone import NotStandalone, StandaloneSource, free_names
from journeyman.files import content_id
from journeyman.records import Check, Interaction

_SHOWN_SOURCE = 24
"""A line of the body with this many characters in the prose gives the answer away."""


class UnusableFunction(Exception):
    """A function gives no task; the text is a reason that many functions share."""


@dataclass(frozen=True)
class FunctionTask:
    """A function as a task for a model."""

    task_id: str
    prompt: str
    code: str
    check: Check

    def interaction(self, package: Package, *, line: int, status: str) -> Interaction:
        """The task with its answer as a row of a log."""
        answer = f"```python\n{self.code.strip()}\n```"
        return Interaction(
            id=content_id(self.task_id, self.prompt, answer),
            line=line,
            task=self.prompt,
            agent="coder",
            answer=answer,
            status=status,
            task_id=self.task_id,
            source=f"python:{package.name}",
            producer=package.producer,
            finish_reason="stop",
            checks=(self.check,),
        )


def task_of(
    package: Package,
    module: Module,
    function: Documented,
    *,
    show_examples: bool,
    longest_answer: int,
) -> FunctionTask:
    """The task of a function. `longest_answer` is in characters. Raises UnusableFunction."""
    try:
        parts = parts_of(ast.get_docstring(function) or "")
    except ValueError as error:
        raise UnusableFunction("its examples are malformed") from error
    # An example that its author skips (random, any order) cannot be checked.
    examples = [
        part for part in parts if not isinstance(part, str) and not part.options.get(doctest.SKIP)
    ]
    shown = _shown_examples(examples) if show_examples else []
    try:
        code = StandaloneSource(package)
        code.add(module, function.name)
        check = _check(package, module, function.name, _hidden_examples(examples, shown))
    except NotStandalone as error:
        raise UnusableFunction(str(error)) from error
    prose = prose_of(parts)
    if len(code.text()) > longest_answer:
        raise UnusableFunction(f"its answer is longer than {longest_answer} characters")
    _refuse_given_away(function, module, prose)
    return FunctionTask(
        task_id=f"{module.name}.{function.name}",
        prompt=_prompt(function, prose, shown),
        code=code.text(),
        check=check,
    )


def _refuse_given_away(function: Documented, module: Module, prose: str) -> None:
    """Raise UnusableFunction if the docstring gives the solution away."""
    body = function.body[1:]
    if not body:
        raise UnusableFunction("it has no body")
    source = "\n".join(module.segment(statement) for statement in body)
    prose_lines = {" ".join(line.split()) for line in prose.splitlines()}
    source_lines = {" ".join(line.split()) for line in source.splitlines()}
    defined = re.search(rf"\bdef {re.escape(function.name)}\b", prose)
    if defined or any(len(line) >= _SHOWN_SOURCE for line in prose_lines & source_lines):
        raise UnusableFunction("its prose shows its source")


def _prompt(function: Documented, prose: str, shown: list[doctest.Example]) -> str:
    keyword = "async def" if isinstance(function, ast.AsyncFunctionDef) else "def"
    given = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    signature = f"{keyword} {function.name}({ast.unparse(function.args)}){given}:"
    pieces = [
        f"Write the Python function `{function.name}`. Use the standard library only, and define"
        " every helper that it needs.",
        f"```python\n{signature}\n```",
        prose,
    ]
    if shown:
        pieces.append(f"Examples:\n\n```python\n{doctest_text(shown).strip()}\n```")
    return "\n\n".join(pieces)


def _shown_examples(examples: list[doctest.Example]) -> list[doctest.Example]:
    """The examples before the last one with output."""
    printing = [place for place, example in enumerate(examples) if example.want]
    return examples[: printing[-1]] if printing else []


def _hidden_examples(
    examples: list[doctest.Example], shown: list[doctest.Example]
) -> list[doctest.Example]:
    """The examples that are not shown, after silent copies of the shown ones for their effects."""
    kept: list[doctest.Example] = []
    for example in shown:
        if not example.want:
            kept.append(example)
        elif example.exc_msg is None and not example.source.lstrip().startswith("print"):
            silent = doctest.Example("_ = " + example.source, "")
            kept += [silent] if _is_expression(example.source) else []
    return kept + examples[len(shown) :]


def _is_expression(source: str) -> bool:
    try:
        ast.parse(source.strip(), mode="eval")
    except SyntaxError:
        return False
    return True


def _check(
    package: Package, module: Module, entry_point: str, examples: list[doctest.Example]
) -> Check:
    """The check with some examples. Its setup defines the package's functions that they use."""
    setup = StandaloneSource(package, without=entry_point)
    kept = [example for example in examples if not _moved_to_setup(package, module, example, setup)]
    if not any(example.want for example in kept):
        raise UnusableFunction("it has no example with output that is not skipped")
    for name in _names_used(kept):
        if name in module.bindings:
            setup.add(module, name)
    return Check(
        kind="doctest",
        source=doctest_text(kept),
        n=len(kept),
        entry_point=entry_point,
        setup=setup.text(),
    )


def _names_used(examples: list[doctest.Example]) -> list[str]:
    try:
        return free_names("".join(example.source for example in examples))
    except SyntaxError as error:
        raise UnusableFunction("its examples are malformed") from error


def _moved_to_setup(
    package: Package, module: Module, example: doctest.Example, setup: StandaloneSource
) -> bool:
    """Whether an example only imports from the package. Then its names move to the setup.

    Otherwise the import would replace the answer's function with the package's.
    """
    try:
        body = ast.parse(example.source).body
    except SyntaxError as error:
        raise UnusableFunction("its examples are malformed") from error
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Import) and any(
                alias.name.partition(".")[0] == package.name for alias in node.names
            ):
                raise UnusableFunction("its examples use the package as a whole")
    match body:
        case [ast.ImportFrom(names=names, module=str(origin), level=0) as statement] if (
            origin.partition(".")[0] == package.name
        ):
            source = package.modules.get(origin_of(statement, module))
            for alias in names:
                if source is None or alias.asname or alias.name not in _reachable(package, source):
                    raise UnusableFunction("its examples use the package as a whole")
                setup.add(source, alias.name)
            return True
    return False


def _reachable(package: Package, module: Module) -> set[str]:
    """Names that a module binds, including star imports from the package."""
    names = set(module.bindings)
    for source in module.bindings.get("*", []):
        starred = package.modules.get(getattr(source, "module", ""))
        names |= set(starred.bindings) if starred else set()
    return names
