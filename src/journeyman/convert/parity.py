"""Parity of the F16 GGUF and the adapter: prompts, ends of turn and greedy tokens must be equal.

Why tokens and not logits, and what a near tie is: docs/decisions/0004-parity-by-greedy-tokens.md.
Covered: merge, conversion, tokenizer, template and stop tokens. Not covered: the quantised file,
whose answers differ by design; `journeyman evaluate` measures those.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from journeyman.convert.outputs import DivergencePoint, Parity
from journeyman.data.dataset import read_examples
from journeyman.errors import IntegrityError
from journeyman.events import Note, Progress, ProgressEnded, Reporter, ignore
from journeyman.gguf.header import read_gguf_header
from journeyman.inference.torch_engine import Greedy
from journeyman.model.chat import KNOWN_ENDS, Chat
from journeyman.records import Message

# Logits. Measured on SmolLM2-135M: see the decision; float16 weights move a margin by less.
NEAR_TIE_MARGIN = 0.05
CONTEXT_TOKENS = 4096
_CANDIDATES_FOR_EACH = 3
_BUILTIN_PROMPTS = (
    "Write a Python function `is_palindrome(text)` that says whether a text reads the same "
    "backwards.",
    "Explain in two sentences what a hash map is.",
    "Write a shell command that counts the lines of all `.py` files below a folder.",
    "Name three reasons why a test can fail only now and then.",
    "Write a Python function `flatten(rows)` that joins a list of lists into one list.",
    "What does `git rebase` do, and when is it a bad idea?",
    "Write an SQL query that gives the five customers with the most orders.",
    "Turn this into a list comprehension: a loop that squares the even numbers below 20.",
    "Write a regular expression that matches a date such as 2024-02-29.",
    "Describe the difference between a process and a thread.",
)


class AdapterSide(Protocol):
    """The adapter's side of the comparison (`TorchEngine`)."""

    chat: Chat

    def complete(self, ids: Sequence[int], n_tokens: int) -> Greedy:
        """Greedy tokens with their margins."""
        ...


class GgufSide(Protocol):
    """The GGUF's side of the comparison (`LlamaServer`)."""

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """The prompt's ids by the server's template and tokenizer."""
        ...

    def complete(self, ids: Sequence[int], n_tokens: int) -> list[int]:
        """Greedy tokens."""
        ...


class ParityThresholds(Struct, frozen=True):
    """How many prompts must agree, and in how many tokens each."""

    prompts: int
    tokens: int


def parity_prompts(data_dir: Path) -> list[tuple[Message, ...]]:
    """Prompts to compare: validation rows, then test rows, then a few built-in ones; none twice."""
    prompts: list[tuple[Message, ...]] = []
    for name in ("val.jsonl", "test.jsonl"):
        path = data_dir / name
        if path.is_file() and path.stat().st_size > 0:
            prompts += [example.messages[:-1] for example in read_examples(path)]
    prompts += [(Message("user", text),) for text in _BUILTIN_PROMPTS]
    return list(dict.fromkeys(prompts))


def require_parity(
    adapted: AdapterSide,
    served: GgufSide,
    prompts: Sequence[Sequence[Message]],
    wanted: ParityThresholds,
    report: Reporter = ignore,
) -> Parity:
    """Compare prompt by prompt until enough agree. Raises IntegrityError if an answer differs.

    A difference at a near tie is reported and the next prompt is used instead; at most three
    prompts are tried for each that must agree.
    """
    near_ties: list[DivergencePoint] = []
    margins: list[float] = []
    equal = 0
    limit = wanted.prompts * _CANDIDATES_FOR_EACH
    for ids, messages in list(_fitting(adapted, served, prompts, wanted, limit)):
        if equal == wanted.prompts:
            break
        report(Progress("compare with the adapter", equal, wanted.prompts, "prompts"))
        greedy = adapted.complete(ids, wanted.tokens)
        continuation = served.complete(ids, wanted.tokens)
        divergence = find_divergence(messages, greedy, continuation, adapted.chat.end_ids)
        if divergence is None:
            equal += 1
            margins += greedy.margins
            continue
        text = _describe(divergence, adapted.chat)
        if divergence.margin >= NEAR_TIE_MARGIN:
            raise IntegrityError(
                f"the F16 GGUF answers differently from the adapter: {text}",
                hint="no file was written; convert again, and report the model if it fails again",
            )
        report(Note(f"near tie, using the next prompt instead: {text}"))
        near_ties.append(divergence)
    if equal < wanted.prompts:
        raise IntegrityError(
            f"only {equal} of {wanted.prompts} prompts could be compared "
            f"({len(near_ties)} were near ties, the others longer than {CONTEXT_TOKENS} tokens)",
            hint="use a `--data-dir` with more or shorter rows in val.jsonl",
        )
    summary = f"{equal} prompts gave the same {wanted.tokens} greedy tokens"
    report(ProgressEnded("compare with the adapter", summary))
    return Parity(
        equal=equal,
        tokens=wanted.tokens,
        near_ties=tuple(near_ties),
        near_tie_margin=NEAR_TIE_MARGIN,
        smallest_margin=min(margins, default=None),
    )


def _fitting(
    adapted: AdapterSide,
    served: GgufSide,
    prompts: Sequence[Sequence[Message]],
    wanted: ParityThresholds,
    limit: int,
) -> Iterator[tuple[list[int], Sequence[Message]]]:
    """The first prompts that fit into the context; their ids must be the same on both sides."""
    taken = 0
    for messages in prompts:
        ids = adapted.chat.prompt_ids(messages)
        if taken == limit or len(ids) + wanted.tokens > CONTEXT_TOKENS:
            continue
        taken += 1
        if not adapted.chat.holds_special(messages):
            _require_same_prompt(ids, served.prompt_ids(messages), messages, adapted.chat)
        yield ids, messages


def _require_same_prompt(
    ids: Sequence[int], found: Sequence[int], messages: Sequence[Message], chat: Chat
) -> None:
    if list(ids) == list(found):
        return
    at = _first_difference(ids, found)
    raise IntegrityError(
        f"the prompt `{_short(messages)}` has different tokens in training and in llama.cpp: "
        f"token {at} is `{chat.decode_whole(ids[at : at + 1])}` and "
        f"`{chat.decode_whole(found[at : at + 1])}`",
        hint="the base's tokenizer or chat template does not survive conversion; use another base",
    )


def require_same_ends(gguf: Path, chat: Chat) -> None:
    """Raise IntegrityError if llama.cpp would not stop at the end of turn that was trained."""
    values = read_gguf_header(gguf, architectures=None).values
    names = [f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom")]
    ends = [values[name] for name in names if name in values]
    text = chat.decode_whole([chat.end_of_turn])
    if chat.end_of_turn not in ends and text not in KNOWN_ENDS:
        raise IntegrityError(
            f"answers end with token {chat.end_of_turn} (`{text}`), but llama.cpp would stop only "
            f"at {ends} and never end an answer",
            hint="set `eos_token` to the end of turn in the base's tokenizer_config.json",
        )


def find_divergence(
    messages: Sequence[Message],
    greedy: Greedy,
    served: Sequence[int],
    end_ids: frozenset[int],
) -> DivergencePoint | None:
    """The first token that differs, or None. Stopping and an end token count as equal."""
    ours, theirs = _until_end(greedy.ids, end_ids), _until_end(served, end_ids)
    if ours == theirs:
        return None
    at = _first_difference(ours, theirs)
    return DivergencePoint(
        prompt=_short(messages),
        at=at,
        adapter_token=ours[at] if at < len(ours) else None,
        gguf_token=theirs[at] if at < len(theirs) else None,
        margin=greedy.margins[at] if at < len(greedy.margins) else float("inf"),
    )


def _first_difference(one: Sequence[int], other: Sequence[int]) -> int:
    """The index of the first difference of two sequences, or the length of the shorter one."""
    shared = min(len(one), len(other))
    return next((n for n in range(shared) if one[n] != other[n]), shared)


def _until_end(ids: Sequence[int], end_ids: frozenset[int]) -> list[int]:
    end = next((at for at, number in enumerate(ids) if number in end_ids), len(ids))
    return list(ids[:end])


def _describe(found: DivergencePoint, chat: Chat) -> str:
    tokens = [
        "the end" if token is None else f"`{chat.decode_whole([token])}` ({token})"
        for token in (found.adapter_token, found.gguf_token)
    ]
    return (
        f"on `{found.prompt}` token {found.at} differs: {tokens[0]} and {tokens[1]}, "
        f"margin {found.margin:.3f} logits"
    )


def _short(messages: Sequence[Message]) -> str:
    text = " ".join(messages[-1].content.split()) if messages else ""
    return text if len(text) <= 60 else text[:57] + "..."
