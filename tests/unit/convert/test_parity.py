"""Where two answers part, and what is done about it; numbers by hand, no model."""

import math
from collections.abc import Sequence

import pytest

from journeyman.convert.outputs import Parity
from journeyman.convert.parity import (
    NEAR_TIE_MARGIN,
    ParityThresholds,
    find_divergence,
    require_parity,
)
from journeyman.errors import IntegrityError
from journeyman.inference.torch_engine import Greedy
from journeyman.records import Message

END = 2
ENDS = frozenset({END})
ASKED = (Message("user", "Hi"),)


def parted(ours: list[int], margins: list[float], theirs: list[int]) -> tuple[object, ...] | None:
    found = find_divergence(ASKED, Greedy(ours, margins), theirs, ENDS)
    if found is None:
        return None
    return found.at, found.adapter_token, found.gguf_token, found.margin


def test_equal_tokens_do_not_part() -> None:
    assert parted([5, 6], [1.0, 1.0], [5, 6]) is None


def test_an_end_token_and_an_end_are_the_same() -> None:
    assert parted([5, END], [1.0, 1.0], [5]) is None


def test_the_first_different_token_is_named_with_its_margin() -> None:
    assert parted([5, 6, 7], [1.0, 0.5, 0.25], [5, 9, 7]) == (1, 6, 9, 0.5)


def test_an_early_end_is_a_difference() -> None:
    assert parted([5, 6], [1.0, 0.5], [5]) == (1, 6, None, 0.5)


def test_an_end_that_is_missed_is_a_difference() -> None:
    assert parted([5, END], [1.0, 0.5], [5, 6]) == (1, None, 6, 0.5)


def test_tokens_beyond_what_was_asked_are_no_near_tie() -> None:
    assert parted([5], [0.01], [5, 6]) == (1, None, 6, math.inf)


class Words:
    """The part of a `Chat` that the comparison asks: one id a letter."""

    end_ids = ENDS
    end_of_turn = END

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        return [ord(letter) for letter in messages[-1].content]

    def holds_special(self, messages: Sequence[Message]) -> bool:
        return False

    def decode_whole(self, ids: Sequence[int]) -> str:
        return "".join(chr(number) for number in ids)


class Side:
    """Both sides of a comparison, by table: prompt to answer, with one margin for every token."""

    def __init__(self, answers: dict[str, str], margin: float = 1.0) -> None:
        self.chat, self.answers, self.margin = Words(), answers, margin

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        return self.chat.prompt_ids(messages)

    def said(self, ids: Sequence[int]) -> list[int]:
        return [ord(letter) for letter in self.answers[self.chat.decode_whole(ids)]]


class Ours(Side):
    def complete(self, ids: Sequence[int], n_tokens: int) -> Greedy:
        said = self.said(ids)[:n_tokens]
        return Greedy(said, [self.margin] * len(said))


class Theirs(Side):
    def complete(self, ids: Sequence[int], n_tokens: int) -> list[int]:
        return self.said(ids)[:n_tokens]


PROMPTS = [(Message("user", text),) for text in "abcdefgh"]


def compare(differs: str, *, margin: float, prompts: int = 2) -> Parity:
    ours = dict.fromkeys("abcdefgh", "same")
    theirs = {one: "some" if one in differs else "same" for one in "abcdefgh"}
    adapted = Ours(ours, margin)
    return require_parity(adapted, Theirs(theirs), PROMPTS, ParityThresholds(prompts, 4))  # type: ignore[arg-type]


def test_a_near_tie_is_replaced_by_the_next_prompt_and_kept_on_record() -> None:
    found = compare("a", margin=NEAR_TIE_MARGIN / 2)
    assert found.equal == 2
    assert [(x.prompt, x.at) for x in found.near_ties] == [("a", 1)]


def test_a_clear_difference_is_refused_with_both_tokens() -> None:
    with pytest.raises(IntegrityError, match=r"on `b` token 1 differs: `a` \(97\) and `o`"):
        compare("b", margin=NEAR_TIE_MARGIN)


def test_a_difference_after_enough_equal_prompts_is_not_looked_for() -> None:
    assert compare("c", margin=1.0).equal == 2


def test_near_ties_everywhere_are_no_proof() -> None:
    with pytest.raises(
        IntegrityError, match=r"only 0 of 2 prompts could be compared \(6 were near"
    ):
        compare("abcdefgh", margin=0.0)
