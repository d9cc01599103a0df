"""AdamW over the adapter, with a state that is plain tensors by name.

Decoupled weight decay. (Loshchilov & Hutter 2019, arXiv 1711.05101.)
"""

from collections.abc import Mapping

import torch
from torch import Tensor

BETAS = (0.9, 0.999)

EPSILON = 1e-8

_MOMENTS = ("exp_avg", "exp_avg_sq")


class Optimizer:
    """AdamW for named float32 tensors; the learning rate comes with each step."""

    def __init__(self, parameters: Mapping[str, Tensor], *, weight_decay: float) -> None:
        self._parameters = dict(parameters)
        self._adamw = torch.optim.AdamW(
            self._parameters.values(), betas=BETAS, eps=EPSILON, weight_decay=weight_decay
        )

    def clear(self) -> None:
        """Forget the gradients."""
        self._adamw.zero_grad(set_to_none=True)

    def gradients(self) -> dict[str, Tensor]:
        """The gradients that have added up so far, by the parameters' names."""
        return {
            name: parameter.grad
            for name, parameter in self._parameters.items()
            if parameter.grad is not None
        }

    def restore_gradients(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up gradients that were saved inside of a step. Raises KeyError, ValueError."""
        for name, parameter in self._parameters.items():
            if tensors[name].shape != parameter.shape:
                raise ValueError(f"the gradient of `{name}` has shape {tuple(tensors[name].shape)}")
            parameter.grad = tensors[name].to(parameter.device, copy=True)

    def no_gradients(self) -> dict[str, Tensor]:
        """Zeros in the shapes of the gradients, in the parameters' order."""
        return {name: torch.zeros_like(one.detach()) for name, one in self._parameters.items()}

    def clip(self, max_norm: float) -> float:
        """Scale the gradients to at most this norm; gives the norm before, finite or not."""
        return float(torch.nn.utils.clip_grad_norm_(self._parameters.values(), max_norm))

    def step(self, lr: float) -> None:
        """Change the parameters by one update."""
        for group in self._adamw.param_groups:
            group["lr"] = lr
        self._adamw.step()

    def tensors(self) -> dict[str, Tensor]:
        """Moments by `exp_avg.NAME` and `exp_avg_sq.NAME`; none before the first step."""
        return {
            f"{moment}.{name}": self._adamw.state[parameter][moment]
            for name, parameter in self._parameters.items()
            for moment in _MOMENTS
            if parameter in self._adamw.state
        }

    def no_moments(self) -> dict[str, Tensor]:
        """Zeros in the shapes of all moments, for `restore`."""
        return {
            f"{moment}.{name}": zeros
            for name, zeros in self.no_gradients().items()
            for moment in _MOMENTS
        }

    def restore(self, tensors: Mapping[str, Tensor], *, step: int) -> None:
        """Take up the moments after `step` updates. Raises KeyError where one is missing."""
        for name, parameter in self._parameters.items():
            state = {
                moment: tensors[f"{moment}.{name}"].to(parameter.device, copy=True)
                for moment in _MOMENTS
            }
            count = torch.tensor(float(step), device="cpu")
            self._adamw.state[parameter] = {"step": count, **state}
