"""Names that code uses and nothing gives it: not the code itself, not Python, not its task.

By Python's own symbol tables, so without running anything, and whatever the order or the branch in
which a name is bound: what is found is certainly missing. Not covered: attributes, names inside of
strings, modules that are not installed (rung S3 imports them).
"""

import builtins
import re
import symtable
from collections.abc import Iterator

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
