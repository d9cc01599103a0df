"""A corpus of answers as chat models write them."""

import pytest

from journeyman.data.markdown import fenced_blocks
from journeyman.evaluate.scoring.extract_code import after_thinking, extract

ADD = "def add(a, b):\n    return a + b\n"
TIMES = "def times(a, b):\n    total = 0\n    for _ in range(b): total += a\n    return total\n"


def fenced(code: str, label: str = "python") -> str:
    return f"```{label}\n{code}```\n"


def test_a_labelled_block_is_taken_without_the_prose() -> None:
    found = extract(f"Here it is:\n\n{fenced(ADD)}\nIt adds.")
    assert (found.code, found.rule, found.blocks, found.unclosed) == (
        ADD,
        "longest_block",
        1,
        False,
    )


def test_an_unclosed_fence_runs_to_the_end_and_is_marked() -> None:
    found = extract(f"Sure:\n```python\n{ADD}")
    assert found.code.strip() == ADD.strip()
    assert found.unclosed


def test_code_cut_off_in_an_unclosed_fence_is_broken_and_not_absent() -> None:
    found = extract("```python\ndef add(a, b):\n    return (a +")
    assert found.rule == "broken_block"
    assert not found.parses


def test_of_two_blocks_the_one_with_the_entry_point_wins() -> None:
    found = extract(fenced(ADD) + "and\n" + fenced(TIMES), entry_point="add")
    assert (found.code, found.rule) == (ADD, "entry_point")


def test_of_two_blocks_the_longest_wins_without_an_entry_point() -> None:
    assert extract(fenced(ADD) + fenced(TIMES)).code == TIMES


def test_a_usage_example_after_the_code_is_not_taken() -> None:
    usage = "print(add(1, 2))\n" * 20
    assert extract(fenced(ADD) + fenced(usage), entry_point="add").code == ADD


def test_a_block_that_the_chosen_one_needs_comes_along() -> None:
    imports = "from functools import reduce\n"
    code = "def total(xs):\n    return reduce(lambda a, b: a + b, xs)\n"
    found = extract(fenced(imports) + fenced(code), entry_point="total")
    assert (found.code, found.rule) == (imports + "\n" + code, "joined_blocks")


def test_crlf_counts_as_a_line_end() -> None:
    assert extract(fenced(ADD).replace("\n", "\r\n")).code == ADD


@pytest.mark.parametrize("label", ["Python", "py", "python3", "{.python}", "python title=a.py", ""])
def test_labels_that_mean_python(label: str) -> None:
    assert extract(fenced(ADD, label)).code == ADD


@pytest.mark.parametrize("label", ["typescript", "ts", "json", "bash", "pycon"])
def test_a_block_in_another_language_is_never_python(label: str) -> None:
    found = extract(fenced("x = 1\n", label))
    assert (found.code, found.rule, found.blocks) == ("", "no_code", 1)


def test_a_labelled_block_is_preferred_to_an_unlabelled_longer_one() -> None:
    assert extract(fenced(TIMES, "") + fenced(ADD)).code == ADD


def test_thinking_is_dropped_with_the_code_in_it() -> None:
    found = extract(f"<think>\nFirst try:\n{fenced(TIMES)}\n</think>\n{fenced(ADD)}")
    assert found.code == ADD


def test_thinking_that_never_ends_leaves_no_answer() -> None:
    found = extract(f"<think>\nLet me see:\n{fenced(ADD)}")
    assert (found.code, found.rule) == ("", "no_answer")


def test_thinking_that_the_template_opened_is_dropped() -> None:
    assert after_thinking(f"Hm.\n{fenced(TIMES)}\n</think>\nDone") == "\nDone"


def test_code_that_names_the_tag_keeps_it() -> None:
    code = "def strip(text):\n    return text.split(\n'''\n</think>''')[-1]\n"
    assert extract(fenced(code)).code == code


def test_an_answer_that_is_code_needs_no_fence() -> None:
    assert extract(ADD).rule == "whole_answer"
    assert extract(ADD).code == ADD


def test_code_between_prose_is_found_without_a_fence() -> None:
    found = extract(f"Here is the function you asked for.\n\n{ADD}\nIt adds two numbers.")
    assert (found.code.strip(), found.rule) == (ADD.strip(), "longest_span")


@pytest.mark.parametrize(
    "prose",
    [
        "Call ```add(1, 2)``` to add, or `times`.",
        "```add(1)``` adds.",
        "Yes",
        "class invariants are rules",
        "import the module first",
        "",
        "   ",
    ],
)
def test_prose_holds_no_code(prose: str) -> None:
    assert extract(prose).code == ""


def test_a_block_in_a_list_loses_its_indentation() -> None:
    text = "1. do this:\n    ```python\n    def f():\n        return 1\n    ```\n"
    assert extract(text).code == "def f():\n    return 1\n"


def test_a_block_behind_the_marker_of_a_list_is_found() -> None:
    assert extract("- ```python\n  x = 1\n  ```\n").code == "x = 1\n"


def test_a_label_in_braces_is_preferred_to_a_longer_block_without_one() -> None:
    assert extract(fenced(TIMES, "") + fenced(ADD, "{.python .numbered}")).code == ADD


def test_a_longer_fence_may_hold_a_shorter_one() -> None:
    blocks = fenced_blocks("````markdown\n```python\nx = 1\n```\n````\n")
    assert [(block.label, block.text) for block in blocks] == [
        ("markdown", "```python\nx = 1\n```\n")
    ]


@pytest.mark.parametrize(
    "hostile", ["(" * 5000, "-" * 100_000 + "1", "1+" * 50_000 + "1", "\x00", "x" * 300_000]
)
def test_hostile_code_is_refused_and_not_crashed_on(hostile: str) -> None:
    assert not extract(fenced(f"def f():\n    return {hostile}\n")).parses


CODE = "def double(x):\n    return 2 * x\n"
OTHER = "def half(x):\n    return x / 2\n"


@pytest.mark.parametrize(
    ("answer", "entry_point", "strict"),
    [
        (f"```python\n{CODE}```", "double", True),
        (f"```python\n{CODE}```", None, True),
        (f"```python\n{OTHER}```\n```py\n{CODE}```", "double", True),
        (f"```python\n{OTHER}```\n```py\n{CODE}```", None, False),
        (f"```python\n{CODE}```\n```python\n{CODE}# again\n```", "double", False),
        (f"```python\n{CODE}", "double", False),
        (f"```\n{CODE}```", "double", False),
        (CODE, "double", False),
        (f"```python\n{OTHER}```", "double", False),
        ("```python\ndef double(x:\n```", "double", False),
    ],
)
def test_a_strict_reader_takes_one_closed_block_marked_as_python(
    answer: str, entry_point: str | None, strict: bool
) -> None:
    assert extract(answer, entry_point).strict is strict
