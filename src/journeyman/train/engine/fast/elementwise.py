"""The operations between the linear layers: norms, positions, gates, dropout, quantisation.

Forward and backward are written by hand, as plain functions of tensors that `torch.compile` can
fuse into one loop. Dropout and positions also have a kernel. Tensors have T tokens as rows.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from journeyman.kernels.dropout_mask import PART_VALUES, keep_mask
from journeyman.kernels.elementwise import ElementwiseKernel

_BLOCK_ROWS = 128


def rms_norm(states: Tensor, weight: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
    """RMS norm over the last axis, in `dtype`. (Zhang & Sennrich 2019, arXiv 1910.07467.)

    states: (..., H) float32. weight: (H,) float32.
    """
    scale = torch.rsqrt(states.square().mean(-1, keepdim=True) + epsilon)
    return (states * scale * weight).to(dtype)


def rms_norm_backward(
    gradient: Tensor, states: Tensor, weight: Tensor, epsilon: float, onto: Tensor
) -> Tensor:
    """Gradient by the states, added to `onto` (float32), the gradient of the residual path."""
    scale = torch.rsqrt(states.square().mean(-1, keepdim=True) + epsilon)
    normed = states * scale
    weighted = gradient.float() * weight
    mean = (weighted * normed).mean(-1, keepdim=True)
    return onto + (weighted - normed * mean) * scale


def rotate(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary position encoding, pairing the halves of a head. (Su et al. 2021, arXiv 2104.09864.)

    states: (T, heads, D). cosine, sine: (T, D) float32, with two equal halves.
    """
    left, right = states.float().chunk(2, dim=-1)
    turned = torch.cat((-right, left), dim=-1)
    return (states * cosine.unsqueeze(1) + turned * sine.unsqueeze(1)).to(states.dtype)


def rotate_backward(gradient: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Gradient of `rotate`: the rotation back."""
    return rotate(gradient, cosine, -sine)


def gated(gate_up: Tensor) -> Tensor:
    """silu(gate) * up. gate_up: (T, 2F), gate first. (Shazeer 2020, arXiv 2002.05202.)"""
    gate, up = gate_up.float().chunk(2, dim=-1)
    return (torch.nn.functional.silu(gate) * up).to(gate_up.dtype)


def gated_backward(gradient: Tensor, gate_up: Tensor) -> Tensor:
    """Gradient by gate and up, (T, 2F)."""
    gate, up = gate_up.float().chunk(2, dim=-1)
    by_output = gradient.float()
    share = torch.sigmoid(gate)
    by_gate = by_output * up * share * (1 + gate * (1 - share))
    by_up = by_output * gate * share
    return torch.cat((by_gate, by_up), dim=-1).to(gate_up.dtype)


def dropped(states: Tensor, seed: int, share: float) -> Tensor:
    """Dropout: a share of the states becomes zero, the others are multiplied by 1 / (1 - share)."""
    result = torch.empty(states.shape, dtype=states.dtype, device=states.device)
    for scaled, part in _scaled_parts(states, seed, share):
        result.view(-1)[part] = scaled
    return result


def dropped_onto(onto: Tensor, gradient: Tensor, seed: int, share: float) -> Tensor:
    """The gradient of `dropped`, added to a contiguous `onto` in place and rounded once."""
    flat = onto.view(-1)
    for scaled, part in _scaled_parts(gradient, seed, share):
        flat[part] = scaled.add_(flat[part])
    return onto


def _scaled_parts(values: Tensor, seed: int, share: float) -> Iterator[tuple[Tensor, slice]]:
    """Each part of the flattened values after dropout, in float32, and its position."""
    for number, part in enumerate(torch.split(values.reshape(-1), PART_VALUES)):
        mask = keep_mask(len(part), seed=seed, part=number, share=share, device=values.device)
        scaled = torch.where(mask, part.float() * (1 / (1 - share)), 0)
        yield scaled, slice(number * PART_VALUES, number * PART_VALUES + len(part))


def added(states: Tensor, update: Tensor) -> Tensor:
    """Residual addition in float32."""
    return states + update.float()


def quantised_rows(states: Tensor) -> tuple[Tensor, Tensor]:
    """int8 (T, K) and the float32 scale of each row, (T, 1): states ~ int8 * scale."""
    values = states.float()
    scale = values.abs().amax(dim=-1, keepdim=True) * (1 / 127)
    # NaN and infinity stay in the row's scale, so that its product becomes NaN.
    safe = torch.where(scale == 0, torch.ones_like(scale), scale)
    rounded = (values / safe).round()
    return torch.where(rounded.isfinite(), rounded, 0).to(torch.int8), scale


def quantised_scaled_rows(states: Tensor, column_scale: Tensor) -> tuple[Tensor, Tensor]:
    """`quantised_rows` of the states with their columns multiplied by (K,) scales."""
    return quantised_rows(states.float() * column_scale)


def row_rescaled(product: Tensor, row_scale: Tensor, dtype: torch.dtype) -> Tensor:
    """An int32 product as real values. row_scale: (T, 1)."""
    return (product.float() * row_scale).to(dtype)


def rescaled(
    product: Tensor, row_scale: Tensor, column_scale: Tensor, dtype: torch.dtype
) -> Tensor:
    """An int32 product as real values. row_scale: (T, 1). column_scale: (N,)."""
    return (product.float() * row_scale * column_scale).to(dtype)


def in_blocks(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function over some rows at a time, because uncompiled operators make large arrays."""

    def run(*tensors: Tensor) -> Tensor:
        # No rows at all still are one block, which is empty.
        blocks = list(zip(*(torch.split(x, _BLOCK_ROWS) for x in tensors), strict=True))
        first = function(*blocks[0])
        whole = first.new_empty((len(tensors[0]), *first.shape[1:]))
        whole[: len(first)] = first
        for number, block in enumerate(blocks[1:], start=1):
            whole[number * _BLOCK_ROWS :][: len(block[0])] = function(*block)
        return whole

    return run


class Elementwise:
    """The functions above, plain or compiled.

    rows: a kernel for losses, dropout and positions; used instead if it supports the tensors.
    """

    def __init__(self, *, compiled: bool = False, rows: ElementwiseKernel | None = None) -> None:
        def ready(function: Callable[..., Any]) -> Callable[..., Any]:
            return torch.compile(function, dynamic=True) if compiled else function

        self.rms_norm = ready(rms_norm)
        self.rms_norm_backward = ready(rms_norm_backward)
        self._rotate = ready(rotate)
        self._rotate_backward = ready(rotate_backward)
        self.gated = ready(gated) if compiled else in_blocks(gated)
        self.gated_backward = ready(gated_backward) if compiled else in_blocks(gated_backward)
        self.added = ready(added)
        self.quantised_rows = ready(quantised_rows)
        self.quantised_scaled_rows = ready(quantised_scaled_rows)
        self.rescaled = ready(rescaled)
        self.row_rescaled = ready(row_rescaled)
        self.rows = rows

    def rotated(self, states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """See `rotate`; may overwrite the states."""
        if self.rows is None or not self.rows.rotates(states):
            result: Tensor = self._rotate(states, cosine, sine)
            return result
        self.rows.rotate(states, cosine, sine, back=False)
        return states

    def rotated_back(self, gradient: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """See `rotate_backward`; may overwrite the gradient."""
        if self.rows is None or not self.rows.rotates(gradient):
            result: Tensor = self._rotate_backward(gradient, cosine, sine)
            return result
        self.rows.rotate(gradient, cosine, sine, back=True)
        return gradient

    def dropped(self, states: Tensor, seed: int, share: float) -> Tensor:
        """See the function; the kernel gives equal bits."""
        if self.rows is not None and self.rows.takes(states):
            return self.rows.dropped(states, seed, share)
        return dropped(states, seed, share)

    def dropped_onto(self, onto: Tensor, gradient: Tensor, seed: int, share: float) -> Tensor:
        """See the function; the kernel gives equal bits."""
        if self.rows is not None and self.rows.takes(onto, gradient):
            return self.rows.dropped_onto(onto, gradient, seed, share)
        return dropped_onto(onto, gradient, seed, share)
