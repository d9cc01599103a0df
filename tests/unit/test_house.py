"""What holds for the whole tree: one meaning for each class name, and no circle of folders."""

import ast
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import journeyman

ROOT = Path(journeyman.__file__).parent
# Code that runs inside the sandbox and cannot import the package.
OUTSIDE = ROOT / "sandbox" / "inside"


def _modules() -> dict[str, ast.Module]:
    """Every module by its dotted name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        if not path.is_relative_to(OUTSIDE):
            parts = path.relative_to(ROOT.parent).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def test_no_two_modules_define_a_class_of_the_same_name() -> None:
    places = defaultdict(list)
    for module, tree in _modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(module)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_folders_import_each_other_in_one_direction() -> None:
    """A folder stands for its modules and for all folders in it, as seen from outside."""
    modules = _modules()
    graph: dict[str, set[str]] = defaultdict(set)
    for module, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in modules:
                here, there = _apart(module, node.module, modules)
                if here != there:
                    graph[here].add(there)
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from error


def _apart(module: str, other: str, modules: dict[str, ast.Module]) -> tuple[str, str]:
    """The two as siblings: the names of both where their paths part."""
    one, two = module.split("."), other.split(".")
    shared = 0
    while shared < min(len(one), len(two)) and one[shared] == two[shared]:
        shared += 1
    # A package and a module in it: its `__init__` is a module beside the others.
    here = ".".join(one[: shared + 1]) if shared < len(one) else f"{module}.__init__"
    there = ".".join(two[: shared + 1]) if shared < len(two) else f"{other}.__init__"
    return here, there
