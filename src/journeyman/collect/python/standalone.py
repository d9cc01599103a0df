"""Makes a function's source standalone: adds the imports, constants and helpers that it needs.

Helpers are followed through the package's modules and put before their users; imports of the
standard library are kept, one per name. A function that needs more is refused with a reason.
Covered: what the syntax shows. Not covered: attributes set from outside (`f.cache = {}`); only
running its check shows whether the result is right.
"""

import ast
import builtins
import symtable
import sys
import textwrap
from collections.abc import Iterable

from journeyman.collect.python.docstrings import with_short_docstrings
from journeyman.collect.python.package_source import ImportBinding, Module, Package

_BUILTINS = frozenset(dir(builtins)) | {"__name__", "__doc__"}


class NotStandalone(Exception):
    """A function cannot be made standalone; the text is a reason that many functions share."""


class StandaloneSource:
    """Definitions collected so far, each after those that it needs.

    without: a name that is never defined here, because the answer defines it.
    """

    def __init__(self, package: Package, *, without: str | None = None) -> None:
        self._package = package
        self._without = without
        self._origins: dict[str, tuple[str, str]] = {}
        self._emitted: set[tuple[str, int]] = set()
        self._imports: set[tuple[str, str, str]] = set()
        self._texts: list[str] = []

    def text(self) -> str:
        """The source of a module; empty if nothing was added."""
        parts = [_import_lines(self._imports)] if self._imports else []
        return "\n\n\n".join([*parts, *self._texts])

    def add(self, module: Module, name: str) -> None:
        """Add the definition of a module-level name and all that it needs. Raises NotStandalone."""
        if name == self._without:
            return
        sources = module.bindings.get(name)
        if not sources:
            self._add_unbound(module, name)
            return
        if self._origins.setdefault(name, (module.name, name))[0] != module.name and not all(
            isinstance(source, ImportBinding) for source in sources
        ):
            raise NotStandalone("it needs two definitions with the same name")
        for source in sources:
            if isinstance(source, ImportBinding):
                self._add_import(name, source)
            else:
                self._add_statement(module, source)

    def _add_unbound(self, module: Module, name: str) -> None:
        if name in _BUILTINS:
            return
        for source in module.bindings.get("*", []):
            if isinstance(source, ImportBinding):
                starred = self._package.modules.get(source.module)
                if starred is not None and name in starred.bindings:
                    self.add(starred, name)
                    return
        raise NotStandalone("it needs a name that is created at run time")

    def _add_import(self, name: str, source: ImportBinding) -> None:
        top = source.module.partition(".")[0]
        if top == self._package.name:
            self._add_from_package(name, source)
        elif top in sys.stdlib_module_names:
            attribute = source.attribute or ""
            self._origins[name] = (source.module, attribute)
            self._imports.add((source.module, attribute, name))
        else:
            raise NotStandalone("it needs another package")

    def _add_from_package(self, name: str, source: ImportBinding) -> None:
        target = self._package.modules.get(source.module)
        if target is None or source.attribute is None or source.attribute not in target.bindings:
            raise NotStandalone("it uses a module of its package as a whole")
        if name == source.attribute:
            self._origins.pop(name, None)
        self.add(target, source.attribute)
        if name != source.attribute:
            self._texts.append(f"{name} = {source.attribute}")

    def _add_statement(self, module: Module, statement: ast.stmt) -> None:
        key = (module.name, statement.lineno)
        if key in self._emitted:
            return
        self._emitted.add(key)
        for text in _texts_of(module, statement, self._package.name):
            for needed in free_names(text):
                self.add(module, needed)
            self._texts.append(with_short_docstrings(text))


def free_names(text: str) -> list[str]:
    """Names that a piece of source uses from its module or the builtins, sorted."""
    names: set[str] = set()
    pending = [symtable.symtable(text, "<source>", "exec")]
    while pending:
        table = pending.pop()
        at_top = table.get_type() == "module"
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (at_top or symbol.is_global()):
                names.add(symbol.get_name())
        pending += table.get_children()
    own = {symbol.get_name() for symbol in symtable.symtable(text, "<source>", "exec").get_symbols()
           if symbol.is_assigned() or symbol.is_imported()}  # fmt: skip
    return sorted(names - own)


def _texts_of(module: Module, statement: ast.stmt, package: str) -> list[str]:
    """A statement's source. Of `try: from .x import y` only the `except ImportError` branch."""
    if isinstance(statement, ast.Try) and _imports_from(statement.body, package):
        for handler in statement.handlers:
            if isinstance(handler.type, ast.Name) and handler.type.id.endswith("ImportError"):
                return [textwrap.dedent(module.segment(part)) for part in handler.body]
        raise NotStandalone("it uses a module of its package as a whole")
    return [module.segment(statement)]


def _imports_from(body: Iterable[ast.stmt], package: str) -> bool:
    return any(
        isinstance(statement, ast.ImportFrom)
        and (statement.level > 0 or (statement.module or "").partition(".")[0] == package)
        for statement in body
    )


def _import_lines(imports: Iterable[tuple[str, str, str]]) -> str:
    """Import statements, one per module, sorted as formatters do: `import` before `from`."""
    whole: list[str] = []
    parts: dict[str, list[str]] = {}
    for module, attribute, name in sorted(imports):
        if not attribute:
            whole.append(f"import {module}" + (f" as {name}" if name != module else ""))
        else:
            alias = attribute if name == attribute else f"{attribute} as {name}"
            parts.setdefault(module, []).append(alias)
    lines = [f"from {module} import {', '.join(names)}" for module, names in parts.items()]
    future = [line for line in lines if line.startswith("from __future__ ")]
    return "\n".join([*future, *whole, *(line for line in lines if line not in future)])
