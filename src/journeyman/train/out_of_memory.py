"""Out of memory (OOM): report it with its numbers, and go on smaller if the user gave `--fit`.

Smaller means, in turn: micro-batches in halves while one has two rows, then gradient checkpointing.
Each step keeps its rows, so losses stay comparable; only rounding and the draws of dropout change,
and the run's lineage says since which step.

Memory runs out in two ways. If an allocation fails, this process goes on itself. If the kernel
kills the process, the next start finds out from what it left: its status and the kernel's count of
OOM kills. Not covered: which process the kernel killed; only that it killed one is known.
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
from journeyman.train.engine.devices import CUDA, device_memory, gpu_peak_bytes
from journeyman.train.identity import RunChange
from journeyman.train.monitor.status import Status, read_status
from journeyman.train.state import State, with_change

START = "start.json"

# The name of a reduction in a run's lineage.
_FIELD = "fit"
# States of a process that has not said how it ended.
_UNFINISHED = ("starting", "training", "validating", "saving")
# Without the kernel's count: a process that held more of the memory was killed for it.
_OOM_SHARE = 0.6


class OutOfMemory(Interrupted):
    """Memory ran out; what was saved is intact, and smaller micro-batches may fit."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed; on processors torch has no exception class for that."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(words in str(error) for words in ("can't allocate memory", "CUDA out of memory"))
    )


def out_of_memory(state: State, smaller: MemoryReduction | None) -> OutOfMemory:
    """The error with its numbers. smaller: what `--fit` would go on with; None: nothing is left."""
    on_gpu = gpu_peak_bytes()
    room = memory_room() if on_gpu is None else device_memory(CUDA)
    used = (peak_rss_bytes() if on_gpu is None else on_gpu) / 2**30
    reduced = f", with {state.fit}" if state.fit != MemoryReduction() else ""
    if smaller is None:
        hint = "every micro-batch is one row already: lower --max-tokens, or use a smaller base"
    else:
        hint = (
            f"add --fit to the same command to go on with {smaller}, while each step keeps its "
            "rows; or lower --max-tokens, or use a smaller base"
        )
    return OutOfMemory(
        f"out of memory after step {state.step}, micro-batch {state.micro_batch}: at most "
        f"{used:.1f} of {room.limit_bytes / 2**30:.1f} GiB were in use{reduced}",
        hint=hint,
    )


class OutOfMemoryHandler:
    """Runs work, and runs it again in smaller micro-batches when memory runs out.

    enable_checkpointing: turns on the engine's gradient checkpointing. may_reduce: whether the user
    allowed it (`--fit`). on_reduce: called with every new reduction.
    """

    def __init__(
        self,
        enable_checkpointing: Callable[[], None],
        *,
        may_reduce: bool,
        on_reduce: Callable[[MemoryReduction], None],
        report: Reporter,
    ) -> None:
        self._enable_checkpointing = enable_checkpointing
        self._may_reduce = may_reduce
        self._on_reduce = on_reduce
        self._report = report

    def run(
        self, work: Callable[[State], State], state: State, batches: Sequence[Sequence[int]]
    ) -> State:
        """The state that `work` gives, with a memory reduction if it needed one.

        `work` is called again with a state in which its step starts over, so it must not rely on
        what it did before. Raises OutOfMemory if nothing smaller is left or allowed.
        """
        while True:
            try:
                return work(state)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = next_smaller(batches, state.fit)
                if smaller is None or not self._may_reduce:
                    raise out_of_memory(state, smaller) from error
            # After the `except` block, because the error keeps every tensor of its frames alive.
            state = self._reduce(state, smaller)

    def after_kill(self, state: State, batches: Sequence[Sequence[int]]) -> State:
        """The state to start with after the kernel killed a process that had this one."""
        if not self._may_reduce:
            return state
        smaller = next_smaller(batches, state.fit)
        if smaller is None:
            raise out_of_memory(state, None)
        return self._reduce(state, smaller)

    def apply(self, reduction: MemoryReduction) -> None:
        """Make the engine use gradient checkpointing if the reduction says so."""
        if reduction.recompute:
            self._enable_checkpointing()

    def _reduce(self, state: State, reduction: MemoryReduction) -> State:
        """The state with a new reduction in effect, reported and kept in its lineage."""
        self._report(
            Caution(
                f"out of memory: from step {state.step + 1} on with {reduction}; "
                "each step keeps its rows"
            )
        )
        self.apply(reduction)
        self._on_reduce(reduction)
        return with_reduction(state, reduction)


def with_reduction(state: State, reduction: MemoryReduction) -> State:
    """The state with another memory reduction, which its lineage names."""
    change = RunChange(state.step, _FIELD, str(state.fit), str(reduction))
    return replace(with_change(state, change), fit=reduction)


def next_smaller(
    batches: Sequence[Sequence[int]], reduction: MemoryReduction
) -> MemoryReduction | None:
    """The next reduction: half the rows a micro-batch, then gradient checkpointing, then None."""
    if any(len(batch) > 1 for batch in split(batches, reduction)):
        return MemoryReduction(reduction.halvings + 1, reduction.recompute)
    return None if reduction.recompute else MemoryReduction(reduction.halvings, recompute=True)


class Start(Struct, frozen=True):
    """What a process writes when it starts, for the next one. boot: the kernel's id of the boot."""

    boot: str
    kills_for_memory: int | None
    fit: MemoryReduction = MemoryReduction()


def read_start(folder: Path) -> Start:
    """What the process before wrote; an empty one if there is nothing that can be read."""
    try:
        return msgspec.json.decode((folder / START).read_bytes(), type=Start)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return Start("", None)


def write_start(folder: Path, reduction: MemoryReduction, *, proc: Path = PROC) -> None:
    """Write it for the next process: at the start, and when the reduction changes."""
    write_json(folder / START, Start(boot_id(proc=proc), oom_kills(proc=proc), reduction))


class UnexpectedEnd(Struct, frozen=True):
    """A process that ended without saying so.

    ran_out_of_memory: whether the kernel most likely killed it for that. limit_bytes: the memory
    that it could have.
    """

    status: Status
    ran_out_of_memory: bool
    limit_bytes: int

    @property
    def was_loading(self) -> bool:
        """Whether it ended while it loaded the base model."""
        return self.status.state == "starting"

    @property
    def can_reduce(self) -> bool:
        """Whether smaller micro-batches may help: not if the base model alone does not fit."""
        return self.ran_out_of_memory and not self.was_loading

    def caution(self) -> Caution:
        """The warning for the user, with the numbers."""
        status = self.status
        place = f"in step {(status.step or 0) + 1}, micro-batch {(status.micro_batch or 0) + 1}"
        if self.ran_out_of_memory and self.was_loading:
            place = "while it loaded the base model"
        used = ""
        if status.rss_bytes is not None:
            limit = self.limit_bytes / 2**30
            used = f", with {status.rss_bytes / 2**30:.1f} of {limit:.1f} GiB in use"
        text = f"the process before this one ({status.pid}) was killed {place}{used}"
        if not self.ran_out_of_memory:
            return Caution(f"{text}; everything that was saved is intact")
        hint = "use a smaller base, or a machine with more memory"
        if self.can_reduce:
            hint = (
                "use --fit to go on with smaller micro-batches, while each step keeps its rows; "
                "or lower --max-tokens, or use a smaller base"
            )
        return Caution(
            f"{text}: most likely by the kernel, because memory ran out (OOM)", hint=hint
        )


def unexpected_end(folder: Path, *, proc: Path = PROC) -> UnexpectedEnd | None:
    """How the process before ended, if it did not say so itself; None if it did, or there was none.

    The caller must own the folder, so that no other process is alive in it.
    """
    status = read_status(folder)
    if status is None or status.state not in _UNFINISHED:
        return None
    limit = memory_room(proc=proc).limit_bytes
    start = read_start(folder)
    kills = oom_kills(proc=proc)
    if start.boot == boot_id(proc=proc) and None not in (kills, start.kills_for_memory):
        # If the kernel's count is the same as then, it did not kill this process either.
        ran_out = kills != start.kills_for_memory
    else:
        ran_out = (status.rss_bytes or 0) > _OOM_SHARE * limit
    return UnexpectedEnd(status, ran_out, limit)
