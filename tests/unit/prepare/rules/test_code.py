"""Code blocks: found by language, parsed, and seen to do something."""

import pytest

from journeyman.data.markdown import FencedBlock, fenced_blocks, without_thinking
from journeyman.prepare.rules.code import RULES, python_blocks
from journeyman.records import Interaction


def _found(answer: str) -> dict[str, str]:
    row = Interaction("a", 1, "Write a parser", "coder", answer, "success")
    return {rule.id: what for rule in RULES if (what := rule.find(row)) is not None}


def test_blocks_are_read_with_label_and_end() -> None:
    text = "a\n```Python title=x\nx = 1\n```\n~~~\ny\n~~~~\n- ```js\n  z\n"
    assert fenced_blocks(text) == (
        FencedBlock("python", "x = 1\n"),
        FencedBlock("", "y\n"),
        FencedBlock("js", "  z\n\n", unclosed=True),
    )


def test_inline_code_opens_no_block() -> None:
    assert fenced_blocks("```x``` and `y`\n") == ()


def test_a_longer_fence_may_contain_a_shorter_one() -> None:
    assert fenced_blocks("````md\n```py\nx\n```\n````\n") == (FencedBlock("md", "```py\nx\n```\n"),)


def test_thinking_is_taken_out_and_swallows_the_rest_when_it_never_ends() -> None:
    assert without_thinking("<think>a\nb</think>\nyes") == "\nyes"
    assert without_thinking("no <think>a\nb") == "no "


def test_python_that_does_not_parse_is_reported_with_the_place() -> None:
    found = _found("```python\ndef f(:\n    pass\n```")["bad-python"]
    assert found == "1 of 1: line 1: invalid syntax"


def test_python_that_was_cut_off_says_that_its_block_never_closes() -> None:
    assert "never closes" in _found("```python\ndef f(x):\n    return (x +\n")["bad-python"]


@pytest.mark.parametrize(
    "answer",
    [
        "```python\nx = 1\n```",
        "1. Like this:\n   ```python\n   x = 1\n   ```",
        "```python\n>>> f(1)\n2\n```",
        "```javascript\nfunction f( {\n```",
        "```\n$ pip install x\n```",
        "No code at all.",
    ],
)
def test_correct_python_and_other_text_have_no_finding(answer: str) -> None:
    assert "bad-python" not in _found(answer)


def test_a_block_without_label_is_python_by_its_lines() -> None:
    unlabelled = "```\nimport os\n\ndef f(x):\n    return os.name\n```\n```\nls -l\n```"
    assert len(python_blocks(unlabelled)) == 1
    assert python_blocks("```\nimport x from 'y';\n```") == []


def test_functions_without_bodies_only_are_a_stub() -> None:
    stub = '```python\ndef f(x):\n    """Do it."""\n    pass\n\ndef g():\n    ...\n```'
    assert _found(stub)["stub"] == "2 functions, none with a body: `f`"
    assert "stub" in _found("```python\ndef f():\n    raise NotImplementedError\n```")


def test_one_body_or_an_interface_is_not_a_stub() -> None:
    body = "```python\ndef f():\n    pass\n\ndef g():\n    return 1\n```"
    interface = "```python\nclass A(ABC):\n    @abstractmethod\n    def f(self): ...\n```"
    assert "stub" not in _found(body)
    assert "stub" not in _found(interface)


def test_other_languages_are_counted() -> None:
    assert _found("```java\nint x;\n```\n```python\nx = 1\n```")["other-code"] == "`java`"
