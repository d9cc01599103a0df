"""Fault 47: prompts that ask nearly the same are one group, whatever comes before or after."""

import random
from collections.abc import Iterable, Mapping
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeyman.data.prompt_groups import group_of
from journeyman.prepare.split import near_duplicates
from journeyman.prepare.split.minhash import jaccard, shingles
from journeyman.prepare.split.near_duplicates import NearDuplicates, NearGroups, prompt_text
from journeyman.records import Message

LONG = "write a function that reads a file of comma separated values and gives its rows as records"
NEAR = LONG.replace("rows", "lines")
FAR = "plan a sprint of two weeks for the payment team, with goals, risks and who does what when"


def _groups(
    texts: Iterable[tuple[str, str]], earlier: Mapping[str, str] | None = None
) -> NearGroups:
    with NearDuplicates() as near:
        for prompt, text in texts:
            near.add(prompt, text)
        return near.groups(earlier)


def test_one_word_of_many_makes_no_new_prompt() -> None:
    found = _groups([("b", LONG), ("a", NEAR), ("c", FAR)])
    assert found.of("a") == found.of("b") == "a"
    assert found.of("c") == "c"


def test_a_prompt_near_to_no_other_keeps_the_id_of_its_exact_group() -> None:
    turns = (Message("system", "Be brief."), Message("user", "Sort a list!"))
    prompt = group_of(turns)
    assert prompt_text(turns) == "sort a list"
    assert _groups([(prompt, prompt_text(turns)), ("x", FAR)]).of(prompt) == prompt


def test_the_answer_and_the_system_turn_are_not_compared() -> None:
    asked = (Message("user", "Sort"), Message("assistant", "How?"), Message("user", "Up"))
    answered = (Message("system", "S"), *asked, Message("assistant", "Done"))
    assert prompt_text(answered) == prompt_text(asked) == "sort\nhow\nup"


def test_the_order_of_prompts_changes_nothing() -> None:
    texts = [("b", LONG), ("a", NEAR), ("c", FAR), ("d", FAR + " now")]
    expected = [_groups(texts).of(prompt) for prompt, _ in texts]
    for seed in range(5):
        mixed = random.Random(seed).sample(texts, len(texts))
        found = _groups(mixed)
        assert [found.of(prompt) for prompt, _ in texts] == expected


def test_a_new_prompt_does_not_rename_an_old_group() -> None:
    before = _groups([("m", LONG)])
    found = _groups([("m", LONG), ("a", NEAR)], {"m": before.of("m")})
    assert found.of("a") == found.of("m") == "m"
    assert found.merged == {}


def test_a_prompt_between_two_old_groups_says_that_they_are_one_now() -> None:
    left, right = LONG + " slowly and again", "please " + LONG
    assert _groups([("m", left), ("n", right)]).joined == {}
    found = _groups([("m", left), ("n", right), ("z", LONG)], {"m": "m", "n": "n"})
    assert found.merged == {"n": "m"}
    assert found.of("n") == "m"


def test_empty_and_short_prompts_are_compared_too() -> None:
    found = _groups([("a", ""), ("b", ""), ("c", "x"), ("d", "x"), ("e", "y")])
    assert found.of("b") == "a"
    assert found.of("d") == "c"
    assert found.of("e") == "e"


def test_no_prompts_make_no_groups() -> None:
    assert _groups([]).joined == {}


words = st.lists(
    st.sampled_from(["sort", "the list", "of rows", "write", "a", "parser"]), max_size=9
)


@settings(deadline=None, max_examples=60)
@given(st.lists(words, max_size=14))
def test_below_the_limit_every_near_pair_is_found(lists: list[list[str]]) -> None:
    texts = [(f"{at:03}", " ".join(one)) for at, one in enumerate(lists)]
    found = _groups(texts)
    assert found.exact
    near = {
        (one, other)
        for (one, text), (other, its) in combinations(texts, 2)
        if jaccard(shingles(text), shingles(its)) >= 0.8
    }
    assert all(found.of(one) == found.of(other) for one, other in near)
    joined = {prompt for pair in near for prompt in pair}
    assert set(found.joined) <= joined


def test_above_the_limit_the_same_groups_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(3)
    words = ["".join(chance.choices("abcdefghij", k=6)) for _ in range(500)]
    texts = []
    for at in range(150):
        told = chance.choices(words, k=40)
        texts.append((f"{at:03}a", " ".join(told)))
        told[chance.randrange(40)] = "changed"
        texts.append((f"{at:03}b", " ".join(told)))
    exact = _groups(texts)
    monkeypatch.setattr(near_duplicates, "EXACT_PROMPTS", 10)
    proposed = _groups(texts)
    assert not proposed.exact
    assert exact.joined == {f"{at:03}b": f"{at:03}a" for at in range(150)}
    # At 0.93, which one word of 40 makes, MinHash misses fewer than one in a million.
    assert proposed.joined == exact.joined


def test_one_phrase_that_all_share_does_not_join_what_differs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(near_duplicates, "EXACT_PROMPTS", 10)
    chance = random.Random(4)
    phrase = "you are given the following task, answer in python: "
    texts = [
        (f"{at:03}", phrase + "".join(chance.choices("abcdefghij ", k=80))) for at in range(60)
    ]
    assert _groups(texts).joined == {}
