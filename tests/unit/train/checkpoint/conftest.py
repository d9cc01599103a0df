"""What the tests of checkpoints share: a folder that syncs at once."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder_in_memory(tmp_path: Path) -> Iterator[Path]:
    """A temporary folder in memory, for tests that sync hundreds of files.

    On a disk they wait for it: half a minute if others use it too.
    """
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="journeyman-") as folder:
        yield Path(folder)
