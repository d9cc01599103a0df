"""What evaluation needs of a model that answers: messages in, an `Answer` out."""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from journeyman.machine.process_memory import ProcessMemory
from journeyman.records import Answer, Message, Tool


class Engine(Protocol):
    """A loaded model. Used as a context manager, so that its memory and processes end with it."""

    @property
    def name(self) -> str:
        """What answers, in a few words, for reports."""
        ...

    def answer(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        reuse_prompt: bool = False,
        tools: Sequence[Tool] = (),
    ) -> Answer:
        """The greedy answer to a conversation. A failure is an Answer whose finish is `error`.

        reuse_prompt: the start that it shares with the conversation before need not be read again,
        where the engine can do that. tools: those on offer; a call of one is text, as the template
        writes it.
        """
        ...

    def memory(self) -> ProcessMemory | None:
        """What it holds now and held at its peak; None where that cannot be known."""
        ...

    def peak_memory_bytes(self) -> int | None:
        """The most memory it held so far, in bytes; None where that cannot be known."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@runtime_checkable
class Likelihoods(Protocol):
    """An engine that also says how likely it holds a given answer to be."""

    def answer_nats(
        self, messages: Sequence[Message], *, limit: int, tools: Sequence[Tool] = ()
    ) -> list[float]:
        """Minus the log probability of each of the answer's first `limit` tokens, in nats.

        messages: a conversation that ends with the answer. Its tokens are those of training,
        without the end of the turn; each is judged with all before it given. Raises UpstreamError
        or DataRefused where that cannot be had.
        """
        ...
