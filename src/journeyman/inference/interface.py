"""The interface of a model that answers: messages in, an `Answer` out."""

from collections.abc import Sequence
from typing import Protocol, Self, runtime_checkable

from journeyman.machine.process_memory import ProcessMemory
from journeyman.records import Answer, Message, Tool


class Engine(Protocol):
    """A loaded model. A context manager, which frees its memory and ends its processes."""

    @property
    def name(self) -> str:
        """The model and what runs it, in a few words, for reports."""
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

        reuse_prompt: allow the engine to reuse the start that this prompt shares with the one
        before. tools: those on offer; the model's call of one is part of the text, in the
        template's form.
        """
        ...

    def memory(self) -> ProcessMemory | None:
        """The memory that it holds now and held at its peak; None if that is not known."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@runtime_checkable
class Likelihoods(Protocol):
    """An engine that also gives the log-likelihood of a given answer."""

    def answer_nats(
        self, messages: Sequence[Message], *, limit: int, tools: Sequence[Tool] = ()
    ) -> list[float]:
        """Minus the log-probability of each of the answer's first `limit` tokens, in nats.

        messages: a conversation that ends with the answer. The tokens are those of training,
        without the end of turn, each given all tokens before it. Raises UpstreamError or
        DataRefused if they cannot be computed.
        """
        ...
