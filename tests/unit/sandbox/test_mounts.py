"""What the sandbox's user can reach as it is, and what must be copied."""

import tempfile
from pathlib import Path

from journeyman.sandbox.mounts import open_to_all


def test_a_link_in_a_closed_folder_reaches_nothing(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        program = Path(folder, "program")
        program.touch(mode=0o755)
        (closed / "link").symlink_to(folder)
        assert open_to_all(program)
        assert not open_to_all(closed / "link" / "program")
