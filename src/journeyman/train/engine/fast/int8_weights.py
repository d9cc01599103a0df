"""Quantises weights to INT8 with a scale for each output channel, and smooths input channels.

x W^T = (x / f) (W f)^T for any factors f > 0 of the input channels. With the largest values of a
channel, f = sqrt(largest |x| / largest |W|) shares an outlier on either side between both, so that
both lose less by rounding (Xiao 2023, SmoothQuant, arXiv 2211.10438, with its alpha of 0.5).
"""

from collections.abc import Sequence

import torch
from msgspec import Struct
from torch import Tensor

# How many values are quantised at once.
_BLOCK_VALUES = 2 * 1024 * 1024
# Smaller values of a channel, as a share of the largest of all channels, count as this much.
_LEAST_SHARE = 1e-4


class Int8Weights(Struct, frozen=True):
    """Quantised weights; the real ones are values * scale / smoothing.

    values: (N, K) int8. scale: (N,) float32. inverse: (K,) float32, 1 / smoothing; None for 1.
    """

    values: Tensor
    scale: Tensor
    inverse: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Their memory."""
        inverse = 0 if self.inverse is None else self.inverse.nbytes
        return self.values.nbytes + self.scale.nbytes + inverse


def quantise(parts: Sequence[Tensor], largest_inputs: Tensor | None = None) -> Int8Weights:
    """The weights in INT8, stacked along their outputs.

    parts: (N of each, K). largest_inputs: (K,), the largest |x| of each input channel, by which the
    weights are smoothed; None for no smoothing.
    """
    outputs, inputs = sum(len(part) for part in parts), parts[0].shape[1]
    values = torch.empty((outputs, inputs), dtype=torch.int8, device=parts[0].device)
    scale = torch.empty(outputs, device=parts[0].device)
    smoothing = None if largest_inputs is None else smoothing_of(parts, largest_inputs)
    at, step = 0, max(1, _BLOCK_VALUES // inputs)
    for part in parts:
        for block in torch.split(part, step):
            rows = slice(at, at + len(block))
            values[rows], scale[rows] = _quantise_block(block, smoothing)
            at += len(block)
    return Int8Weights(values, scale, None if smoothing is None else 1 / smoothing)


def _quantise_block(block: Tensor, smoothing: Tensor | None) -> tuple[Tensor, Tensor]:
    """INT8 values and scales of some output channels."""
    weights = block.float() if smoothing is None else block.float() * smoothing
    # NaN and infinity stay in the scale, because int8 has neither and damage must show.
    largest = weights.abs().amax(dim=1)
    scale = torch.where(largest == 0, torch.ones_like(largest), largest) / 127
    rounded = weights.div(scale[:, None]).round_()
    return rounded.nan_to_num_(0.0).to(torch.int8), scale


def smoothing_of(parts: Sequence[Tensor], largest_inputs: Tensor) -> Tensor:
    """The factor f of every input channel, (K,) float32."""
    bounds = [torch.aminmax(part, dim=0) for part in parts]
    largest = torch.stack([torch.maximum(-low, high) for low, high in bounds]).amax(0).float()
    factors = (_bounded(largest_inputs.float()) / _bounded(largest)).sqrt()
    # Damaged weights show in the scales, so they need not show here.
    return factors.nan_to_num(1.0, posinf=1.0)


def _bounded(largest: Tensor) -> Tensor:
    """The largest values with a lower bound, because other rows may have larger ones."""
    most = largest.max()
    return torch.where(most > 0, largest.clamp_min(_LEAST_SHARE * most), torch.ones_like(largest))
