"""What a conversion found out and made."""

from typing import Literal

from msgspec import Struct

from journeyman.records import Gguf


class DivergencePoint(Struct, frozen=True):
    """Where the adapter and the GGUF part, after equal tokens.

    `at` counts the answer's tokens from 0; a token of None means that the answer has ended there.
    `margin` is the adapter's logit of its token minus its second best.
    """

    prompt: str
    at: int
    adapter_token: int | None
    gguf_token: int | None
    margin: float


class Parity(Struct, frozen=True):
    """Greedy tokens of the adapter in PyTorch against those of the F16 GGUF in llama.cpp.

    `equal` prompts gave the same `tokens` tokens each; `near_ties` are the prompts that were
    replaced because the adapter itself could hardly tell its best two tokens apart.
    """

    equal: int
    tokens: int
    near_ties: tuple[DivergencePoint, ...]
    near_tie_margin: float
    smallest_margin: float | None


class ConversionResult(Struct, frozen=True):
    """A GGUF in its place. `f16` is the checked file it was quantised from (or is the same one)."""

    gguf: Gguf
    f16: Gguf
    adapter_sha256: str
    base_sha256: str
    parity: Parity
    outcome: Literal["made", "fresh"]
