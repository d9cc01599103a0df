"""Skips are named in the end, with what would bring them, and fail where none is allowed."""

import pytest

from tests.needs import LLAMA_CPP, forbidden, missing, summary, this_machine

REASONS = [
    *[missing("SIMDe")] * 3,
    missing("a vocabulary", LLAMA_CPP),
    this_machine("has no GPU"),
    "on a whim",
]


def test_everything_skipped_is_counted_and_one_command_brings_what_can_be_had() -> None:
    lines = summary(REASONS)
    assert [line.split()[0] for line in lines[:-1]] == ["3", "1", "1", "1"]
    assert lines[-1] == "to run them: `sudo make packages && make test`"
    assert summary([this_machine("has no GPU")])[-1].endswith("this machine has no GPU")


def test_only_a_property_of_the_machine_may_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNEYMAN_NO_SKIPS", raising=False)
    assert forbidden(REASONS) == []
    monkeypatch.setenv("JOURNEYMAN_NO_SKIPS", "1")
    assert forbidden(REASONS) == sorted({*REASONS} - {this_machine("has no GPU")})
