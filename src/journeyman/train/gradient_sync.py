"""How the processes of a run share its work: micro-batches in rounds, one for each process.

A step's micro-batches are taken in order, as many at once as there are processes, so that after
each round the first so many are done: a run may stop there and go on with another number of
processes. They are sorted by length, so those of a round take about as long. Dropout is drawn by a
micro-batch's place in its step, so the draws are those of one process; only sums differ in order.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from journeyman.train.engine.interface import Tally
from journeyman.train.out_of_memory import is_out_of_memory
from journeyman.train.parallel.group import ProcessGroup
from journeyman.train.state import State

if TYPE_CHECKING:
    from torch import Tensor

    from journeyman.train.engine.optimizer import Optimizer

_PROCESS = "process-"


class SharedStep(Struct, frozen=True):
    """What all processes together did, and the first one whose loss is no number."""

    tally: Tally
    not_finite: int | None = None


def summed(group: ProcessGroup, work: Callable[[], Tally]) -> SharedStep:
    """The sum of what the work of each process gives. What one process lacks memory for, all do.

    Raises MemoryError in every process where it was raised in one, so that all answer it alike.
    """
    if group.size == 1:
        found = work()
        return SharedStep(found, None if math.isfinite(found.loss_sum) else 0)
    failed, found = 0.0, Tally()
    try:
        found = work()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        failed = 1.0
    loss_sum, *counts, failures = group.sum_numbers([*msgspec.structs.astuple(found), failed])
    if failures:
        raise MemoryError(f"in {failures:.0f} of {group.size} processes")
    trained, real, computed = (int(one) for one in counts)
    tally = Tally(loss_sum, trained, real, computed)
    return SharedStep(tally, None if math.isfinite(loss_sum) else _first_not_finite(group, found))


def _first_not_finite(group: ProcessGroup, found: Tally) -> int:
    flags = [0.0] * group.size
    flags[group.rank] = float(not math.isfinite(found.loss_sum))
    return next((rank for rank, flag in enumerate(group.sum_numbers(flags)) if flag), 0)


def sum_gradients(group: ProcessGroup, optimizer: "Optimizer") -> None:
    """Give every process the gradient of all of them: one sum a step."""
    if group.size == 1:
        return
    # A process that had no micro-batch in this step has no gradient yet.
    optimizer.restore_gradients(optimizer.no_gradients() | optimizer.gradients())
    group.sum_(list(optimizer.gradients().values()))


def agree(group: ProcessGroup, parameters: Mapping[str, "Tensor"]) -> None:
    """Give every process the adapter of process 0.

    Equal sums give equal updates on like processors; on unlike ones the last bit may differ, and
    differences would grow.
    """
    if group.size > 1:
        group.from_first_([parameter.detach() for parameter in parameters.values()])


def share_start(
    group: ProcessGroup,
    state: State | None,
    optimizer: "Optimizer",
    gradients: Mapping[str, "Tensor"],
) -> State:
    """The state to begin with, with moments and gradients in place; all are those of process 0.

    state: None in every other process.
    gradients: of the step in hand, as `gather_gradients` gave them; only process 0 has them. Each
    process gets its own again where there are as many as there were; else process 0 gets the sum.
    """
    text = group.text_from_first(msgspec.json.encode(state).decode())
    shared = msgspec.json.decode(text, type=State)
    if shared.step and group.size > 1:
        if group.rank:
            optimizer.restore(optimizer.no_moments(), step=shared.step)
        group.from_first_(list(optimizer.tensors().values()))
    if shared.in_step is not None:
        _share_gradients(group, optimizer, _by_process(gradients))
    return shared


def _share_gradients(
    group: ProcessGroup, optimizer: "Optimizer", parts: Sequence[dict[str, "Tensor"]]
) -> None:
    count = int(group.text_from_first(str(len(parts))))
    if count != group.size:
        if group.rank == 0:
            first, *others = parts
            for part in others:
                first = {name: first[name] + tensor for name, tensor in part.items()}
            optimizer.restore_gradients(first)
        return
    if group.rank == 0:
        optimizer.restore_gradients(parts[0])
    for rank in range(1, count):
        part = parts[rank] if group.rank == 0 else optimizer.no_gradients()
        group.from_first_(list(part.values()))
        if group.rank == rank:
            optimizer.restore_gradients(part)


def _by_process(gradients: Mapping[str, "Tensor"]) -> list[dict[str, "Tensor"]]:
    """The gradients of each process, by the parameters' names and in one order."""
    parts: dict[int, dict[str, Tensor]] = {}
    for key in sorted(gradients):
        process, _, name = key.rpartition("/")
        rank = int(process.removeprefix(_PROCESS)) if process else 0
        parts.setdefault(rank, {})[name] = gradients[key]
    return [parts[rank] for rank in sorted(parts)]


def gather_gradients(
    group: ProcessGroup, state: State, optimizer: "Optimizer"
) -> dict[str, "Tensor"]:
    """Every process's gradients of the step in hand, those of process R by `process-R/NAME`.

    They are kept apart because a sum taken earlier than at the step's end would round otherwise.
    """
    if not state.micro_batch:
        return {}
    found = optimizer.gradients()
    for rank in range(1, group.size):
        part = optimizer.no_gradients()
        if group.rank == rank:
            part |= optimizer.gradients()
        # Each adds nothing but the one, so that the sum is that one's.
        group.sum_(list(part.values()))
        found |= {f"{_PROCESS}{rank}/{name}": tensor for name, tensor in part.items()}
    return found


def busy_share(
    steps: Sequence[Sequence[Sequence[int]]], lengths: Sequence[int], size: int
) -> float:
    """The share (0..1) of the time in which a process works and does not wait for a longer round.

    steps: the micro-batches of each step, as rows. lengths: tokens of each row.
    """
    worked = waited = 0
    for batches in steps:
        tokens = [sum(lengths[index] for index in batch) for batch in batches]
        for start in range(0, len(tokens), size):
            worked += sum(tokens[start : start + size])
            waited += size * max(tokens[start : start + size])
    return worked / waited
