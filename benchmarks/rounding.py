"""Arithmetic of units that this processor lacks: rounded as they would, but multiplied in FP32.

Only the losses are of interest, not the time. Real units may sum in another order, which this does
not show. What this project's kernels always compute in FP32 is still computed by them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import torch
from torch import Tensor

from journeyman.events import Reporter, ignore
from journeyman.train.engine.arithmetic import arithmetic_of
from journeyman.train.engine.fast.linear import Arithmetic, Method

# As in the integer kernel for VNNI: source/product.h.
_LARGEST, _BLOCK, _UNIT = 127, 256, 16


def bf16_rounded(report: Reporter = ignore) -> Arithmetic:
    """Weights and activations in BF16."""
    found = msgspec.structs.replace(
        arithmetic_of("bf16", report),
        forward="bf16 upcast",
        backward="bf16 upcast",
        activations=torch.bfloat16,
    )
    if found.attention is None:
        raise SystemExit("error: without the attention kernel BF16 takes a hundred times as long")
    return found


def int8_rounded(report: Reporter = ignore) -> Arithmetic:
    """INT8 products as with AVX-512 VNNI; activations and the output layer in BF16."""
    full = bf16_rounded(report)
    return _ByVnni(
        forward="int8 kernel",
        backward="int8 kernel",
        activations=torch.bfloat16,
        kernel=_VnniProduct(),  # type: ignore[arg-type]
        adapters=full.adapters,
        attention=full.attention,
        rows=full.rows,
    )


ROUNDED: dict[str, Callable[[Reporter], Arithmetic]] = {
    "bf16-rounded": bf16_rounded,
    "int8-rounded": int8_rounded,
}


class _ByVnni(Arithmetic, frozen=True):
    """Its output layer is BF16, which is upcast here."""

    @property
    def full_precision_method(self) -> Method:
        return "bf16 upcast"


@dataclass(frozen=True)
class _VnniProduct:
    """What `IntegerProduct` gives with VNNI, except for the order of float32 sums."""

    largest: int = _LARGEST
    block: int = _BLOCK

    def forward(
        self,
        x: Tensor,
        weight: Tensor,
        scale: Tensor,
        out: Tensor | None = None,
        *,
        bias: Tensor | None = None,
        input_scale: Tensor | None = None,
        accumulate: bool = False,
    ) -> Tensor:
        """See `IntegerProduct.forward`."""
        found = (
            _rounded(_scaled(x.to(torch.float32, copy=True), input_scale)) @ weight.float().t()
        ).mul_(scale)
        if bias is not None:
            found.add_(bias)
        if out is None:
            return found.to(x.dtype)
        return out.copy_(found.add_(out) if accumulate else found)

    def backward(
        self, dy: Tensor, weight: Tensor, scale: Tensor, *, input_scale: Tensor | None = None
    ) -> Tensor:
        """See `IntegerProduct.backward`."""
        found = _rounded(dy.float() * scale) @ weight.float()
        return _scaled(found, input_scale).to(dy.dtype)


def _scaled(values: Tensor, scale: Tensor | None) -> Tensor:
    """In place."""
    return values if scale is None else values.mul_(scale)


def _rounded(rows: Tensor) -> Tensor:
    """Round to 1/127 of the largest value of each row and block, in place. rows: (T, K) float32."""
    count = -(-rows.shape[1] // _BLOCK)
    length = -(-rows.shape[1] // count)
    length += -length % _UNIT
    for block in torch.split(rows, length, dim=1):
        step = block.abs().amax(dim=1, keepdim=True).div_(_LARGEST)
        step.clamp_(min=torch.finfo(torch.float32).tiny)
        block.div_(step).round_().mul_(step)
    return rows
