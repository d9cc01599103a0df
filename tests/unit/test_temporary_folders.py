"""Temporary folders: gone with their owner, at the latest at the next start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from journeyman.errors import MachineError
from journeyman.temporary_folders import OwnedFolder, remove_abandoned
from tests.needs import this_machine

KILLED = """
import os, signal
from journeyman.temporary_folders import OwnedFolder
folder = OwnedFolder("server")
(folder.path / "key").write_text("x")
print(folder.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder for this test."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_gone_after_its_owner_closed_it(here: Path) -> None:
    with OwnedFolder("server") as path:
        assert path.is_dir()
        assert path.name.startswith("journeyman-server-")
    assert list(here.iterdir()) == []


def test_what_a_killed_run_left_is_removed_by_the_next_start(here: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, check=False)
    left = Path(ended.stdout.decode().strip())
    assert left.is_dir()
    with OwnedFolder("packages"):
        assert not left.exists()


def test_a_folder_whose_owner_lives_stays() -> None:
    with OwnedFolder("server") as path:
        assert remove_abandoned() == []
        assert path.is_dir()


def test_a_folder_of_another_program_stays(here: Path) -> None:
    (here / "journeyman-notes").mkdir()
    (here / "journeyman-link").symlink_to(here / "journeyman-notes")
    assert remove_abandoned() == []
    assert (here / "journeyman-notes").is_dir()


@pytest.mark.skipif(
    os.geteuid() != 0,
    reason=this_machine("runs the tests as a plain user: only root can give a folder away"),
)
def test_a_folder_of_another_user_stays(here: Path) -> None:
    (here / "journeyman-theirs").mkdir()
    (here / "journeyman-theirs" / ".owner").touch()
    os.chown(here / "journeyman-theirs", 65534, 65534)
    assert remove_abandoned() == []


def test_where_no_folder_can_be_made_the_place_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")
    with pytest.raises(MachineError, match="/proc/nowhere"):
        OwnedFolder("server")
