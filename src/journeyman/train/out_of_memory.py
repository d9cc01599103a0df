"""Out of memory: answered by the numbers and, where the user allowed it, by going on smaller.

Not covered: a process that the kernel kills says nothing; the next start finds out (`outages`).

The same rows a step in smaller micro-batches: losses stay comparable, memory goes down.

Only rounding and the draws of dropout change, and a run's lineage says since when.

How the process before this one ended, from what it left: its status, and the kernel's count.

Not covered: which process the kernel killed; that one was is known, and what this one used.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from journeyman.errors import Interrupted
from journeyman.events import Caution, Reporter
from journeyman.files import write_json
from journeyman.machine.memory_limits import memory_room
from journeyman.machine.oom_kills import boot_id, oom_kills
from journeyman.machine.process_memory import peak_rss_bytes
from journeyman.machine.process_status import PROC
from journeyman.train.batching.batches import MemoryReduction, split
from journeyman.train.engine.devices import CUDA, gpu_peak_bytes, room_on
from journeyman.train.engine.interface import CheckpointingEngine
from journeyman.train.identity import Change
from journeyman.train.monitor.status import Status, read_status
from journeyman.train.state import State, with_change

FIELD = "fit"


class OutOfMemory(Interrupted):
    """Memory did not suffice; what was saved is intact, and smaller micro-batches may go on."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed; torch has no class of its own for that on processors."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(words in str(error) for words in ("can't allocate memory", "CUDA out of memory"))
    )


def out_of_memory(state: State, smaller: MemoryReduction | None) -> OutOfMemory:
    """The error with its numbers; the hint says how to go on with `smaller`, None: nothing is."""
    on_gpu = gpu_peak_bytes()
    room = memory_room() if on_gpu is None else room_on(CUDA)
    used = (peak_rss_bytes() if on_gpu is None else on_gpu) / 2**30
    limit = room.limit_bytes / 2**30
    return OutOfMemory(
        f"not enough memory after step {state.step}, micro-batch {state.micro_batch}: "
        f"{used:.1f} of {limit:.1f} GiB were in use at most, with {state.fit}",
        hint=advice(smaller),
    )


def advice(smaller: MemoryReduction | None) -> str:
    """The next step for a user whose run needs `smaller`, or has nothing smaller left."""
    if smaller is None:
        return "micro-batches are single rows already: lower --max-tokens, or take a smaller base"
    return (
        f"give the same command with --fit: it goes on with {smaller}, and each step keeps its "
        "rows; or lower --max-tokens, or take a smaller base"
    )


class OutOfMemoryHandler:
    """Does work in smaller parts until it fits, where the user allowed that (`--fit`).

    adopted: called with each fit that was found necessary.
    """

    def __init__(
        self,
        engine: object,
        *,
        allowed: bool,
        adopted: Callable[[MemoryReduction], None],
        report: Reporter,
    ) -> None:
        self._engine = engine
        self._allowed = allowed
        self._adopted = adopted
        self._report = report

    def run(
        self, work: Callable[[State], State], state: State, batches: Sequence[Sequence[int]]
    ) -> State:
        """What `work` makes of the state, smaller where it had to be. Raises OutOfMemory.

        `work` is called again from the beginning of its step and must forget what it had done.
        """
        while True:
            try:
                return work(state)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = next_smaller(batches, state.fit, self._engine)
                if smaller is None or not self._allowed:
                    raise out_of_memory(state, smaller) from error
            # Here and not above: while the error lives, so does every tensor of its frames.
            state = self.adopt(state, smaller)

    def after_kill(self, state: State, batches: Sequence[Sequence[int]]) -> State:
        """The state to begin with after the kernel has killed a process that had this one."""
        smaller = next_smaller(batches, state.fit, self._engine)
        if not self._allowed:
            return state
        if smaller is None:
            raise out_of_memory(state, None)
        return self.adopt(state, smaller)

    def adopt(self, state: State, fit: MemoryReduction) -> State:
        """The state with a fit that is in effect from now on; said, and kept in the lineage."""
        self._report(
            Caution(
                f"memory did not suffice: from step {state.step + 1} on with {fit}; "
                "each step keeps its rows"
            )
        )
        self.apply(fit)
        self._adopted(fit)
        change = Change(state.step, FIELD, str(state.fit), str(fit))
        return replace(with_change(state, change), fit=fit)

    def apply(self, fit: MemoryReduction) -> None:
        """Put a fit into effect where that is the engine's affair."""
        if fit.recompute and isinstance(self._engine, CheckpointingEngine):
            self._engine.enable_gradient_checkpointing()


def next_smaller(
    batches: Sequence[Sequence[int]], fit: MemoryReduction, engine: object
) -> MemoryReduction | None:
    """Halved once more while a micro-batch has two rows, then recomputation, then None."""
    if any(len(batch) > 1 for batch in split(batches, fit)):
        return MemoryReduction(fit.halvings + 1, fit.recompute)
    if isinstance(engine, CheckpointingEngine) and not fit.recompute:
        return MemoryReduction(fit.halvings, recompute=True)
    return None


START = "start.json"

_ALIVE = ("starting", "training", "validating", "saving")

_MUCH = 0.6


class Start(Struct, frozen=True):
    """What a process leaves at its start for the next one. `boot` tells one boot from another."""

    boot: str
    kills_for_memory: int | None
    fit: MemoryReduction = MemoryReduction()


class UnexpectedEnd(Struct, frozen=True):
    """A process that ended without a word. `for_memory`: most likely killed for want of it."""

    status: Status
    for_memory: bool
    limit_bytes: int

    @property
    def is_of_the_base(self) -> bool:
        """Whether the base itself does not fit, so that smaller micro-batches do not help."""
        return self.for_memory and self.status.state == "starting"

    def caution(self) -> Caution:
        """What the user is told, with the numbers."""
        status = self.status
        where = f"step {(status.step or 0) + 1}, micro-batch {(status.micro_batch or 0) + 1}"
        used = (
            ""
            if status.rss_bytes is None
            else f" at {status.rss_bytes / 2**30:.1f} of {self.limit_bytes / 2**30:.1f} GiB"
        )
        ended = f"the process before this one ({status.pid}) was killed in {where}{used}"
        if not self.for_memory:
            return Caution(f"{ended}; nothing that was saved is lost")
        if self.is_of_the_base:
            return Caution(
                f"the process before this one ({status.pid}) was killed while the base was loaded"
                f"{used}: most likely by the kernel, for want of memory",
                hint="take a smaller base, or a machine with more memory",
            )
        return Caution(
            f"{ended}: most likely by the kernel, for want of memory",
            hint="--fit goes on with smaller micro-batches by itself, each step keeps its rows; "
            "or lower --max-tokens, or take a smaller base",
        )


def read_start(folder: Path) -> Start:
    """What the process before left; a fresh one where there is nothing that can be read."""
    try:
        return msgspec.json.decode((folder / START).read_bytes(), type=Start)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return Start("", None)


def write_start(folder: Path, fit: MemoryReduction, *, proc: Path = PROC) -> None:
    """Leave word for the next process; again whenever the fit changes."""
    write_json(folder / START, Start(boot_id(proc=proc), oom_kills(proc=proc), fit))


def outage(folder: Path, *, proc: Path = PROC) -> UnexpectedEnd | None:
    """How the process before ended; None where it said so itself, or there was none.

    The caller owns the folder, so that no other process can be alive in it.
    """
    status = read_status(folder)
    if status is None or status.state not in _ALIVE:
        return None
    limit = memory_room(proc=proc).limit_bytes
    start = read_start(folder)
    counted = oom_kills(proc=proc)
    if start.boot == boot_id(proc=proc) and None not in (counted, start.kills_for_memory):
        # The kernel counts: if it killed nobody since then, then not this one either.
        killed = counted != start.kills_for_memory
    else:
        killed = (status.rss_bytes or 0) > _MUCH * limit
    return UnexpectedEnd(status, killed, limit)
