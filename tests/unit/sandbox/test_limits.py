"""Messages of an answer are made harmless, and its use of resources is measured."""

import os
from pathlib import Path

from journeyman.machine.disk import folder_bytes
from journeyman.machine.process_memory import threads_of_user, tree_memory_bytes
from tests.sandboxes import RIGHT, check


def test_a_message_with_terminal_commands_is_made_harmless() -> None:
    detail = check("raise ValueError('\\x1b[2J\\n\\x07 </script>')").detail
    assert detail.isprintable()
    assert "ValueError" in detail


def test_a_right_answer_still_passes_after_all_this() -> None:
    assert check(RIGHT).passed


def test_a_folder_with_too_many_files_has_no_size(tmp_path: Path) -> None:
    for n in range(4):
        (tmp_path / str(n)).write_bytes(bytes(4096))
    assert folder_bytes(tmp_path) == 4 * 4096
    assert folder_bytes(tmp_path, most_files=3) is None


def test_the_memory_of_this_process_is_not_nothing() -> None:
    assert tree_memory_bytes(os.getpid()) > 1024 * 1024
    assert threads_of_user(os.geteuid()) >= 1
