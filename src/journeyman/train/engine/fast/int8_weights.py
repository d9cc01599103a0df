"""Weights as INT8: a scale for each output channel, and smoothing for the channels that are read.

x W^T = (x / f) (W f)^T for any f > 0 of the input channels. With the largest of each channel,
f = sqrt(largest |x| / largest |W|) leaves an outlier of either side half to the other, so that both
lose less by rounding (Xiao 2023, SmoothQuant, arXiv 2211.10438, with its alpha of 0.5).
"""

from collections.abc import Sequence

import torch
from msgspec import Struct
from torch import Tensor

# Of values that are quantised at once.
_BLOCK_VALUES = 2 * 1024 * 1024
# Against the largest of all channels: what lies below counts as this much.
_LEAST_SHARE = 1e-4


class Int8Weights(Struct, frozen=True):
    """Weights that are values * scale / smoothing.

    values: (N, K) int8. scale: (N,) float32. inverse: (K,) float32, 1 / smoothing; None for 1.
    """

    values: Tensor
    scale: Tensor
    inverse: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Memory of all of it."""
        inverse = 0 if self.inverse is None else self.inverse.nbytes
        return self.values.nbytes + self.scale.nbytes + inverse


def quantised(parts: Sequence[Tensor], largest_inputs: Tensor | None = None) -> Int8Weights:
    """Weights stacked along their outputs, smoothed where the magnitudes of inputs are given.

    parts: (N of each, K). largest_inputs: (K,), the largest |x| of each channel that is read.
    """
    outputs, inputs = sum(len(part) for part in parts), parts[0].shape[1]
    values = torch.empty((outputs, inputs), dtype=torch.int8, device=parts[0].device)
    scale = torch.empty(outputs, device=parts[0].device)
    smoothing = None if largest_inputs is None else smoothing_of(parts, largest_inputs)
    at, step = 0, max(1, _BLOCK_VALUES // inputs)
    for part in parts:
        for block in torch.split(part, step):
            rows = slice(at, at + len(block))
            values[rows], scale[rows] = _rounded(block, smoothing)
            at += len(block)
    return Int8Weights(values, scale, None if smoothing is None else 1 / smoothing)


def _rounded(block: Tensor, smoothing: Tensor | None) -> tuple[Tensor, Tensor]:
    """int8 values and scales of some channels."""
    wide = block.float() if smoothing is None else block.float() * smoothing
    # NaN and infinity stay in the scale: int8 has none, and a damaged weight must not pass.
    largest = wide.abs().amax(dim=1)
    scale = torch.where(largest == 0, torch.ones_like(largest), largest) / 127
    rounded = wide.div(scale[:, None]).round_()
    return rounded.nan_to_num_(0.0).to(torch.int8), scale


def smoothing_of(parts: Sequence[Tensor], largest_inputs: Tensor) -> Tensor:
    """f of every channel that is read, (K,) float32."""
    bounds = [torch.aminmax(part, dim=0) for part in parts]
    largest = torch.stack([torch.maximum(-low, high) for low, high in bounds]).amax(0).float()
    found = (_bounded(largest_inputs.float()) / _bounded(largest)).sqrt()
    # Damage shows in the scales, which see the weights themselves.
    return found.nan_to_num(1.0, posinf=1.0)


def _bounded(largest: Tensor) -> Tensor:
    """No channel counts as nearly nothing, for the next row may have something there."""
    most = largest.max()
    return torch.where(most > 0, largest.clamp_min(_LEAST_SHARE * most), torch.ones_like(largest))
