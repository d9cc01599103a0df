"""Where llama.cpp's tools are found, and what happens to the ones in the cache."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from journeyman.errors import MachineError, UpstreamError, UsageError
from journeyman.events import Caution, Event, Note, Reporter, ignore
from journeyman.llama_cpp.building import build_identity
from journeyman.llama_cpp.finding import (
    build_into_cache,
    find_tools,
    tools_in,
    tools_in_cache,
    tools_on_path,
    with_vocabularies,
)
from journeyman.llama_cpp.source import VOCABULARIES
from journeyman.machine.processes import run_logged
from tests.fake_tools import OLD_HELP, write_tools, write_vocabularies
from tests.waiting import HANG_S, wait_for


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JOURNEYMAN_LLAMA_CPP", raising=False)
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


def build(folder: Path, log: Path, report: Reporter) -> None:
    """Stands in for the compiler: one process that counts itself, then the tools."""
    count = [sys.executable, "-c", f"open({str(log)!r} + '.runs', 'a').write('x')"]
    run_logged(count, doing="counting", log=log)
    write_tools(folder, programs="bin")


def runs(home: Path) -> int:
    return sum(len(path.read_text()) for path in home.glob("*.runs"))


@pytest.mark.parametrize("programs", ["", "bin", "build/bin"])
def test_a_named_folder_is_searched_in_its_usual_places(tmp_path: Path, programs: str) -> None:
    tools = tools_in(write_tools(tmp_path / "own", programs=programs))
    assert tools.server == tmp_path / "own" / programs / "llama-server"
    assert tools.source == tmp_path / "own"
    assert tools.identity.startswith("own-")


def test_a_named_folder_that_lacks_tools_is_refused_with_all_their_names(tmp_path: Path) -> None:
    folder = write_tools(tmp_path / "own")
    (folder / "llama-bench").unlink()
    (folder / "gguf-py" / "__init__.py").unlink()
    (folder / "gguf-py").rmdir()
    with pytest.raises(UsageError, match=r"missing: llama-bench, gguf-py/"):
        tools_in(folder)


def test_a_named_server_that_is_too_old_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"too old.*--load-mode"):
        tools_in(write_tools(tmp_path / "own", server=OLD_HELP))


def test_the_identity_of_own_tools_follows_their_bytes(tmp_path: Path) -> None:
    first = tools_in(write_tools(tmp_path / "one")).identity
    second = tools_in(write_tools(tmp_path / "two")).identity
    (tmp_path / "two" / "conversion" / "__init__.py").write_text("changed")
    assert first == second != tools_in(tmp_path / "two").identity


def test_the_variable_goes_before_the_cache_and_the_cache_before_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, on_path = write_tools(tmp_path / "own"), write_tools(tmp_path / "path")
    monkeypatch.setenv("PATH", f"{on_path}:/usr/bin:/bin")
    assert find_tools().origin == "path"
    build_into_cache(tmp_path / "cache" / "llama.cpp", build_identity(), build)
    assert find_tools().origin == "cache"
    monkeypatch.setenv("JOURNEYMAN_LLAMA_CPP", str(own))
    assert find_tools().origin == "environment"


def test_tools_on_path_without_their_converter_are_passed_over_and_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tools(tmp_path / "path")
    (folder / "convert_hf_to_gguf.py").unlink()
    monkeypatch.setenv("PATH", str(folder))
    said: list[Event] = []
    assert tools_on_path(said.append) is None
    assert "convert_hf_to_gguf.py not found with it" in str(said)


def test_tools_on_path_are_found_with_the_converter_of_their_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = write_tools(tmp_path / "tree", programs="build/bin")
    monkeypatch.setenv("PATH", f"{tree / 'build' / 'bin'}:/usr/bin:/bin")
    tools = tools_on_path()
    assert tools is not None
    assert tools.source == tree


def test_a_build_is_made_once_and_found_again(tmp_path: Path) -> None:
    first = build_into_cache(tmp_path, "id", build)
    assert build_into_cache(tmp_path, "id", build) == first
    assert (first.identity, first.origin, runs(tmp_path)) == ("id", "cache", 1)


def build_without_vocabularies(folder: Path, log: Path, report: Reporter) -> None:
    """What an earlier version built."""
    build(folder, log, report)
    shutil.rmtree(folder / "models")


def fetch(folder: Path, log: Path, report: Reporter) -> None:
    write_vocabularies(folder)


def test_an_earlier_build_gets_its_vocabularies_and_is_not_built_again(tmp_path: Path) -> None:
    old = build_into_cache(tmp_path, "id", build_without_vocabularies)
    before = old.server.stat().st_mtime_ns
    new = with_vocabularies(tmp_path, old, fetch)
    assert (old.vocabularies, new.vocabularies) == (None, tmp_path / "id" / "models")
    assert (new.server.stat().st_mtime_ns, runs(tmp_path)) == (before, 1)
    assert tools_in_cache(tmp_path, "id") == new


def test_vocabularies_that_were_changed_later_are_noticed_and_fetched_alone(
    tmp_path: Path,
) -> None:
    whole = build_into_cache(tmp_path, "id", build)
    (tmp_path / "id" / VOCABULARIES[0]).write_text("other bytes")
    damaged = tools_in_cache(tmp_path, "id")
    assert damaged is not None
    assert damaged.vocabularies is None
    assert with_vocabularies(tmp_path, damaged, fetch) == whole
    assert runs(tmp_path) == 1


def test_tools_without_vocabularies_are_used_where_none_can_be_fetched(tmp_path: Path) -> None:
    def fail(folder: Path, log: Path, report: Reporter) -> None:
        write_vocabularies(folder)
        raise UpstreamError("no index", hint="set one")

    old = build_into_cache(tmp_path, "id", build_without_vocabularies)
    said: list[Event] = []
    assert with_vocabularies(tmp_path, old, fail, said.append) == old
    assert len(said) == 1
    assert isinstance(said[0], Caution)
    assert ("no index" in said[0].text, said[0].hint) == (True, "set one")
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_build_that_fails_leaves_its_log_and_nothing_under_its_name(tmp_path: Path) -> None:
    def fail(folder: Path, log: Path, report: Reporter) -> None:
        (folder / "half").write_text("made")
        run_logged(["sh", "-c", "echo no such header; exit 3"], doing="building", log=log)

    with pytest.raises(MachineError, match="no such header") as caught:
        build_into_cache(tmp_path, "id", fail)
    assert str(tmp_path / "build-id.log") in caught.value.hint
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "build-id.log"]
    assert "no such header" in (tmp_path / "build-id.log").read_text()


def test_a_changed_tool_is_noticed_and_built_again(tmp_path: Path) -> None:
    tools = build_into_cache(tmp_path, "id", build)
    tools.quantize.write_text("#!/bin/sh\nexit 1\n")
    said: list[Event] = []
    assert tools_in_cache(tmp_path, "id", said.append) is None
    assert isinstance(said[0], Caution)
    assert "bin/llama-quantize" in said[0].text
    assert build_into_cache(tmp_path, "id", build).identity == "id"
    assert runs(tmp_path) == 2


def test_a_tool_with_another_time_and_the_same_bytes_is_whole(tmp_path: Path) -> None:
    tools = build_into_cache(tmp_path, "id", build)
    os.utime(tools.server, (1, 1))
    assert tools_in_cache(tmp_path, "id") == tools


def test_what_a_killed_build_left_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".tmp-id-12345678" / "bin").mkdir(parents=True)
    build_into_cache(tmp_path, "id", build)
    assert not list(tmp_path.glob(".tmp-*"))


def slow_build(folder: Path, log: Path, report: Reporter) -> None:
    build(folder, log, report)
    (log.parent / "begun").touch()
    while not (log.parent / "go").exists():
        time.sleep(0.01)


def build_slowly(home: Path) -> None:
    build_into_cache(home, "id", slow_build, ignore)


def test_a_second_process_waits_for_the_first_and_takes_what_it_made(tmp_path: Path) -> None:
    other = multiprocessing.get_context("spawn").Process(target=build_slowly, args=(tmp_path,))
    other.start()
    wait_for("the other process builds", (tmp_path / "begun").exists)
    said: list[Event] = []

    def report(event: Event) -> None:
        said.append(event)
        (tmp_path / "go").touch()

    tools = build_into_cache(tmp_path, "id", build, report)
    other.join(HANG_S)
    assert (other.exitcode, runs(tmp_path), tools.identity) == (0, 1, "id")
    assert len(said) == 1
    assert isinstance(said[0], Note)
    assert f"process {other.pid}" in said[0].text


def test_a_killed_builder_frees_the_way_and_takes_its_compiler_with_it(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        from pathlib import Path
        from journeyman.llama_cpp.finding import build_into_cache
        from journeyman.machine.processes import run_logged
        def build(folder, log, report):
            run_logged(["sh", "-c", "echo $$ > '{tmp_path}/pid'; exec sleep 600"],
                       doing="building", log=log)
        build_into_cache(Path("{tmp_path}"), "id", build)
    """)
    killed = subprocess.Popen([sys.executable, "-c", script])
    pid_file = tmp_path / "pid"
    wait_for("the compiler runs", lambda: pid_file.exists() and pid_file.read_text().strip())
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    compiler = Path(f"/proc/{pid_file.read_text().strip()}/cmdline")
    wait_for("the compiler ends", lambda: not compiler.exists() or not compiler.read_bytes())
    assert build_into_cache(tmp_path, "id", build).identity == "id"
