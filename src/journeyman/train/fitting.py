"""Out of memory: answered by the numbers and, where the user allowed it, by going on smaller.

Not covered: a process that the kernel kills says nothing; the next start finds out (`outages`).
"""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from journeyman.errors import Interrupted
from journeyman.events import Caution, Reporter
from journeyman.train.devices import CUDA, gpu_peak_bytes, room_on
from journeyman.train.fit import CheckpointingEngine, MemoryReduction, next_smaller
from journeyman.train.identity import Change
from journeyman.train.memory import peak_rss_bytes
from journeyman.train.plan.resources import memory_room
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
            self._engine.recompute()
