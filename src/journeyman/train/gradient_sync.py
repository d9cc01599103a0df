"""How the processes of a data parallel run share a step: micro-batches in rounds, one each.

A step's micro-batches are taken in order, one for each process and round. After a round, the first
so many of them are done, so that a run may stop there and go on with another number of processes.
They are sorted by length, so those of a round take about equally long. Dropout depends on a
micro-batch's number in its step and is the same as in one process; only the order of sums differs.
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

_PREFIX = "process-"


class RoundTally(Struct, frozen=True):
    """The tally of all processes in one round. not_finite: the first rank with such a loss."""

    tally: Tally
    not_finite: int | None = None


def sum_tallies(group: ProcessGroup, work: Callable[[], Tally]) -> RoundTally:
    """Do this process's work of a round, and sum the tallies of all.

    If one process runs out of memory, MemoryError is raised in all of them, so that all reduce.
    """
    if group.size == 1:
        tally = work()
        return RoundTally(tally, None if math.isfinite(tally.loss_sum) else 0)
    failed, own = 0.0, Tally()
    try:
        own = work()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        failed = 1.0
    loss_sum, *counts, failures = group.sum_numbers([*msgspec.structs.astuple(own), failed])
    if failures:
        raise MemoryError(f"in {failures:.0f} of {group.size} processes")
    trained, real, computed = (int(one) for one in counts)
    tally = Tally(loss_sum, trained, real, computed)
    return RoundTally(tally, None if math.isfinite(loss_sum) else _first_not_finite(group, own))


def _first_not_finite(group: ProcessGroup, own: Tally) -> int:
    flags = [0.0] * group.size
    flags[group.rank] = float(not math.isfinite(own.loss_sum))
    return next((rank for rank, flag in enumerate(group.sum_numbers(flags)) if flag), 0)


def sum_gradients(group: ProcessGroup, optimizer: "Optimizer") -> None:
    """Replace the gradients of every process by their sum over all; once a step."""
    if group.size == 1:
        return
    # A process that had no micro-batch in this step has no gradient yet.
    optimizer.restore_gradients(optimizer.zero_gradients() | optimizer.gradients())
    group.sum_(list(optimizer.gradients().values()))


def broadcast_adapter(group: ProcessGroup, parameters: Mapping[str, "Tensor"]) -> None:
    """Give every process the adapter of rank 0.

    Equal gradients give equal updates on equal processors; on others the last bit may differ, and
    without this the differences would grow.
    """
    if group.size > 1:
        group.broadcast_([parameter.detach() for parameter in parameters.values()])


def broadcast_start(
    group: ProcessGroup,
    state: State | None,
    optimizer: "Optimizer",
    gradients: Mapping[str, "Tensor"],
) -> State:
    """The state that all processes start with, that of rank 0, with its moments and gradients.

    state: None in every other process. gradients: of the current step, as `gather_gradients` gave
    them; only rank 0 has them. If there are as many processes as then, each gets its own gradients
    back; otherwise rank 0 gets their sum.
    """
    text = group.broadcast_text(msgspec.json.encode(state).decode())
    start = msgspec.json.decode(text, type=State)
    if start.step and group.size > 1:
        if group.rank:
            optimizer.restore(optimizer.zero_moments(), step=start.step)
        group.broadcast_(list(optimizer.tensors().values()))
    if start.in_step is not None:
        _distribute_gradients(group, optimizer, _by_process(gradients))
    return start


def _distribute_gradients(
    group: ProcessGroup, optimizer: "Optimizer", parts: Sequence[dict[str, "Tensor"]]
) -> None:
    count = int(group.broadcast_text(str(len(parts))))
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
        part = parts[rank] if group.rank == 0 else optimizer.zero_gradients()
        group.broadcast_(list(part.values()))
        if group.rank == rank:
            optimizer.restore_gradients(part)


def _by_process(gradients: Mapping[str, "Tensor"]) -> list[dict[str, "Tensor"]]:
    """The gradients of each process by the parameters' names, in one order."""
    parts: dict[int, dict[str, Tensor]] = {}
    for key in sorted(gradients):
        process, _, name = key.rpartition("/")
        rank = int(process.removeprefix(_PREFIX)) if process else 0
        parts.setdefault(rank, {})[name] = gradients[key]
    return [parts[rank] for rank in sorted(parts)]


def gather_gradients(
    group: ProcessGroup, state: State, optimizer: "Optimizer"
) -> dict[str, "Tensor"]:
    """The gradients of every process for the current step; those of rank R as `process-R/NAME`.

    They are kept apart, because a sum that is taken before the step ends rounds differently.
    """
    if not state.micro_batch:
        return {}
    gathered = optimizer.gradients()
    for rank in range(1, group.size):
        part = optimizer.zero_gradients()
        if group.rank == rank:
            part |= optimizer.gradients()
        # All processes but one add zeros, so that the sum is that one's gradients.
        group.sum_(list(part.values()))
        gathered |= {f"{_PREFIX}{rank}/{name}": tensor for name, tensor in part.items()}
    return gathered


def busy_share(
    steps: Sequence[Sequence[Sequence[int]]], lengths: Sequence[int], size: int
) -> float:
    """The share (0..1) of its time that a process computes instead of waiting for the others.

    steps: the micro-batches of each step, as rows. lengths: tokens of each row.
    """
    computed = elapsed = 0
    for batches in steps:
        tokens = [sum(lengths[index] for index in batch) for batch in batches]
        for start in range(0, len(tokens), size):
            computed += sum(tokens[start : start + size])
            elapsed += size * max(tokens[start : start + size])
    return computed / elapsed
