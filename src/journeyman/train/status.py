"""`status.json`: the heartbeat of a run, for other terminals and for the next start.

One file in the output folder, replaced after every micro-batch. Not covered: a power cut, after
which it may be old or empty; nothing that a run needs to go on stands in it.
"""

import datetime
import os
import time
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

STATUS = "status.json"

Phase = Literal["starting", "training", "validating", "saving", "stopped", "finished", "failed"]


class Status(Struct, frozen=True, kw_only=True):
    """What a run is doing. Counts begin at 0; losses in nats a trained token; None: not known.

    `step` and `micro_batch` are what is done, `steps` and `micro_batches` how many there are (the
    latter in the step in hand). `limit_share` is the share of what the machine can compute, 0..1.
    `monotonic_ns` is the clock since boot: differences hold also where somebody sets the clock.
    """

    state: Phase
    pid: int
    process_count: int = 1
    step: int | None = None
    steps: int | None = None
    micro_batch: int | None = None
    micro_batches: int | None = None
    epoch: int | None = None
    tokens_done: int | None = None
    tokens_total: int | None = None
    tokens_per_s: float | None = None
    loss: float | None = None
    validation_loss: float | None = None
    learning_rate: float | None = None
    rss_bytes: int | None = None
    eta_s: float | None = None
    limit_share: float | None = None
    updated_at: str
    monotonic_ns: int
    message: str | None = None


def new_status(state: Phase, *, process_count: int = 1, message: str | None = None) -> Status:
    """A status of this process at this moment, with nothing else known."""
    return Status(
        state=state,
        pid=os.getpid(),
        process_count=process_count,
        updated_at=_now(),
        monotonic_ns=time.monotonic_ns(),
        message=message,
    )


def write_status(folder: Path, status: Status) -> None:
    """Replace the folder's `status.json`, stamped with this moment; a reader never sees half.

    Not synced to the disk: it is written often, and only a power cut could show the difference.
    """
    stamped = msgspec.structs.replace(status, updated_at=_now(), monotonic_ns=time.monotonic_ns())
    temporary = folder / f".tmp-{STATUS}-{os.getpid()}"
    temporary.write_bytes(msgspec.json.encode(stamped))
    temporary.replace(folder / STATUS)


def read_status(folder: Path) -> Status | None:
    """The folder's status; None where there is none, or none that can be read."""
    try:
        return msgspec.json.decode((folder / STATUS).read_bytes(), type=Status)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
