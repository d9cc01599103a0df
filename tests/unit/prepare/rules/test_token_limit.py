"""Fault 45: answers that ran into a cap are found where the log keeps no finish reason."""

import random
from collections.abc import Sequence
from pathlib import Path

import gguf
import pytest

from journeyman.errors import IntegrityError
from journeyman.model.known_vocabularies import FAMILIES, Vocabulary, family_of, find_vocabularies
from journeyman.prepare.rules.length_spikes import spike_at, spike_at_top
from journeyman.prepare.rules.token_limit import find_cut_offs
from journeyman.records import Interaction

CAP = 100


class Words(Vocabulary):
    """A vocabulary in which each word is a token."""

    def counts(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


class Letters(Vocabulary):
    """A vocabulary in which each letter is a token."""

    def counts(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]


LLAMA, QWEN = FAMILIES[0], FAMILIES[1]
BOTH = (Letters(LLAMA, Path()), Words(QWEN, Path()))


def _answers(lengths: Sequence[int], producer: str, cap: int | None = CAP) -> list[Interaction]:
    chance = random.Random(1)
    return [
        Interaction(
            str(line),
            line,
            "t",
            "coder",
            " ".join("x" * chance.randint(1, 9) for _ in range(length)),
            "success",
            producer=producer,
            max_tokens=cap,
        )
        for line, length in enumerate(lengths, start=1)
    ]


def _spread(n: int) -> list[int]:
    return [10 + (at * 37) % 80 for at in range(n)]


def test_many_lengths_at_the_limit_are_a_spike() -> None:
    spike = spike_at([*_spread(100), *[CAP] * 30], CAP)
    assert spike is not None
    assert (spike.low, spike.high, spike.hits) == (97, 102, 30)
    # Chernoff: 96 near, share 30/96 where an even spread has 6/126; 96 * 0.3639 nats.
    assert spike.chance_log10 == pytest.approx(-15.17, abs=0.01)


def test_lengths_spread_around_the_limit_are_not_a_spike() -> None:
    assert spike_at(list(range(40, 161)), CAP) is None
    assert spike_at([CAP] * 4, CAP) is None
    assert spike_at([], CAP) is None


def test_a_limit_that_is_not_logged_is_the_longest_length() -> None:
    spike = spike_at_top([*_spread(100), *[512] * 20, *[511] * 5], width=3)
    assert spike is not None
    assert (spike.low, spike.high, spike.hits) == (509, 512, 25)
    assert spike_at_top(_spread(100), width=3) is None
    assert spike_at_top([], width=3) is None


def test_a_known_producer_is_counted_with_its_own_vocabulary() -> None:
    rows = _answers([20, 99, 100, 96, 97], "x/qwen2.5-7b-instruct")
    found = find_cut_offs(rows, BOTH)
    # cap - 3 and more: encoding again may give three tokens fewer.
    assert set(found.lines) == {2, 3, 5}
    assert found.evidence[0].vocabulary == "qwen2"


def test_an_unknown_producer_is_found_by_the_vocabulary_with_a_spike() -> None:
    rows = _answers([*_spread(60), *[CAP] * 40], "someone")
    found = find_cut_offs(rows, BOTH)
    assert set(found.lines) == set(range(61, 101))
    (evidence,) = found.evidence
    assert (evidence.vocabulary, evidence.cut_off, evidence.answers) == ("qwen2", 40, 100)


def test_a_limit_is_found_that_is_not_logged() -> None:
    rows = _answers([*_spread(60), *[512] * 40], "someone", cap=None)
    found = find_cut_offs(rows, BOTH)
    assert len(found.lines) == 40
    assert "limit is 512" in found.lines[61]


def test_whole_answers_are_left_alone() -> None:
    assert find_cut_offs(_answers(_spread(200), "someone"), BOTH).lines == {}


def test_a_reason_in_the_log_is_believed() -> None:
    import msgspec

    rows = [
        msgspec.structs.replace(row, finish_reason="stop")
        for row in _answers([CAP] * 50, "x/qwen2.5-7b")
    ]
    assert find_cut_offs(rows, BOTH).evidence == ()


def test_without_a_vocabulary_equal_lengths_are_evidence() -> None:
    cut = [(f"{at} " + "word " * 90)[:333] for at in range(25)]
    whole = [f"{'word ' * at}." for at in range(1, 40)]
    rows = [
        Interaction(str(line), line, "t", "coder", text, "success", producer="someone")
        for line, text in enumerate([*cut, *whole], start=1)
    ]
    found = find_cut_offs(rows, ())
    assert set(found.lines) == set(range(1, 26))
    assert found.evidence[0].unit == "characters"


def test_one_answer_that_repeats_is_not_a_spike() -> None:
    same = [Interaction(str(n), n, "t", "coder", "It adds.", "success") for n in range(1, 31)]
    assert find_cut_offs(same, ()).lines == {}


@pytest.mark.parametrize(
    ("producer", "family"),
    [
        ("replicate/meta/llama-2-70b-chat", "llama-spm"),
        ("ollama/llama2:7b", "llama-spm"),
        ("groq/llama-3.1-8b-instant", "llama-bpe"),
        ("meta-llama/Meta-Llama-3-8B", "llama-bpe"),
        ("Qwen/Qwen2.5-Coder-7B-Instruct", "qwen2"),
        ("qwen3-coder:30b", "qwen2"),
        ("QwQ-32B", "qwen2"),
    ],
)
def test_a_producers_name_decides_its_vocabulary(producer: str, family: str) -> None:
    found = family_of(producer)
    assert found is not None
    assert found.name == family


@pytest.mark.parametrize("producer", [None, "tongyi", "openai/gpt-4o", "qwen-max", "Qwen3.5-9B"])
def test_other_names_tell_none(producer: str | None) -> None:
    assert family_of(producer) is None


def _write_vocabulary(path: Path) -> None:
    """A byte-level tokenizer of 256 bytes and the one merge of `a` and `b`."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    writer = gguf.GGUFWriter(path, "qwen2")
    tokens = [*bytes_to_unicode().values(), "ab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges(["a b"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def test_a_vocabulary_is_read_from_its_file_and_kept_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path / "cache"))
    _write_vocabulary(tmp_path / QWEN.file)
    texts = ["abc", "ab ab", "", "\u00e9"]
    for _ in range(2):
        (vocabulary,) = find_vocabularies(tmp_path)
        assert vocabulary.family == QWEN
        # ab|c; ab| |ab; nothing; two bytes.
        assert vocabulary.counts(texts) == [2, 3, 0, 2]
    assert len(list((tmp_path / "cache/vocabularies").iterdir())) == 1


def test_a_folder_without_vocabularies_gives_none(tmp_path: Path) -> None:
    assert find_vocabularies(tmp_path) == ()


def test_a_damaged_vocabulary_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path / "cache"))
    (tmp_path / QWEN.file).write_bytes(b"GGUF" + b"\x00" * 40)
    (vocabulary,) = find_vocabularies(tmp_path)
    with pytest.raises(IntegrityError):
        vocabulary.counts(["a"])
