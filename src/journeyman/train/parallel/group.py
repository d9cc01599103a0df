"""The processes of one run as a group: what they add up together, and how they stop together.

Each process holds the whole base and the same adapter; each micro-batch of a step is done by one of
them. `SingleProcess` is the group of a run of one process and does nothing. Sums run over gloo.
"""

import contextlib
import datetime
import importlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from journeyman.errors import Interrupted, UsageError
from journeyman.settings import TrainSettings

if TYPE_CHECKING:
    from torch import Tensor

RENDEZVOUS = "JOURNEYMAN_RENDEZVOUS"
"""File through which the processes that journeyman itself started on one machine meet."""
_SILENCE = datetime.timedelta(hours=1)


class PeerLost(Interrupted):
    """Another process of the run has ended, so this one cannot go on."""

    def __init__(self, rank: int, reason: object) -> None:
        first = str(reason).strip().splitlines()[:1]
        super().__init__(
            f"process {rank} cannot go on: another process of this run has ended, or its "
            f"machine cannot be reached ({''.join(first)[:160]})",
            hint="run the same command again to go on from the last checkpoint; "
            "the number of processes may be another",
        )


class ProcessGroup(Protocol):
    """The processes of a run. What every process must call, all call in the same order."""

    rank: int
    size: int

    @property
    def is_first(self) -> bool:
        """Whether this process is rank 0, which writes for all."""

    def sum_(self, tensors: Sequence["Tensor"]) -> None:
        """Replace each tensor by its sum over the processes, the same bits in each of them."""

    def sum_numbers(self, numbers: Sequence[float]) -> list[float]:
        """Each number's sum over the processes, in double precision."""

    def any_stop(self, asked: bool) -> bool:
        """Whether any process was asked to stop."""

    def from_first_(self, tensors: Sequence["Tensor"]) -> None:
        """Replace each tensor by that of process 0."""

    def text_from_first(self, text: str) -> str:
        """The text of process 0."""


class SingleProcess:
    """A run of one process."""

    rank = 0
    size = 1
    is_first = True

    def sum_(self, tensors: Sequence["Tensor"]) -> None:
        """Nothing to add."""

    def sum_numbers(self, numbers: Sequence[float]) -> list[float]:
        """The numbers themselves."""
        return list(numbers)

    def any_stop(self, asked: bool) -> bool:
        """What was asked of the only process."""
        return asked

    def from_first_(self, tensors: Sequence["Tensor"]) -> None:
        """Nothing to receive."""

    def text_from_first(self, text: str) -> str:
        """The text itself."""
        return text


ALONE = SingleProcess()


class GlooProcessGroup:
    """Several processes, on one machine or on many. Raises PeerLost where one is gone."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank = rank
        self.size = size
        self.is_first = rank == 0

    def sum_(self, tensors: Sequence["Tensor"]) -> None:
        """One sum over all tensors end to end: one message a step is as quick as it gets.

        Gloo adds each part in the same order on one process and sends it to all, so every process
        has equal bits; another number of processes adds in another order.
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

    def any_stop(self, asked: bool) -> bool:
        """Whether any process was asked to stop."""
        return self.sum_numbers([float(asked)])[0] > 0

    def from_first_(self, tensors: Sequence["Tensor"]) -> None:
        """Replace each tensor by that of process 0."""
        from torch import distributed

        with self._connected():
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)

    def text_from_first(self, text: str) -> str:
        """The text of process 0."""
        import torch

        encoded = text.encode()
        length = torch.tensor([len(encoded)])
        self.from_first_([length])
        data = torch.zeros(int(length), dtype=torch.uint8)
        if self.rank == 0:
            data = torch.tensor(list(encoded), dtype=torch.uint8)
        self.from_first_([data])
        return bytes(data.tolist()).decode()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise PeerLost(self.rank, error) from error


def require_one(settings: TrainSettings) -> None:
    """Refuse to start processes from inside of one. Raises UsageError."""
    if settings.processes != 1:
        raise UsageError(
            f"`processes` is {settings.processes}: the command line starts them, a call does not",
            hint="start `journeyman train --processes N`, or this program with torchrun",
        )


def rank_here() -> int:
    """This process's number in its run, from 0, as torchrun and journeyman's own start give it."""
    return int(os.environ.get("RANK", "0"))


def size_here() -> int:
    """How many processes its run has."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextlib.contextmanager
def joined() -> Iterator[ProcessGroup]:
    """The group of this process's run, as its environment names it, for the length of the run."""
    rank, size = rank_here(), size_here()
    if size == 1:
        yield ALONE
        return
    from torch import distributed

    # This module keeps the group of its first import in its functions' defaults. Imported later, as
    # transformers does, it would keep the group's threads beyond the run, and one that lets go of
    # a tensor while the interpreter ends aborts the process.
    importlib.import_module("torch.distributed.nn.functional")

    met_in = os.environ.get(RENDEZVOUS)
    try:
        distributed.init_process_group(
            "gloo",
            init_method=f"file://{met_in}" if met_in else "env://",
            rank=rank,
            world_size=size,
            timeout=_SILENCE,
        )
    except (RuntimeError, ValueError) as error:
        raise PeerLost(rank, error) from error
    try:
        yield GlooProcessGroup(rank, size)
    finally:
        distributed.destroy_process_group()
