"""Checks on an answer: what passes, with which failure it fails, and which checks prove nothing."""

import pytest

from journeyman.records import Check
from journeyman.sandbox.checks import run_check
from tests.sandboxes import ASSERTS, DOUBLES, RIGHT, check, sandbox

LIAR = "class Liar:\n    def __eq__(self, other): return True\n    __hash__ = None\n"


@pytest.mark.parametrize("what", [DOUBLES, ASSERTS], ids=["doctest", "assert"])
def test_a_right_answer_passes_and_every_step_is_counted(what: Check) -> None:
    result = check(RIGHT, what)
    assert (result.passed, result.ran, result.expected, result.acknowledged) == (True, 2, 2, 0)


def test_a_block_for_the_command_line_is_not_run() -> None:
    code = RIGHT + "if __name__ == '__main__':\n    raise SystemExit(0)\n"
    assert check(code).passed


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("def double(x:\n", "syntax"),
        ("import no_such_package\n" + RIGHT, "import"),
        ("def double(x):\n    return x\n", "mismatch"),
        ("def double(x):\n    raise ValueError('no')\n", "error"),
        ("def double(x):\n    raise MemoryError\n", "memory"),
        ("raise SystemExit(0)", "exit"),
        ("def triple(x):\n    return 3 * x\n", "error"),
    ],
)
def test_each_way_to_fail_has_its_own_failure(code: str, failure: str) -> None:
    assert check(code).failure == failure


@pytest.mark.parametrize(
    "what",
    [
        Check("doctest", "", n=0),
        Check("doctest", "only prose\n", n=0),
        Check("doctest", ">>> double(2)\n4\n", n=2),
        Check("doctest", ">>> double(2)  # doctest: +SKIP\n4\n", n=1),
        Check("doctest", ">>> x = double(2)\n", n=1),
        Check("doctest", "  >>> double(2)\n 4\n", n=1),
        Check("assert", "double(2)\n", n=1),
        Check("assert", "assert double(2 == 4\n", n=1),
    ],
)
def test_a_check_with_nothing_to_prove_is_never_passed(what: Check) -> None:
    result = check(RIGHT, what)
    assert (result.passed, result.ran, result.failure) == (False, 0, "no-tests")


def test_an_expected_exception_is_compared_by_its_message() -> None:
    what = Check(
        "doctest",
        ">>> f(0)\nTraceback (most recent call last):\n    ...\nValueError: not zero\n",
        n=1,
    )
    assert check("def f(x):\n    raise ValueError('not zero')\n", what).passed
    assert not check("def f(x):\n    raise ValueError('other')\n", what).passed
    assert not check("def f(x):\n    raise KeyError('not zero')\n", what).passed


def test_a_liar_does_not_pass_an_example_that_prints_a_comparison() -> None:
    what = Check("doctest", ">>> double(2) == 4\nTrue\n", n=1)
    assert check(RIGHT, what).passed
    assert not check(LIAR + "def double(x): return Liar()", what).passed


def test_a_suite_in_a_function_is_compared_assertion_by_assertion() -> None:
    suite = "def check(f):\n    assert f(2) == 4\n    assert 9 in [f(4.5)]\n\ncheck(double)\n"
    what = Check("assert", suite, n=2)
    result = check(RIGHT, what)
    assert (result.passed, result.ran, result.acknowledged) == (True, 3, 0)
    assert not check(LIAR + "def double(x): return Liar()", what).passed


def test_an_assertion_that_only_the_candidate_reports_is_counted() -> None:
    what = Check("assert", "for n in range(3):\n    assert double(n) == n + n\n", n=1)
    result = check(RIGHT, what)
    assert (result.passed, result.ran, result.acknowledged) == (True, 1, 1)


def test_the_setup_runs_before_the_answer() -> None:
    what = Check("doctest", ">>> double(THREE)\n6\n", n=1, setup="THREE = 3\n")
    assert check(RIGHT, what).passed


def test_option_flags_of_an_example_count() -> None:
    what = Check("doctest", ">>> double('a b')  # doctest: +ELLIPSIS\n'a...b'\n", n=1)
    assert check(RIGHT, what).passed


def test_a_package_can_be_imported_only_where_it_is_mounted(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("two = 2\n")
    tmp_path.chmod(0o700)
    code = "import pack\ndef double(x):\n    return pack.two * x\n"
    mounted = run_check(sandbox(), code, DOUBLES, packages=[tmp_path / "pack"])
    assert (mounted.passed, check(code).failure) == (True, "import")
