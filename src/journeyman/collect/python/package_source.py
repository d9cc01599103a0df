"""The source of an installed package: its syntax trees, and what binds each module-level name.

Nothing is imported: the package is found by its name and its files are parsed.
Not covered: names created at run time (`globals()[...] = ...`), compiled modules.
"""

import ast
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from journeyman.errors import UsageError

_TESTS = frozenset({"test", "tests", "testing", "conftest"})


@dataclass(frozen=True)
class ImportBinding:
    """What an import binds a name to: a module (`attribute` None) or an attribute of it."""

    module: str
    attribute: str | None


@dataclass(frozen=True)
class Module:
    """One parsed file: its dotted name, its text, and the bindings of each name, in order."""

    name: str
    text: str
    tree: ast.Module
    is_package: bool
    bindings: dict[str, list[ImportBinding | ast.stmt]] = field(default_factory=dict)

    def segment(self, statement: ast.stmt) -> str:
        """The lines of a statement, with its decorators and the comments inside it."""
        first = min(
            [statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", ()))]
        )
        return "\n".join(self.text.splitlines()[first - 1 : statement.end_lineno])


@dataclass(frozen=True)
class Package:
    """An installed package: import name, distribution, version, modules by dotted name."""

    name: str
    distribution: str
    version: str
    modules: dict[str, Module]

    @property
    def producer(self) -> str:
        """Distribution and version."""
        return f"{self.distribution} {self.version}"


def read_package(name: str) -> Package:
    """Find and parse an installed package. Raises UsageError if it is missing or unreadable."""
    plain = name.replace("-", "_")
    spec = importlib.util.find_spec(plain) if plain.isidentifier() else None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise UsageError(
            f"there is no installed package `{name}` with Python source",
            hint=f"install it in this environment: pip install {name}",
        )
    origin = Path(spec.origin)
    distribution, version = _distribution(plain)
    modules = {}
    for dotted, path in _files(plain, origin):
        module = _parse(dotted, path)
        modules[dotted] = module
    return Package(plain, distribution, version, modules)


def _distribution(name: str) -> tuple[str, str]:
    """Name and version of the distribution; `unknown` for a folder on the path."""
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        # Slow: it reads the file list of every distribution, so only if the names differ.
        others = importlib.metadata.packages_distributions().get(name)
        if not others:
            return name, "unknown"
        distribution = importlib.metadata.distribution(others[0])
    return distribution.metadata["Name"], distribution.version


def _files(name: str, origin: Path) -> Iterator[tuple[str, Path]]:
    """Dotted names and files, in the order of the names, without test modules."""
    if origin.name != "__init__.py":
        yield name, origin
        return
    for path in sorted(origin.parent.rglob("*.py")):
        parts = path.relative_to(origin.parent).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part in _TESTS or part.startswith("test_") for part in parts):
            yield ".".join((name, *parts)), path


def _parse(dotted: str, path: Path) -> Module:
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError) as error:
        raise UsageError(
            f"`{path}` cannot be read as Python: {error}", hint="install the package again"
        ) from error
    module = Module(dotted, text, tree, path.name == "__init__.py")
    for statement in tree.body:
        for bound, source in _bindings_of(statement, module):
            module.bindings.setdefault(bound, []).append(source)
    return module


def _bindings_of(
    statement: ast.stmt, module: Module
) -> Iterator[tuple[str, ImportBinding | ast.stmt]]:
    """The names that a module-level statement binds, each with its source."""
    match statement:
        case ast.Import(names):
            for alias in names:
                inside = alias.name if alias.asname else alias.name.partition(".")[0]
                yield alias.asname or inside, ImportBinding(inside, None)
        case ast.ImportFrom(names=names):
            origin = origin_of(statement, module)
            for alias in names:
                yield alias.asname or alias.name, ImportBinding(origin, alias.name)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name, statement
        case _:
            for name in sorted(_names_stored(statement)):
                yield name, statement


def origin_of(statement: ast.ImportFrom, module: Module) -> str:
    """The absolute name of the module in a `from` import."""
    if not statement.level:
        return statement.module or ""
    parts = module.name.split(".")
    up = statement.level - (1 if module.is_package else 0)
    base = parts[: len(parts) - up]
    return ".".join([*base, statement.module] if statement.module else base)


def _names_stored(statement: ast.stmt) -> set[str]:
    """Names bound anywhere in a module-level block, but not inside its functions."""
    names: set[str] = set()
    pending: list[ast.AST] = [statement]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        if isinstance(node, ast.alias):
            names.add(node.asname or node.name.partition(".")[0])
        pending.extend(ast.iter_child_nodes(node))
    return names
