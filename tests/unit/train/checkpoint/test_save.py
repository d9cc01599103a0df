"""Saving with every fault: killed, a full disk, a failing disk. Nothing good is ever lost."""

import errno
import os
import resource
from pathlib import Path

import pytest

from journeyman.errors import IntegrityError, MachineError
from journeyman.events import Event
from journeyman.train.checkpoint.read import newest_good
from tests.checkpoint_files import a_state, copied, places, saved
from tests.fail_points import killed_at


@pytest.mark.parametrize("micro_batch", [0, 2])
def test_killed_at_every_fail_point_of_a_save_the_newest_is_good(
    folder_in_memory: Path, micro_batch: int
) -> None:
    """Faults 2 and 3: at every file operation of a save, and of the rotation after it."""
    before = folder_in_memory / "before"
    for step in (1, 2):
        saved(before, step)
    point, newest = 0, set()
    while True:
        point += 1
        folder = copied(before, folder_in_memory / "killed")
        if not killed_at(point, lambda: saved(folder, 3, micro_batch)):  # noqa: B023
            break
        events: list[Event] = []
        found = newest_good(folder, events.append)
        assert found is not None
        assert events == []
        assert found.state in (a_state(2), a_state(3, micro_batch))
        newest.add(found.state.position)
        saved(folder, 4)
        assert places(folder)[0] == (4, 0)
    assert newest == {(2, 0), (3, micro_batch)}
    # Fewer would mean that the wrapping misses calls: 7 files, each opened and synced, and folders.
    assert point > 40


def _failing(number: int) -> object:
    def fsync(_: int) -> None:
        raise OSError(number, os.strerror(number))

    return fsync


def test_a_disk_that_fails_is_not_trusted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 12: EIO on fsync; no checkpoint appears, and saving is not tried again."""
    saved(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _failing(errno.EIO))
        with pytest.raises(IntegrityError, match="the disk failed") as caught:
            saved(tmp_path, 2)
    assert caught.value.exit_code == 6
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_a_disk_that_is_full_in_the_middle_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 10: the disk was filled after the check of its free space."""
    saved(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _failing(errno.ENOSPC))
        with pytest.raises(MachineError, match="No space left on device"):
            saved(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]
    saved(tmp_path, 2)
    assert places(tmp_path) == [(2, 0), (1, 0)]


def test_a_limit_on_the_size_of_files_is_named(tmp_path: Path) -> None:
    """Fault 11: EFBIG from the kernel, inside of the tensors' own writer."""
    saved(tmp_path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(MachineError, match="File too large"):
            saved(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]
