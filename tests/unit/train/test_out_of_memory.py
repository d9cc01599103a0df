"""What watches over a run: spikes, stalls, clocks, memory, and how the process before ended."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from journeyman.events import Caution, Event
from journeyman.train.batching.batches import MemoryReduction, split
from journeyman.train.monitor.status import (
    STATUS,
    Watchdog,
    heartbeat,
    new_status,
    read_status,
    write_status,
)
from journeyman.train.out_of_memory import (
    OutOfMemory,
    OutOfMemoryHandler,
    is_out_of_memory,
    next_smaller,
    outage,
    read_start,
    write_start,
)
from journeyman.train.state import State, is_spike
from tests.checkpoint_files import a_state
from tests.waiting import wait_for

BATCHES = ((0, 1, 2, 3), (4, 5), (6,))


def test_a_loss_of_twenty_times_is_a_spike_and_noise_is_none() -> None:
    """Fault 28."""
    before = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.02, 0.98]
    assert is_spike(20.0, before)
    assert not is_spike(1.2, before)
    assert not is_spike(20.0, before[:7])


def test_a_stall_is_told_once_with_the_stacks_of_all_threads(tmp_path: Path) -> None:
    """Fault 30: a loader that sleeps."""
    told: list[tuple[float, Path]] = []
    with Watchdog(tmp_path, lambda s, path: told.append((s, path)), least_s=0.05):
        wait_for("the stall is noticed", lambda: told)
        time.sleep(0.1)  # twice as long as a stall takes: it could be told again
    assert len(told) == 1
    assert "test_a_stall_is_told_once" in told[0][1].read_text()


def test_ten_times_the_median_is_waited_for(tmp_path: Path) -> None:
    watchdog = Watchdog(tmp_path, lambda *_: None, least_s=0.0)
    watchdog._intervals_s.extend([1.0, 2.0, 60.0])
    assert watchdog.limit_s == 20.0
    assert Watchdog(tmp_path, lambda *_: None).limit_s == 600.0


def test_a_clock_that_jumps_is_said_and_touches_no_duration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 31."""
    events: list[Event] = []
    with heartbeat(tmp_path, events.append) as beat:
        beat.beat(beat.status)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() - 86400.0)
        beat.beat(beat.status)
        beat.beat(beat.status)
    texts = [event.text for event in events if isinstance(event, Caution)]
    assert len(texts) == 1
    assert "-86400 s" in texts[0]


@pytest.mark.parametrize(
    ("error", "state"), [(ZeroDivisionError, "failed"), (KeyboardInterrupt, "stopped")]
)
def test_the_last_status_says_how_a_run_ended(
    tmp_path: Path, error: type[BaseException], state: str
) -> None:
    with pytest.raises(error), heartbeat(tmp_path, lambda _: None):
        raise error
    status = read_status(tmp_path)
    assert status is not None
    assert status.state == state


def test_a_status_that_cannot_be_written_is_said_once_and_ends_nothing(tmp_path: Path) -> None:
    events: list[Event] = []
    (tmp_path / STATUS).mkdir()
    with heartbeat(tmp_path, events.append) as beat:
        beat.beat(beat.status)
    assert [type(event) for event in events] == [Caution]


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


def test_a_kill_for_memory_is_known_by_the_kernels_own_count(tmp_path: Path) -> None:
    """Fault 16."""
    _died(tmp_path, share=0.1)
    write_start(tmp_path, MemoryReduction(1), proc=_proc(tmp_path / "proc", 3))
    found = outage(tmp_path, proc=_proc(tmp_path / "proc", 4))
    assert found is not None
    assert found.for_memory
    assert "step 5, micro-batch 3" in found.caution().text
    assert "--fit" in found.caution().hint
    assert read_start(tmp_path).fit == MemoryReduction(1)


def test_a_kill_that_the_kernel_did_not_count_was_not_for_memory(tmp_path: Path) -> None:
    _died(tmp_path, share=0.9)
    write_start(tmp_path, MemoryReduction(), proc=_proc(tmp_path / "proc", 3))
    found = outage(tmp_path, proc=_proc(tmp_path / "proc", 3))
    assert found is not None
    assert not found.for_memory


@pytest.mark.parametrize(("share", "expected"), [(0.9, True), (0.2, False)])
def test_after_another_boot_the_numbers_decide(
    tmp_path: Path, share: float, expected: bool
) -> None:
    _died(tmp_path, share=share)
    write_start(tmp_path, MemoryReduction(), proc=_proc(tmp_path / "proc", 3))
    found = outage(tmp_path, proc=_proc(tmp_path / "proc", 0, boot="b2"))
    assert found is not None
    assert found.for_memory is expected
    assert "GiB" in found.caution().text


def test_a_process_that_said_how_it_ended_was_not_killed(tmp_path: Path) -> None:
    assert outage(tmp_path) is None
    for state in ("stopped", "finished", "failed"):
        write_status(tmp_path, msgspec.structs.replace(new_status("training"), state=state))
        assert outage(tmp_path) is None


def test_micro_batches_are_halved_and_every_row_stays_in_its_step() -> None:
    assert split(BATCHES, MemoryReduction()) == BATCHES
    assert split(BATCHES, MemoryReduction(1)) == ((0, 1), (2, 3), (4,), (5,), (6,))
    assert split(BATCHES, MemoryReduction(2)) == ((0,), (1,), (2,), (3,), (4,), (5,), (6,))


class _Engine:
    def __init__(self) -> None:
        self.recomputes = False

    def enable_gradient_checkpointing(self) -> None:
        self.recomputes = True


def _hungry(rows: int) -> Callable[[State], State]:
    """Work that asks torch for far too much while a micro-batch has more rows."""

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
    """Fault 16: a real allocation that fails; recomputation comes last."""
    engine, adopted = _Engine(), list[MemoryReduction]()
    fitter = OutOfMemoryHandler(engine, allowed=True, adopted=adopted.append, report=lambda _: None)
    work = _hungry(rows) if rows else _needs_recompute(engine)
    state = fitter.run(work, a_state(3, 1), BATCHES)
    assert state.fit == fit
    assert len(state.lineage) == len(adopted) == fit.halvings + fit.recompute
    if adopted:
        # What the step had done was done in other micro-batches, so it begins again.
        assert state.in_step is None
        assert not state.is_exact


def _needs_recompute(engine: _Engine) -> Callable[[State], State]:
    def work(state: State) -> State:
        if not engine.recomputes:
            torch.empty(1 << 50, dtype=torch.uint8)
        return state

    return work


def test_without_fit_the_answer_is_75_with_numbers() -> None:
    fitter = OutOfMemoryHandler(
        _Engine(), allowed=False, adopted=lambda _: None, report=lambda _: None
    )
    with pytest.raises(OutOfMemory, match=r"of [0-9.]+ GiB were in use") as caught:
        fitter.run(_hungry(2), a_state(3), BATCHES)
    assert caught.value.exit_code == 75
    assert "--fit" in caught.value.hint


def test_where_nothing_smaller_is_left_the_hint_is_another() -> None:
    assert next_smaller(((1,), (2,)), MemoryReduction(3), object()) is None
    fitter = OutOfMemoryHandler(
        object(), allowed=True, adopted=lambda _: None, report=lambda _: None
    )
    with pytest.raises(OutOfMemory) as caught:
        fitter.run(_needs_recompute(_Engine()), a_state(3), BATCHES)
    assert "--max-tokens" in caught.value.hint


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    assert is_out_of_memory(MemoryError())


def test_a_limit_on_the_address_space_is_a_lack_of_memory() -> None:
    """Fault 16 by RLIMIT_AS, in a process of its own."""
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
