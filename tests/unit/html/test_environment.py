"""Pages from templates: nothing breaks out of them, and nothing in them is unseen."""

import pytest
from jinja2 import UndefinedError

from journeyman.html import environment
from journeyman.html.environment import coded, render, visible

HOSTILE = '</title><script>alert(1)</script>" onload="x\x1b[31m\u202e'


def _rendered(source: str, **values: object) -> str:
    return environment._environment().from_string(source).render(**values)


def test_a_value_is_escaped_in_text_and_in_an_attribute() -> None:
    page = _rendered('<p title="{{ text }}">{{ text }}</p>', text=HOSTILE)
    assert "<script" not in page
    assert '" onload' not in page
    assert page.count("&lt;script&gt;") == 2


def test_invisible_characters_are_named_in_text_and_attributes() -> None:
    page = _rendered('<p title="{{ text }}">{{ text | coded }}</p>', text=HOSTILE)
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert page.count("␛") == page.count("⟨U+202E⟩") == 2


def test_code_between_backticks_is_escaped_too() -> None:
    assert coded("a `<b>` c") == "a <code>&lt;b&gt;</code> c"


def test_a_carriage_return_alone_is_shown_and_one_before_a_newline_is_not() -> None:
    assert visible("a\rb\r\nc\td") == "a␍b\nc\td"


def test_lines_tabs_and_joined_emoji_stay_as_they_are() -> None:
    assert visible("a\tb\r\nc\n👩\u200d💻") == "a\tb\nc\n👩\u200d💻"


def test_control_characters_and_half_characters_are_shown_and_can_be_written() -> None:
    page = _rendered("{{ text }}", text="a\x00b\x85\ud83d")
    assert page.encode("utf-8").decode("utf-8") == "a␀b⟨U+0085⟩⟨U+D83D⟩"


def test_the_title_is_escaped() -> None:
    page = _rendered(
        '{% extends "html/base.html" %}{% block title %}{{ text }}{% endblock %}', text=HOSTILE
    )
    assert "<title>&lt;/title&gt;" in page


def test_a_missing_value_is_an_error_and_not_an_empty_string() -> None:
    with pytest.raises(UndefinedError):
        _rendered("{{ missing }}")


def test_the_base_page_forbids_itself_to_load_or_run_anything() -> None:
    page = render("html/base.html")
    assert "default-src 'none'" in page
    assert page.startswith("<!doctype html>")
