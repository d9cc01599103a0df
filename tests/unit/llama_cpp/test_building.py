"""Building llama.cpp: the pinned source, the compiler, the progress, the name of the build."""

import io
import sys
import tarfile
from pathlib import Path

import pytest

from journeyman.errors import IntegrityError, MachineError, UpstreamError
from journeyman.events import Event, Progress
from journeyman.files import sha256_of
from journeyman.llama_cpp import source
from journeyman.llama_cpp.building import NinjaLines, build_identity, require_compiler
from journeyman.llama_cpp.source import (
    ARCHIVE,
    VOCABULARIES,
    check_archive,
    fetch_source,
    fetch_vocabularies,
    unpack_source,
)

PREFIX = "llama_cpp_python-0.3.36/vendor/llama.cpp/"


def archive(path: Path, members: dict[str, str], link: tuple[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as package:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            package.addfile(member, io.BytesIO(text.encode()))
        if link is not None:
            member = tarfile.TarInfo(link[0])
            member.type, member.linkname = tarfile.SYMTYPE, link[1]
            package.addfile(member)
    return path


def test_ninja_steps_become_progress_with_the_time_left() -> None:
    now = iter([0.0, 30.0])
    said: list[Event] = []
    lines = NinjaLines(said.append, clock=lambda: next(now))
    lines("[55/220] Building CXX object src/llama.cpp.o")
    # 55 steps took 30 s, so the other 165 take 90 s.
    assert said == [Progress("build llama.cpp", 55, 220, "steps", remaining_s=90.0)]


@pytest.mark.parametrize(
    "line", ["ninja: Entering directory", "[0/0] x", "[9/3] x", "[a/b] x", "warning: [1/2] x"]
)
def test_other_lines_of_ninja_are_no_progress(line: str) -> None:
    said: list[Event] = []
    NinjaLines(said.append)(line)
    assert said == []


def test_the_name_of_a_build_follows_the_processor_and_not_the_order_of_its_flags(
    tmp_path: Path,
) -> None:
    names = {}
    for name, flags in {"a": "avx2 fma", "b": "fma avx2", "c": "fma avx2 avx512f"}.items():
        (tmp_path / name).write_text(f"model name : x\nflags\t\t: {flags}\n")
        names[name] = build_identity(tmp_path / name)
    assert names["a"] == names["b"] != names["c"]
    assert names["a"].startswith("0.3.36-")


def test_a_machine_without_a_compiler_is_told_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match=r"a C and a C\+\+ compiler") as caught:
        require_compiler()
    assert "apt install build-essential" in caught.value.hint
    assert "dnf install gcc gcc-c++" in caught.value.hint


def test_another_archive_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_bytes(b"other bytes")
    with pytest.raises(IntegrityError, match="not the pinned source"):
        check_archive(tmp_path / ARCHIVE)


def test_only_the_tree_of_llama_cpp_is_unpacked(tmp_path: Path) -> None:
    members = {
        PREFIX + "CMakeLists.txt": "project(x)",
        PREFIX + "models/vocab.gguf": "big",
        PREFIX + VOCABULARIES[0]: "used",
        "llama_cpp_python-0.3.36/setup.py": "no",
    }
    folder = unpack_source(archive(tmp_path / "a.tar.gz", members), tmp_path / "out")
    found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert found == ["CMakeLists.txt", VOCABULARIES[0]]


@pytest.mark.parametrize(
    ("member", "link"),
    [(PREFIX + "../../../../escaped", None), ("x", (PREFIX + "escape", "/etc/passwd"))],
)
def test_an_archive_that_reaches_outside_is_refused(
    tmp_path: Path, member: str, link: tuple[str, str] | None
) -> None:
    members = {member: "x", PREFIX + "CMakeLists.txt": "x"}
    with pytest.raises(IntegrityError, match="cannot be unpacked"):
        unpack_source(archive(tmp_path / "a.tar.gz", members, link), tmp_path / "in" / "out")
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("data", [b"", b"no archive", b"\x1f\x8b\x08\x00cut"])
def test_an_archive_that_is_damaged_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tar.gz").write_bytes(data)
    with pytest.raises(IntegrityError):
        unpack_source(tmp_path / "a.tar.gz", tmp_path / "out")


def offline_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


def test_the_source_is_fetched_by_the_users_own_pip_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "links").mkdir()
    name = "llama_cpp_python-0.3.36/pyproject.toml"
    backend = '[build-system]\nrequires = ["none"]\nbuild-backend = "scikit_build_core.build"\n'
    own = archive(tmp_path / "links" / ARCHIVE, {name: backend})
    offline_index(own.parent, monkeypatch)
    monkeypatch.setattr(source, "SHA256", sha256_of(own))
    (tmp_path / "to").mkdir()
    assert fetch_source(tmp_path / "to", tmp_path / "log") == tmp_path / "to" / ARCHIVE


def test_vocabularies_are_taken_out_of_the_source_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "links").mkdir()
    names = [f"llama_cpp_python-0.3.36/{name}" for name in ("pyproject.toml", "setup.py")]
    members = dict.fromkeys((*names, *(PREFIX + name for name in VOCABULARIES)), "")
    members[names[0]] = (
        '[build-system]\nrequires = ["none"]\nbuild-backend = "scikit_build_core.build"\n'
    )
    own = archive(tmp_path / "links" / ARCHIVE, members)
    offline_index(own.parent, monkeypatch)
    monkeypatch.setattr(source, "SHA256", sha256_of(own))
    (tmp_path / "to").mkdir()
    fetch_vocabularies(tmp_path / "to", tmp_path / "log")
    found = {str(p.relative_to(tmp_path / "to")) for p in (tmp_path / "to").rglob("*.*")}
    assert found == set(VOCABULARIES)


def test_an_index_without_the_source_is_an_upstream_error_that_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline_index(tmp_path, monkeypatch)
    with pytest.raises(UpstreamError, match="No matching distribution") as caught:
        fetch_source(tmp_path / "to", tmp_path / "log")
    assert "JOURNEYMAN_LLAMA_CPP" in caught.value.hint
    assert sys.executable in (tmp_path / "log").read_text()
