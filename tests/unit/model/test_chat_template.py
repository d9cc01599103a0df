"""Chat templates: what they render, and what they may not do."""

from pathlib import Path

import pytest

from journeyman.errors import DataRefused
from journeyman.model.chat_template import CHATML, OUTPUT_LIMIT, read_template, render
from journeyman.records import Message

ASKED = (Message("system", "Be brief."), Message("user", "1 < 2?"))


def test_chatml_renders_as_qwen_does() -> None:
    text = render(CHATML, ASKED, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n1 < 2?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_chatml_puts_qwens_own_system_prompt_where_none_is_given() -> None:
    text = render(CHATML, [Message("user", "Hi")])
    assert text == (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. "
        "You are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    )


def test_content_is_never_taken_for_a_template() -> None:
    text = render(CHATML, [Message("system", "{{ 7 * 7 }}{% raw %}")])
    assert "{{ 7 * 7 }}{% raw %}" in text


def test_a_role_without_a_turn_is_refused_by_name() -> None:
    strict = "{{ raise_exception('no turn for `' + messages[0].role + '`') }}"
    with pytest.raises(DataRefused, match="no turn for `tool`"):
        render(strict, [Message("tool", "42")])


def test_tokens_reach_the_template() -> None:
    assert render("{{ bos_token }}x", [], bos_token="<s>") == "<s>x"


def test_tojson_escapes_no_html() -> None:
    assert render("{{ messages | tojson }}", [Message("user", "<é>")]) == (
        '[{"role": "user", "content": "<é>"}]'
    )


def test_a_generation_block_is_its_content() -> None:
    block = "{% generation %}{{ m.content }}{% endgeneration %}"
    template = "{% for m in messages %}" + block + "{% endfor %}"
    assert render(template, ASKED) == "Be brief.1 < 2?"


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 10000000000 }}",
        "{{ lipsum.__globals__['os'].system('true') }}",
        "{{ ''.__class__.__mro__ }}{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception('no') }}",
        "{% if %}",
    ],
)
def test_a_hostile_or_broken_template_is_refused(template: str) -> None:
    with pytest.raises(DataRefused, match="the chat template cannot render"):
        render(template, ASKED)


def test_a_template_cannot_write_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("journeyman.model.chat_template.OUTPUT_LIMIT", 1000)
    assert OUTPUT_LIMIT > 1000
    with pytest.raises(DataRefused, match="it writes more than"):
        render("{% for i in range(2000) %}xx{% endfor %}", ASKED)


def test_a_template_file_goes_before_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "old"}')
    assert read_template(tmp_path) == "old"
    (tmp_path / "chat_template.jinja").write_text("new")
    assert read_template(tmp_path) == "new"


def test_of_several_named_templates_the_default_one_is_taken(tmp_path: Path) -> None:
    named = '[{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]'
    (tmp_path / "tokenizer_config.json").write_text(f'{{"chat_template": {named}}}')
    assert read_template(tmp_path) == "d"
