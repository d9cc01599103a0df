"""A name that nothing binds is missing; one that something may bind, in any order, is not."""

import pytest

from journeyman.evaluate.scoring.extract_code import extract
from journeyman.evaluate.scoring.well_formed import undefined_names, words_of
from journeyman.evaluate.suites.humaneval import humaneval_suite


@pytest.mark.parametrize(
    ("code", "missing"),
    [
        ("def f(x):\n    return g(x)\n", ("g",)),
        ("def f(x):\n    return g(x)\ndef g(x): return x\n", ()),
        ("import a.b as c\nfrom d import e\nprint(c, e, a)\n", ("a",)),
        ("def f():\n    global n\n    n = 1\ndef g(): return n\n", ()),
        ("class A:\n    k = 1\n    def f(self): return k, __class__\n", ("k",)),
        ("x = [y for y in range(3) if (z := y)]\nprint(x, z)\n", ()),
        ("def f(v):\n    match v:\n        case [a, *b]: return a, b, c\n", ("c",)),
        ("try:\n    import q\nexcept ImportError as error:\n    q = None\nprint(q)\n", ()),
        ("@deco\ndef f(x: Missing = other) -> int: ...\n", ("Missing", "deco", "other")),
        ("from m import *\nprint(anything)\n", ()),
        ("if __name__ == '__main__':\n    print(__file__, len(__doc__ or ''))\n", ()),
    ],
)
def test_what_is_missing_is_what_nothing_binds(code: str, missing: tuple[str, ...]) -> None:
    assert undefined_names(code) == missing


def test_what_the_task_gives_is_not_missing() -> None:
    given = words_of("Use `Repository` and make_id(x).")
    assert undefined_names("def f():\n    return Repository(make_id(y))\n", given) == ("y",)


def test_no_solution_of_humaneval_lacks_a_name() -> None:
    suite = humaneval_suite(None, seed=1)
    assert suite is not None
    for task in suite.tasks:
        code = extract(task.reference, task.entry_point).code
        assert undefined_names(code, words_of(task.checks[0].setup)) == (), task.task_id
