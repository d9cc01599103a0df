"""Mutants differ from the code in one place, and are code."""

import ast

from journeyman.evaluate.scoring.mutants import mutants_of

CODE = '''
def clamp(value, low, high):
    """Keep a value between two others."""
    if value < low and not high is None:
        return low
    total = 0
    total += value * 2
    if low > high:
        raise ValueError("no range")
    return value if value <= high else high
'''


def test_every_kind_of_place_is_changed_once() -> None:
    found = mutants_of(CODE, most=1000)
    wanted = (
        "value <= low", "or not", "not not high is None", "if not (value < low", "return None",
        "total -= value", "value + 2", "value * 3", "low >= high", "raise RuntimeError",
        "value < high", "'no rangex'", "total = 1", "total += 0",
    )  # fmt: skip
    assert [part for part in wanted if not any(part in one for one in found)] == []
    assert len(set(found)) == len(found)


def test_mutants_are_code_and_never_the_original_or_a_docstring() -> None:
    original = ast.unparse(ast.parse(CODE))
    for mutant in mutants_of(CODE, most=1000):
        assert ast.unparse(ast.parse(mutant)) == mutant != original
        assert "Keep a value between two others." in mutant


def test_a_few_are_spread_over_the_whole_code() -> None:
    every, few = mutants_of(CODE, most=1000), mutants_of(CODE, most=4)
    assert few == [every[place * len(every) // 4] for place in range(4)]
    assert mutants_of("x = y\n") == mutants_of("def f(:") == []
