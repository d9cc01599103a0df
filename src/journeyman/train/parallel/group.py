"""The processes of a data parallel run as a group: they sum, broadcast and stop together, by gloo.

Each process holds the whole base model and the same adapter, and computes some micro-batches of
each step.
"""

import contextlib
import datetime
import importlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from journeyman.errors import Interrupted, UsageError
from journeyman.settings import TrainSettings

if TYPE_CHECKING:
    from torch import Tensor

RENDEZVOUS = "JOURNEYMAN_RENDEZVOUS"
"""Environment variable with the file through which the processes of one machine find each other."""
# A process that waits longer for the others gives up.
_TIMEOUT = datetime.timedelta(hours=1)


class PeerLost(Interrupted):
    """This process cannot go on, because another one of the run has ended."""

    def __init__(self, rank: int, reason: object) -> None:
        first = str(reason).strip().splitlines()[:1]
        super().__init__(
            f"process {rank} cannot go on: another process of this run has ended, or its "
            f"machine cannot be reached ({''.join(first)[:160]})",
            hint="run the same command again to go on from the last checkpoint, also with another "
            "number of processes",
        )


class ProcessGroup:
    """The processes of a run, which must all make the same calls in the same order.

    This class is the group of a single process, in which nothing is exchanged.
    """

    rank = 0
    size = 1

    @property
    def is_first(self) -> bool:
        """Whether this process is rank 0, which writes for all of them."""
        return self.rank == 0

    def sum_(self, tensors: Sequence["Tensor"]) -> None:
        """Replace each tensor by its sum over all processes, with the same bits in each of them."""

    def sum_numbers(self, numbers: Sequence[float]) -> list[float]:
        """The sum of each number over all processes, in double precision."""
        return list(numbers)

    def any_stop(self, requested: bool) -> bool:
        """Whether a stop was requested of any process."""
        return self.sum_numbers([float(requested)])[0] > 0

    def broadcast_(self, tensors: Sequence["Tensor"]) -> None:
        """Replace each tensor by that of rank 0."""

    def broadcast_text(self, text: str) -> str:
        """The text of rank 0."""
        return text


class GlooProcessGroup(ProcessGroup):
    """Several processes on one or more machines. Raises PeerLost if one of them is gone."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank = rank
        self.size = size

    def sum_(self, tensors: Sequence["Tensor"]) -> None:
        """Replace each tensor by its sum, in one message over all of them, which is fastest.

        Gloo adds each part on one process and sends it to all, so that every process gets equal
        bits; with another number of processes the order of the sum differs.
        """
        import torch
        from torch import distributed

        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with self._connected():
            distributed.all_reduce(flat)
        at = 0
        for tensor in tensors:
            tensor.copy_(flat[at : at + tensor.numel()].view_as(tensor))
            at += tensor.numel()

    def sum_numbers(self, numbers: Sequence[float]) -> list[float]:
        """Exact for whole numbers below 2**53."""
        import torch
        from torch import distributed

        values = torch.tensor(numbers, dtype=torch.float64)
        with self._connected():
            distributed.all_reduce(values)
        summed: list[float] = values.tolist()
        return summed

    def broadcast_(self, tensors: Sequence["Tensor"]) -> None:
        """Replace each tensor by that of rank 0."""
        from torch import distributed

        with self._connected():
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)

    def broadcast_text(self, text: str) -> str:
        """The text of rank 0."""
        import torch

        encoded = text.encode()
        length = torch.tensor([len(encoded)])
        self.broadcast_([length])
        data = torch.zeros(int(length), dtype=torch.uint8)
        if self.rank == 0:
            data = torch.tensor(list(encoded), dtype=torch.uint8)
        self.broadcast_([data])
        return bytes(data.tolist()).decode()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise PeerLost(self.rank, error) from error


def require_single_process(settings: TrainSettings) -> None:
    """Refuse `processes` in a call: only the command line starts processes. Raises UsageError."""
    if settings.processes != 1:
        raise UsageError(
            f"`processes` is {settings.processes}, but a call cannot start processes",
            hint="use `journeyman train --processes N`, or start this program with torchrun",
        )


def environment_rank() -> int:
    """This process's rank in its run, set by torchrun or by `launch`."""
    return int(os.environ.get("RANK", "0"))


def environment_size() -> int:
    """The number of processes of its run, set by torchrun or by `launch`."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextlib.contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """The group that this process's environment names, connected while the block runs."""
    rank, size = environment_rank(), environment_size()
    if size == 1:
        yield ProcessGroup()
        return
    from torch import distributed

    # The module below keeps the group of its first import in its functions' defaults. Imported
    # later, as transformers does, it would keep the group's threads after the run, and one of them
    # that frees a tensor while the interpreter exits aborts the process.
    importlib.import_module("torch.distributed.nn.functional")

    rendezvous = os.environ.get(RENDEZVOUS)
    try:
        distributed.init_process_group(
            "gloo",
            init_method=f"file://{rendezvous}" if rendezvous else "env://",
            rank=rank,
            world_size=size,
            timeout=_TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:
        raise PeerLost(rank, error) from error
    try:
        yield GlooProcessGroup(rank, size)
    finally:
        distributed.destroy_process_group()
