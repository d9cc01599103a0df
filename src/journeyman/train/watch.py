"""What a run of another process is doing, read from its folder without changing anything there.

Covered: runs on this machine. Not covered: whether a process on another machine is alive.
"""

import time
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from journeyman.machine.process_status import PROC, process_stat
from journeyman.train.checkpoint.read import PREFIX, STATE
from journeyman.train.monitor.log_file import last_lines
from journeyman.train.monitor.loss_warnings import LossWarning, loss_warnings_of
from journeyman.train.monitor.status import STALL_FACTOR, STALL_LEAST_S, Status, read_status
from journeyman.train.state import State

Verdict = Literal["absent", "running", "stalled", "suspended", "dead", "over"]


class RunObservation(Struct, frozen=True):
    """A run at one moment. why: explains the verdict. silent_s: since its last sign of life."""

    verdict: Verdict
    why: str
    status: Status | None = None
    silent_s: float | None = None
    log: tuple[str, ...] = ()
    losses: tuple[float, ...] = ()
    advice: tuple[LossWarning, ...] = ()


def observe_run(folder: Path, *, log_lines: int = 8, proc: Path = PROC) -> RunObservation:
    """What the run in a folder is doing now."""
    status = read_status(folder)
    log = last_lines(folder, log_lines)
    if status is None:
        return RunObservation("absent", f"no run has started in `{folder}` yet", log=log)
    silent_s = (time.monotonic_ns() - status.monotonic_ns) / 1e9
    verdict, why = _verdict(status, silent_s, proc)
    state = _last_state(folder)
    return RunObservation(
        verdict,
        why,
        status=status,
        # Negative if the machine has rebooted since, because the clock counts from the boot.
        silent_s=silent_s if silent_s >= 0 else None,
        log=log,
        losses=tuple(one.loss for one in state.taken) if state else (),
        advice=loss_warnings_of(state) if state else (),
    )


def _verdict(status: Status, silent_s: float, proc: Path) -> tuple[Verdict, str]:
    if status.state in ("finished", "stopped", "failed"):
        return "over", status.message or status.state
    if silent_s < 0:
        return "dead", "this machine has rebooted since the run's last sign of life"
    letter = _process_letter(status, proc)
    if letter is None:
        return "dead", f"process {status.pid} is gone without a reason: it was killed"
    if letter in "Tt":
        return "suspended", f"process {status.pid} is suspended; `kill -CONT {status.pid}` wakes it"
    # The same rule as the watchdog's, with the mean micro-batch instead of the median.
    limit_s = max(STALL_LEAST_S, STALL_FACTOR * (_micro_batch_s(status) or 0.0))
    if silent_s > limit_s:
        return "stalled", f"process {status.pid} is alive, with no progress for {silent_s:.0f} s"
    return "running", status.message or ""


def _process_letter(status: Status, proc: Path) -> str | None:
    """The kernel's letter for the state of the run's process; None if the process is gone."""
    stat = process_stat(status.pid, proc=proc)
    if stat is None:
        return None
    asleep_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    # Another process with the same id started after the run's last sign of life.
    is_other = stat.started_s - asleep_s > status.monotonic_ns / 1e9
    return None if is_other or stat.state in "ZX" else stat.state


def _micro_batch_s(status: Status) -> float | None:
    """Mean seconds of a micro-batch at the run's throughput; None while unknown."""
    if not (status.tokens_total and status.steps and status.micro_batches and status.tokens_per_s):
        return None
    return status.tokens_total / status.steps / status.micro_batches / status.tokens_per_s


def _last_state(folder: Path) -> State | None:
    """The newest checkpoint's state; None if there is none, or the run is just replacing it."""
    try:
        newest = max(folder.glob(f"{PREFIX}*/{STATE}"), key=lambda path: path.stat().st_mtime)
        return msgspec.json.decode(newest.read_bytes(), type=State)
    except (ValueError, FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None
