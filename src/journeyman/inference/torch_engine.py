"""Greedy answers from PyTorch on the CPU: a base model, with or without an adapter.

It is the reference, not the fast way: a GGUF must give the same answers as its adapter gives here.
Memory is that of this process, loading included (VmHWM), so measure one model per process.
"""

import json
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from msgspec import Struct

from journeyman.errors import DataRefused
from journeyman.machine.process_memory import ProcessMemory, process_memory
from journeyman.machine.processor import choose_precision
from journeyman.model.base import load_causal_model
from journeyman.model.chat import Chat, load_chat
from journeyman.records import Answer, BaseModel, Message, Tool

if TYPE_CHECKING:
    import torch


class Greedy(Struct, frozen=True):
    """A greedy continuation. `margins`: the best token's logit minus the second's, for each id.

    The last id is an end token if the model ended early.
    """

    ids: list[int]
    margins: list[float]


class TorchEngine:
    """An `Engine` with transformers on this machine's processor."""

    def __init__(
        self,
        base: BaseModel,
        *,
        adapter: Path | None = None,
        threads: int | None = None,
        precision: Literal["auto", "fp32", "bf16"] = "auto",
    ) -> None:
        """Load the model; precision `auto` is BF16 if the processor multiplies it natively."""
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        self.precision = choose_precision(precision)
        self.name = f"torch {self.precision.name} {base.name}" + (
            f" + {adapter}" if adapter else ""
        )
        self.chat: Chat = load_chat(base)
        dtype = torch.bfloat16 if self.precision.name == "bf16" else torch.float32
        self.context_tokens = context_tokens(base)
        self._model = _with_adapter(load_causal_model(base, dtype), adapter)

    def answer(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        reuse_prompt: bool = False,  # noqa: ARG002
        tools: Sequence[Tool] = (),
    ) -> Answer:
        """One greedy answer, timed from the prompt to its last token.

        reuse_prompt has no effect: every prompt is read completely.
        """
        started = time.perf_counter()
        ids = self.chat.prompt_ids(messages, tools)
        if len(ids) >= self.context_tokens:
            reason = f"the prompt has {len(ids)} tokens, the model's context {self.context_tokens}"
            return Answer(text="", finish="error", prompt_tokens=len(ids), error=reason)
        answer: list[int] = []
        first_token_s: float | None = None
        limit = min(max_tokens, self.context_tokens - len(ids))
        for token, _ in self._steps(ids, limit):
            if first_token_s is None:
                first_token_s = time.perf_counter() - started
            answer.append(token)
        latency_s = time.perf_counter() - started
        stopped = bool(answer) and answer[-1] in self.chat.end_ids
        return Answer(
            text=self.chat.decode(answer[:-1] if stopped else answer),
            finish="stop" if stopped else "length",
            latency_s=latency_s,
            first_token_s=first_token_s,
            prompt_tokens=len(ids),
            answer_tokens=len(answer),
        )

    def complete(self, ids: Sequence[int], n_tokens: int) -> Greedy:
        """The most likely next tokens one by one, with their margins."""
        steps = list(self._steps(ids, n_tokens))
        return Greedy([token for token, _ in steps], [margin for _, margin in steps])

    def answer_nats(
        self, messages: Sequence[Message], *, limit: int, tools: Sequence[Tool] = ()
    ) -> list[float]:
        """Minus the log-probability of each of the answer's first `limit` tokens, in nats.

        See `interface.Likelihoods`. Computed in one pass. Raises DataRefused if the conversation is
        longer than the model's context.
        """
        import torch

        prompt = self.chat.prompt_ids(messages, tools)
        answer = self.chat.answer_ids(messages[-1].content)[:limit]
        if len(prompt) + len(answer) > self.context_tokens:
            raise DataRefused(f"{len(prompt) + len(answer)} tokens do not fit into the context")
        with torch.inference_mode():
            ids = torch.tensor([[*prompt, *answer]])
            # The last logit predicts what follows the answer.
            logits = self._model(input_ids=ids, logits_to_keep=len(answer) + 1).logits[0, :-1]
            losses = torch.nn.functional.cross_entropy(
                logits.float(), torch.tensor(answer), reduction="none"
            )
        return [float(loss) for loss in losses]

    def memory(self) -> ProcessMemory | None:
        """The memory of this process now and at its peak."""
        return process_memory()

    def _steps(self, ids: Sequence[int], n_tokens: int) -> Iterator[tuple[int, float]]:
        """The best next token and its margin, n times or until an end token."""
        import torch

        unread = torch.tensor([list(ids)])
        cache = None
        for _ in range(n_tokens):
            # Not around the loop: a generator that is not finished would keep the mode on.
            with torch.inference_mode():
                out = self._model(
                    input_ids=unread, past_key_values=cache, use_cache=True, logits_to_keep=1
                )
                best, second = out.logits[0, -1].float().topk(2)[0].tolist()
                token = int(out.logits[0, -1].argmax())
            yield token, best - second
            if token in self.chat.end_ids:
                return
            cache, unread = out.past_key_values, torch.tensor([[token]])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to do: the model is freed with this object."""


def context_tokens(base: BaseModel) -> int:
    """The context length that the base was made for, or no limit if its config has none."""
    config = json.loads((base.folder / "config.json").read_text(encoding="utf-8"))
    return int(config.get("max_position_embeddings") or sys.maxsize)


def _with_adapter(model: "torch.nn.Module", adapter: Path | None) -> "torch.nn.Module":
    """The model with the adapter beside its weights, as PEFT computes it, not merged."""
    if adapter is None:
        return model
    from peft import PeftModel

    with warnings.catch_warnings():
        # peft uses an attribute that transformers has renamed; the user cannot act on that.
        warnings.simplefilter("ignore", FutureWarning)
        adapted: torch.nn.Module = PeftModel.from_pretrained(
            model, str(adapter), is_trainable=False
        )
    return adapted.eval()
