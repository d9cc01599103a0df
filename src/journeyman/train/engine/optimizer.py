"""AdamW over the adapter, with its moments as tensors by name.

Decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
_MOMENTS = ("exp_avg", "exp_avg_sq")


class Optimizer:
    """AdamW for named float32 parameters; each step gets its learning rate."""

    def __init__(self, parameters: Mapping[str, Tensor], *, weight_decay: float) -> None:
        self._parameters = dict(parameters)
        self._adamw = torch.optim.AdamW(
            self._parameters.values(), betas=_BETAS, eps=_EPSILON, weight_decay=weight_decay
        )

    def clear(self) -> None:
        """Drop the gradients."""
        self._adamw.zero_grad(set_to_none=True)

    def gradients(self) -> dict[str, Tensor]:
        """The gradients so far, by the parameters' names."""
        return {
            name: parameter.grad
            for name, parameter in self._parameters.items()
            if parameter.grad is not None
        }

    def restore_gradients(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue with gradients saved inside of a step. Raises KeyError, ValueError (shape)."""
        for name, parameter in self._parameters.items():
            if tensors[name].shape != parameter.shape:
                raise ValueError(f"the gradient of `{name}` has shape {tuple(tensors[name].shape)}")
            parameter.grad = tensors[name].to(parameter.device, copy=True)

    def zero_gradients(self) -> dict[str, Tensor]:
        """Zeros in the shapes of the gradients, in the parameters' order."""
        return {name: torch.zeros_like(one.detach()) for name, one in self._parameters.items()}

    def clip(self, max_norm: float) -> float:
        """Scale the gradients down to this norm if it is larger; gives the norm before."""
        return float(torch.nn.utils.clip_grad_norm_(self._parameters.values(), max_norm))

    def step(self, lr: float) -> None:
        """Update the parameters once."""
        for group in self._adamw.param_groups:
            group["lr"] = lr
        self._adamw.step()

    def tensors(self) -> dict[str, Tensor]:
        """The moments as `exp_avg.NAME` and `exp_avg_sq.NAME`; none before the first step."""
        return {
            f"{moment}.{name}": self._adamw.state[parameter][moment]
            for name, parameter in self._parameters.items()
            for moment in _MOMENTS
            if parameter in self._adamw.state
        }

    def zero_moments(self) -> dict[str, Tensor]:
        """Zeros in the shapes of all moments, for `restore`."""
        return {
            f"{moment}.{name}": zeros
            for name, zeros in self.zero_gradients().items()
            for moment in _MOMENTS
        }

    def restore(self, tensors: Mapping[str, Tensor], *, step: int) -> None:
        """Continue with the moments after `step` updates. Raises KeyError if one is missing."""
        for name, parameter in self._parameters.items():
            state = {
                moment: tensors[f"{moment}.{name}"].to(parameter.device, copy=True)
                for moment in _MOMENTS
            }
            count = torch.tensor(float(step), device="cpu")
            self._adamw.state[parameter] = {"step": count, **state}
