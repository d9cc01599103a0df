"""The library in the cache: built once, whole, and a reason where it cannot be had."""

from pathlib import Path

import pytest

from journeyman.errors import MachineError
from journeyman.events import Event, Note
from journeyman.kernels import loading
from journeyman.kernels.compiling import build_library, find_compiler
from journeyman.kernels.integer_product import find_integer_product


def compiler(folder: Path, build: str) -> Path:
    """A stand-in that counts its builds; `build` is what it does to make the file `$out`."""
    path = folder / "stand-in-c++"
    path.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo 1.0; exit 0; }\n'
        f'echo build >> "{folder}/builds"\n'
        'while [ "$1" != -o ]; do shift; done; out="$2"\n' + build + "\n"
    )
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path / "cache"))


def notes() -> tuple[list[Event], object]:
    said: list[Event] = []
    return said, find_integer_product(said.append)


def test_a_library_is_built_once_and_then_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(compiler(tmp_path, 'echo whole > "$out"')))
    first, second = build_library("integer_product"), build_library("integer_product")
    assert first == second
    assert first.read_text() == "whole\n"
    assert (tmp_path / "builds").read_text() == "build\n"


def test_another_compiler_gets_a_library_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = compiler(tmp_path, 'echo whole > "$out"')
    monkeypatch.setenv("CXX", str(program))
    first = build_library("integer_product")
    program.write_text(program.read_text().replace("echo 1.0", "echo 2.0"))
    assert build_library("integer_product") != first


def test_a_build_that_fails_leaves_nothing_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = 'echo half > "$out"; echo "x.cpp:1: error: no immintrin" >&2; exit 1'
    monkeypatch.setenv("CXX", str(compiler(tmp_path, build)))
    with pytest.raises(MachineError, match="no immintrin"):
        build_library("integer_product")
    assert [path.name for path in (tmp_path / "cache" / "kernels").iterdir()] == [".lock"]
    said, kernel = notes()
    assert kernel is None
    assert any(isinstance(event, Note) and "no immintrin" in event.text for event in said)


def test_without_a_compiler_there_is_no_kernel_and_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    said, kernel = notes()
    assert kernel is None
    assert isinstance(said[-1], Note)
    assert "no C++ compiler" in said[-1].text


def test_a_compiler_that_is_named_but_absent_is_not_replaced_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O1")
    with pytest.raises(MachineError, match="no-such-compiler"):
        find_compiler()


def test_without_avx2_there_is_no_kernel_and_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "processor_flags", lambda: frozenset({"sse2"}))
    said, kernel = notes()
    assert kernel is None
    assert len(said) == 1
    assert isinstance(said[0], Note)
    assert "no AVX2 and no FMA" in said[0].text


def test_a_library_that_cannot_be_loaded_is_a_reason_and_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(compiler(tmp_path, 'echo no library > "$out"')))
    said, kernel = notes()
    assert kernel is None
    assert isinstance(said[-1], Note)
    assert "cannot be loaded" in said[-1].text


def test_a_cache_that_cannot_be_written_is_a_reason_and_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path / "file" / "below"))
    assert notes()[1] is None
