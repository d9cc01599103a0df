"""Out of memory: smaller micro-batches if allowed, and a process that the kernel killed."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from journeyman.train.batching.batches import MemoryReduction, split
from journeyman.train.monitor.status import new_status, write_status
from journeyman.train.out_of_memory import (
    OutOfMemory,
    OutOfMemoryHandler,
    is_out_of_memory,
    next_smaller,
    read_start,
    unexpected_end,
    write_start,
)
from journeyman.train.state import State
from tests.checkpoint_files import a_state

BATCHES = ((0, 1, 2, 3), (4, 5), (6,))


def _proc(folder: Path, kills: int, boot: str = "b1") -> Path:
    (folder / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
    (folder / "self").mkdir(exist_ok=True)
    (folder / "self/cgroup").write_text("0::/\n")
    (folder / "sys/kernel/random/boot_id").write_text(boot)
    (folder / "meminfo").write_text("MemTotal: 1000 kB\nMemAvailable: 900 kB\n")
    (folder / "vmstat").write_text(f"pgfault 5\noom_kill {kills}\n")
    return folder


def _died(folder: Path, *, share: float) -> None:
    status = new_status("training")
    write_status(
        folder,
        msgspec.structs.replace(status, step=4, micro_batch=2, rss_bytes=int(1024000 * share)),
    )


def test_an_oom_kill_is_known_by_the_kernels_own_count(tmp_path: Path) -> None:
    """Fault 16."""
    _died(tmp_path, share=0.1)
    write_start(tmp_path, MemoryReduction(1), proc=_proc(tmp_path / "proc", 3))
    found = unexpected_end(tmp_path, proc=_proc(tmp_path / "proc", 4))
    assert found is not None
    assert found.ran_out_of_memory
    assert "step 5, micro-batch 3" in found.caution().text
    assert "--fit" in found.caution().hint
    assert read_start(tmp_path).fit == MemoryReduction(1)


def test_a_kill_that_the_kernel_did_not_count_was_not_for_memory(tmp_path: Path) -> None:
    _died(tmp_path, share=0.9)
    write_start(tmp_path, MemoryReduction(), proc=_proc(tmp_path / "proc", 3))
    found = unexpected_end(tmp_path, proc=_proc(tmp_path / "proc", 3))
    assert found is not None
    assert not found.ran_out_of_memory


@pytest.mark.parametrize(("share", "expected"), [(0.9, True), (0.2, False)])
def test_after_another_boot_the_numbers_decide(
    tmp_path: Path, share: float, expected: bool
) -> None:
    _died(tmp_path, share=share)
    write_start(tmp_path, MemoryReduction(), proc=_proc(tmp_path / "proc", 3))
    found = unexpected_end(tmp_path, proc=_proc(tmp_path / "proc", 0, boot="b2"))
    assert found is not None
    assert found.ran_out_of_memory is expected
    assert "GiB" in found.caution().text


def test_a_process_that_said_how_it_ended_was_not_killed(tmp_path: Path) -> None:
    assert unexpected_end(tmp_path) is None
    for state in ("stopped", "finished", "failed"):
        write_status(tmp_path, msgspec.structs.replace(new_status("training"), state=state))
        assert unexpected_end(tmp_path) is None


def test_micro_batches_are_halved_and_every_row_stays_in_its_step() -> None:
    assert split(BATCHES, MemoryReduction()) == BATCHES
    assert split(BATCHES, MemoryReduction(1)) == ((0, 1), (2, 3), (4,), (5,), (6,))
    assert split(BATCHES, MemoryReduction(2)) == ((0,), (1,), (2,), (3,), (4,), (5,), (6,))


class _Engine:
    def __init__(self) -> None:
        self.is_checkpointing = False

    def enable_gradient_checkpointing(self) -> None:
        self.is_checkpointing = True


def _hungry(rows: int) -> Callable[[State], State]:
    """Work that runs out of memory while a micro-batch has more rows."""

    def work(state: State) -> State:
        if max(len(batch) for batch in split(BATCHES, state.fit)) > rows:
            torch.empty(1 << 50, dtype=torch.uint8)
        return state

    return work


@pytest.mark.parametrize(
    ("rows", "fit"),
    [
        (4, MemoryReduction()),
        (2, MemoryReduction(1)),
        (1, MemoryReduction(2)),
        (0, MemoryReduction(2, recompute=True)),
    ],
)
def test_with_fit_a_step_gets_smaller_until_it_fits(rows: int, fit: MemoryReduction) -> None:
    """Fault 16: a real allocation that fails; gradient checkpointing comes last."""
    engine, reductions = _Engine(), list[MemoryReduction]()
    handler = OutOfMemoryHandler(
        engine.enable_gradient_checkpointing,
        may_reduce=True,
        on_reduce=reductions.append,
        report=lambda _: None,
    )
    work = _hungry(rows) if rows else _needs_checkpointing(engine)
    state = handler.run(work, a_state(3, 1), BATCHES)
    assert state.fit == fit
    assert len(state.lineage) == len(reductions) == fit.halvings + fit.recompute
    if reductions:
        # What the step had done was in other micro-batches, so it starts over.
        assert state.in_step is None
        assert not state.is_exact


def _needs_checkpointing(engine: _Engine) -> Callable[[State], State]:
    def work(state: State) -> State:
        if not engine.is_checkpointing:
            torch.empty(1 << 50, dtype=torch.uint8)
        return state

    return work


def test_without_fit_the_answer_is_75_with_numbers() -> None:
    handler = OutOfMemoryHandler(
        lambda: None, may_reduce=False, on_reduce=lambda _: None, report=lambda _: None
    )
    with pytest.raises(OutOfMemory, match=r"of [0-9.]+ GiB were in use") as caught:
        handler.run(_hungry(2), a_state(3), BATCHES)
    assert caught.value.exit_code == 75
    assert "--fit" in caught.value.hint


def test_if_nothing_smaller_is_left_the_hint_does_not_name_fit() -> None:
    reduction = MemoryReduction(3, recompute=True)
    assert next_smaller(((1,), (2,)), reduction) is None
    handler = OutOfMemoryHandler(
        lambda: None, may_reduce=True, on_reduce=lambda _: None, report=lambda _: None
    )
    with pytest.raises(OutOfMemory) as caught:
        handler.run(_hungry(0), a_state(3), BATCHES)
    assert "--max-tokens" in caught.value.hint
    assert "--fit" not in caught.value.hint


def test_other_errors_are_not_out_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    assert is_out_of_memory(MemoryError())


def test_a_limit_on_the_address_space_is_out_of_memory() -> None:
    """Fault 16 by RLIMIT_AS, in another process."""
    code = (
        "import resource, torch\n"
        "from journeyman.train.out_of_memory import is_out_of_memory\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))\n"
        "try:\n"
        "    torch.ones(2**33)\n"
        "except RuntimeError as error:\n"
        "    raise SystemExit(0 if is_out_of_memory(error) else 1)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
