"""Markup nobody breaks out of, and nothing in it that nobody sees."""

from journeyman.html.markup import document, element, joined


def test_children_are_escaped_unless_they_are_markup() -> None:
    assert element("p", "<b>", element("i", "x"), class_='a"b') == (
        '<p class="a&quot;b">&lt;b&gt;<i>x</i></p>'
    )


def test_what_is_done_to_markup_makes_it_plain_text_again() -> None:
    # A slice or a sum of markup is a str: it is escaped, not trusted.
    assert joined(element("b", "x")[:3]) == "&lt;b&gt;"


def test_the_title_is_escaped() -> None:
    assert "<title>&lt;/title&gt;" in document("</title>", "", element("p", "x"))


def test_what_nobody_sees_is_shown_by_name() -> None:
    assert joined("a\x00\x1b[31m\u202eb\x85") == "a␀␛[31m⟨U+202E⟩b⟨U+0085⟩"


def test_half_a_character_is_shown_and_can_be_written() -> None:
    assert joined("\ud83d").encode("utf-8").decode("utf-8") == "⟨U+D83D⟩"


def test_lines_tabs_and_joined_emoji_stay_as_they_are() -> None:
    assert joined("a\tb\r\nc\n👩\u200d💻") == "a\tb\nc\n👩\u200d💻"


def test_a_lone_carriage_return_cannot_overwrite_a_line() -> None:
    assert joined("safe\rrm") == "safe␍rm"
