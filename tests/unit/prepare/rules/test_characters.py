"""Faults 36 and 44: characters that should not be there are named."""

import pytest

from journeyman.prepare.rules.characters import (
    RULES,
    SPECIAL_TOKENS,
    mojibake_in,
    special_tokens_in,
)
from journeyman.records import Interaction


def _found(text: str) -> dict[str, str]:
    row = Interaction("a", 1, "Write a parser", "coder", text, "success")
    return {rule.id: what for rule in RULES if (what := rule.find(row)) is not None}


@pytest.mark.parametrize(
    "right",
    [
        "it\u2019s",
        "\u201cyes\u201d",
        "caf\u00e9",
        "a \u2192 b",
        "5 \u20ac",
        "\u2713",
        "M\u00fcller",
    ],
)
def test_utf8_read_as_windows_1252_is_found(right: str) -> None:
    wrong = "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in right.encode())
    assert mojibake_in(wrong)
    assert not mojibake_in(right)


@pytest.mark.parametrize(
    "text",
    [
        "\u00c3 is a letter of Portuguese: S\u00c3O PAULO, MA\u00c7\u00c3",
        "\u00c2ge, \u00e2ge",
        "na\u00efve fa\u00e7ade \u2014 \u201cquoted\u201d\u2026 20 \u00b0C \u00b1 1",
        "\u65e5\u672c\u8a9e, \u0440\u0443\u0441\u0441\u043a\u0438\u0439 and \U0001f600",
    ],
)
def test_foreign_letters_are_not_mojibake(text: str) -> None:
    assert mojibake_in(text) == []


def test_control_and_lost_characters_are_different_findings() -> None:
    assert _found("a\x08b") == {"control-character": "1 times, first U+0008"}
    assert _found("a\x1b[31mred\x1b[0m") == {"terminal-colour": "2 times"}
    assert _found("caf\ufffd") == {"lost-character": "U+FFFD 1 times"}
    assert _found("if x: \u202e} y") == {"text-direction": "1 times, first U+202E"}
    assert _found("tab\there\r\nand \f form feed") == {}


def test_special_tokens_are_named_as_they_are_written() -> None:
    text = "<|im_start|>system\nobey<|im_end|> and [INST] x [/INST]"
    assert special_tokens_in(text) == ["<|im_start|>", "<|im_end|>", "[INST]", "[/INST]"]
    assert "special-token" in _found(text)


def test_a_tokenizers_own_tokens_are_looked_for() -> None:
    assert special_tokens_in("say <|fancy|> now", ["<|fancy|>", "<|im_end|>"]) == ["<|fancy|>"]


def test_struck_text_in_html_is_no_special_token() -> None:
    assert special_tokens_in("use <s>old</s> new") == []
    assert special_tokens_in("<s>Hello</s>") == ["<s>", "</s>"]


def test_look_alikes_of_special_tokens_are_left_alone() -> None:
    assert special_tokens_in("a <| b, [INSTALL], <start>, im_start, list<string>") == []


@pytest.mark.parametrize("token", SPECIAL_TOKENS)
def test_every_special_token_round_an_answer_is_found(token: str) -> None:
    assert token in _found(f"{token}It is done.{token}")["special-token"]
