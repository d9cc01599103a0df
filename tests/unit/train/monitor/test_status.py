"""The heartbeat file: whole at every moment, and read back as it was written."""

import os
from pathlib import Path

import msgspec

from journeyman.train.monitor.status import STATUS, new_status, read_status, write_status

FIELDS = (
    "state pid process_count step steps micro_batch micro_batches epoch tokens_done tokens_total "
    "tokens_per_s loss validation_loss learning_rate rss_bytes eta_s limit_share updated_at "
    "monotonic_ns message"
)


def test_a_status_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_status(tmp_path, msgspec.structs.replace(new_status("training"), step=3, loss=1.5))
    found = read_status(tmp_path)
    assert found is not None
    assert (found.state, found.pid, found.step, found.loss) == ("training", os.getpid(), 3, 1.5)


def test_the_file_names_every_field_and_null_where_nothing_is_known(tmp_path: Path) -> None:
    write_status(tmp_path, new_status("starting"))
    written = msgspec.json.decode((tmp_path / STATUS).read_bytes())
    assert list(written) == FIELDS.split()
    assert written["limit_share"] is None


def test_a_later_status_is_later_on_both_clocks(tmp_path: Path) -> None:
    status = new_status("starting")
    write_status(tmp_path, status)
    found = read_status(tmp_path)
    assert found is not None
    assert found.monotonic_ns >= status.monotonic_ns
    assert found.updated_at >= status.updated_at


def test_an_unreadable_status_is_none(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    for junk in (b"", b"{", b"\xff\xfe", b'{"state": "dancing"}', b"[]"):
        (tmp_path / STATUS).write_bytes(junk)
        assert read_status(tmp_path) is None


def test_nothing_but_the_status_is_left_behind(tmp_path: Path) -> None:
    for _ in range(3):
        write_status(tmp_path, new_status("training"))
    assert [path.name for path in tmp_path.iterdir()] == [STATUS]
