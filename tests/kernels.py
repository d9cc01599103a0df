"""Weights, activations and errors for what measures the int8 kernel; why there is no kernel."""

import torch

from journeyman.machine.processor import processor_flags
from tests.needs import missing, this_machine


def no_kernel() -> str:
    """The reason to skip a test of a kernel that was not found."""
    if {"avx2", "fma"} <= processor_flags():
        return missing("a C++ compiler")
    return this_machine("has no AVX2 and FMA")


def random_weight(
    outputs: int, inputs: int, chance: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """An int8 weight (outputs, inputs) of all values but -128, and its scales (outputs,)."""
    weight = torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8, generator=chance)
    return weight, torch.rand(outputs, generator=chance) * 0.01 + 0.001


def outlier_rows(rows: int, width: int, chance: torch.Generator) -> torch.Tensor:
    """Gaussian rows in which every 97th channel is 60 times as large, as inside language models."""
    x = torch.randn(rows, width, generator=chance)
    x[:, ::97] *= 60.0
    return x


def per_row_int8(x: torch.Tensor) -> torch.Tensor:
    """What int8 with a scale for each row leaves of x: the usual W8A8 activations."""
    step = x.abs().amax(1, keepdim=True) / 127
    return (x / step).round() * step


def relative_error(found: torch.Tensor, right: torch.Tensor) -> float:
    """Norm of the difference over the norm of what is right."""
    return float((found.double() - right).norm() / right.norm())
