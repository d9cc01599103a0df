"""The GGUF pre-parser: sound files are read, everything else is refused before llama.cpp."""

import contextlib
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journeyman.errors import IntegrityError, UsageError
from journeyman.gguf.header import read_gguf_header
from tests.gguf_files import (
    ARRAY,
    TEXT,
    gguf_bytes,
    pair_integers,
    pair_number,
    pair_text,
    pair_texts,
    pairs,
    tensor,
    text,
    write_gguf,
)

SOUND = gguf_bytes()


def test_a_sound_file_tells_its_facts(tmp_path: Path) -> None:
    header = read_gguf_header(write_gguf(tmp_path / "m.gguf"))
    assert (header.version, header.architecture, header.tensors) == (3, "llama", 1)
    assert (header.parameters, header.tokens, header.context_tokens) == (12, 3, 64)
    assert header.chat_template == "{{ messages }}"
    assert header.size_bytes == len(SOUND)


def test_every_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    for length in range(len(SOUND)):
        path.write_bytes(SOUND[:length])
        with pytest.raises(IntegrityError):
            read_gguf_header(path)


@settings(
    max_examples=400,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(SOUND) - 49), st.integers(0, 255)), max_size=6)
)
def test_a_changed_header_is_read_or_refused_but_never_crashes(
    tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(SOUND)
    for place, value in changes:
        data[place] = value
    # Any other error, a struct.error or a MemoryError say, fails the test.
    with contextlib.suppress(IntegrityError):
        header = read_gguf_header(write_gguf(tmp_path / "changed.gguf", bytes(data)))
        assert header.size_bytes == len(SOUND)


@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(tail=st.binary(max_size=200))
def test_any_bytes_after_the_magic_are_read_or_refused(tmp_path: Path, tail: bytes) -> None:
    with pytest.raises(IntegrityError):
        read_gguf_header(write_gguf(tmp_path / "noise.gguf", b"GGUF" + tail))


HUGE = 2**62
TOKENS = "tokenizer.ggml.tokens"
REFUSED = {
    "version 1": (gguf_bytes(version=1), "version 1"),
    "no magic": (b"GGML" + SOUND[4:], "does not begin"),
    "many tensors": (gguf_bytes(tensor_count=HUGE), "claims"),
    "many keys": (gguf_bytes(key_count=HUGE), "claims"),
    "no tensor": (gguf_bytes(tensors=[]), "0 tensors"),
    "key twice": (gguf_bytes([*pairs(), pairs()[0]]), "twice"),
    "long key": (gguf_bytes([*pairs(), pair_number("k" * 300, 1)]), "300 bytes"),
    "huge text": (gguf_bytes([text("k") + struct.pack("<IQ", TEXT, HUGE)]), "bytes long"),
    "not UTF-8": (gguf_bytes([struct.pack("<Q", 2) + b"\xff\xfe"]), "not UTF-8"),
    "huge array": (gguf_bytes([pair_texts(TOKENS, [], count=HUGE)]), "more than the file"),
    "nested array": (
        gguf_bytes([text("n") + struct.pack("<IIQ", ARRAY, ARRAY, 1)]),
        "unknown type 9",
    ),
    "unknown value type": (gguf_bytes([text("n") + struct.pack("<I", 77)]), "unknown type 77"),
    "no architecture": (gguf_bytes([pair_number("a", 1)]), "names no architecture"),
    "rare architecture": (gguf_bytes(pairs("plamo2")), "`plamo2` is not one of"),
    "wild architecture": (gguf_bytes(pairs("../etc")), "names no architecture"),
    "odd alignment": (gguf_bytes([*pairs(), pair_number("general.alignment", 33)]), "alignment"),
    "zero alignment": (gguf_bytes([*pairs(), pair_number("general.alignment", 0)]), "alignment"),
    "five dimensions": (gguf_bytes(tensors=[tensor("t", (1,) * 5)]), "5 dimensions"),
    "zero dimension": (gguf_bytes(tensors=[tensor("t", (4, 0))]), "shape"),
    "huge shape": (gguf_bytes(tensors=[tensor("t", (2**40, 2**40))]), "ends at byte"),
    "unknown tensor type": (gguf_bytes(tensors=[tensor("t", (4,), kind=99)]), "type 99"),
    "broken block": (gguf_bytes(tensors=[tensor("t", (33,), kind=2)]), "shape"),
    "far tensor": (gguf_bytes(tensors=[tensor("t", (4,), offset=2**40)]), "begins at"),
    "tensor twice": (
        gguf_bytes(tensors=[tensor("t", (8,)), tensor("t", (8,), offset=32)]),
        "twice",
    ),
    "tensors over each other": (
        gguf_bytes(tensors=[tensor("s", (8,)), tensor("t", (8,))]),
        "begins",
    ),
    "wrong vocabulary": (gguf_bytes(pairs(tokens=("a", "b"))), "2 tokens, its embedding 3 rows"),
    "scores of other length": (
        gguf_bytes([*pairs(), pair_texts("tokenizer.ggml.scores", ["x"])]),
        "1 entries for 3 tokens",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_field_is_refused_and_named(tmp_path: Path, name: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(IntegrityError, match=reason):
        read_gguf_header(write_gguf(tmp_path / "wrong.gguf", data))


def test_a_rare_architecture_is_read_where_any_is_accepted(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", gguf_bytes(pairs("plamo2")))
    assert read_gguf_header(path, architectures=None).architecture == "plamo2"


def test_a_huge_claim_takes_no_memory(tmp_path: Path) -> None:
    claims = [
        pair_text("general.architecture", "llama"),
        pair_texts(TOKENS, ["a"], count=HUGE),
    ]
    path = write_gguf(tmp_path / "m.gguf", gguf_bytes(claims))
    tracemalloc.start()
    with pytest.raises(IntegrityError):
        read_gguf_header(path)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The stream's buffer (128 KiB at most) is all that may be taken.
    assert peak_bytes < 512 * 1024


def test_a_vocabulary_alone_has_no_tensor(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "vocabulary.gguf", gguf_bytes(tensors=[], data_bytes=0))
    header = read_gguf_header(path, has_weights=False)
    assert (header.tensors, header.tokens) == (0, 3)


def test_entries_of_an_array_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    kinds = pair_integers("tokenizer.ggml.token_type", [1, 3, 4])
    header = read_gguf_header(write_gguf(tmp_path / "m.gguf", gguf_bytes([*pairs(), kinds])))
    assert header.texts(TOKENS) == ["a", "b", "c"]
    assert header.integers("tokenizer.ggml.token_type") == [1, 3, 4]
    assert (header.texts("absent"), header.integer("llama.context_length")) == ([], 64)


def test_entries_of_a_file_that_was_cut_meanwhile_are_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    header = read_gguf_header(path)
    path.write_bytes(SOUND[: header.arrays[TOKENS].at + 5])
    with pytest.raises(IntegrityError, match="ends inside"):
        header.texts(TOKENS)


def test_an_entry_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    bad = text(TOKENS) + struct.pack("<IIQQ", ARRAY, TEXT, 1, 2) + b"\xff\xfe"
    keys = [pair_text("general.architecture", "llama"), bad]
    path = write_gguf(tmp_path / "m.gguf", gguf_bytes(keys, tensors=[], data_bytes=0))
    with pytest.raises(IntegrityError, match="not UTF-8"):
        read_gguf_header(path, has_weights=False).texts(TOKENS)


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        read_gguf_header(tmp_path / "none.gguf")
