"""LoRA on a frozen linear layer: y += s B (A dropout(x)), forward and backward written by hand.

Targets with the same input (query, key, value; gate, up) share one frozen linear layer, one dropout
mask and one product with their A's, so that the input is read once. A: (r, K). B: (N, r).
(Hu et al. 2021, arXiv 2106.09685.)
"""

from collections.abc import Mapping, Sequence

import torch
from msgspec import Struct
from torch import Tensor

from journeyman.kernels.adapters import AdapterKernel
from journeyman.train.engine.fast.elementwise import Elementwise
from journeyman.train.engine.fast.linear import FrozenLinear


class Leaf(Struct, frozen=True):
    """One target's adapter: A and B, float32, and the output columns that it adds to."""

    first: Tensor
    second: Tensor
    columns: slice


class Dropout(Struct, frozen=True):
    """The share of an adapter's input that is dropped, and the seed.

    They decide the mask (`kernels.dropout_mask`), so that the backward pass draws it again.
    """

    share: float
    seed: int


class SavedForBackward(Struct, frozen=True):
    """What an adapted layer's backward pass needs. reduced: A dropout(x), (T, all r)."""

    reduced: Tensor | None = None


class AdaptedProduct:
    """A frozen linear layer with the adapters on it, if there are any.

    kernel: for the adapters; used if it supports the tensors.
    """

    def __init__(
        self,
        product: FrozenLinear,
        leaves: Sequence[Leaf],
        scaling: float,
        elementwise: Elementwise,
        kernel: AdapterKernel | None = None,
    ) -> None:
        self.product = product
        self._leaves = leaves
        self._scaling = scaling
        self._do = elementwise
        fits = kernel is not None and all(len(x.second) % kernel.width == 0 for x in leaves)
        self._kernel = kernel if fits else None

    @property
    def is_adapted(self) -> bool:
        """Whether it has an adapter."""
        return bool(self._leaves)

    def forward(self, states: Tensor, dropout: Dropout | None) -> tuple[Tensor, SavedForBackward]:
        """(T, K) to (T, N), and what the backward pass needs. dropout: None without dropout."""
        if not self._leaves:
            return self.product.forward(states), SavedForBackward()
        reduced = self._reduced(states, dropout)
        if states.dtype is torch.bfloat16:
            # Added to a result in BF16, most of an adapter would be rounded away.
            onto = self._added(states.new_zeros((len(states), self.product.out_size)), reduced)
            return self.product.forward(states, onto), SavedForBackward(reduced)
        return self._added(self.product.forward(states), reduced), SavedForBackward(reduced)

    def _reduced(self, states: Tensor, dropout: Dropout | None) -> Tensor:
        """A dropout(x), (T, all r); the kernel gives float32."""
        kernel = self._kernel_for(states)
        if kernel is not None:
            return kernel.reduce(states, self._firsts(torch.float32), _share_and_seed(dropout))
        inputs = self._dropped(states, dropout)
        return inputs @ self._firsts(inputs.dtype).t()

    def _kernel_for(self, states: Tensor) -> AdapterKernel | None:
        kernel = self._kernel
        return kernel if kernel is not None and kernel.takes(states) and len(states) else None

    def _added(self, onto: Tensor, reduced: Tensor) -> Tensor:
        """Add the adapters' output to `onto` in place. onto: (T, N). reduced: (T, all r)."""
        for leaf, part in zip(self._leaves, self._parts(reduced), strict=True):
            second = leaf.second.to(onto.dtype)
            onto[:, leaf.columns].addmm_(part.to(onto.dtype), second.t(), alpha=self._scaling)
        return onto

    def backward(
        self,
        gradient: Tensor,
        states: Tensor,
        saved: SavedForBackward,
        dropout: Dropout | None,
        *,
        wants_input: bool = True,
    ) -> Tensor | None:
        """The gradient by the states if it is wanted; adds the adapters' gradients."""
        by_states = self.product.input_gradient(gradient) if wants_input else None
        if saved.reduced is None:
            return by_states
        kernel = self._kernel_for(states)
        if kernel is None:
            return self._backward_by_torch(gradient, states, saved.reduced, dropout, by_states)
        by_reduced = torch.empty_like(saved.reduced)
        parts = zip(self._leaves, self._parts(saved.reduced), self._parts(by_reduced), strict=True)
        for leaf, reduced, by_part in parts:
            kernel.by_second(
                gradient[:, leaf.columns],
                leaf.second,
                reduced,
                self._scaling,
                by_reduced=by_part,
                onto=_gradient_of(leaf.second),
            )
        firsts = self._firsts(by_reduced.dtype)
        self._add_firsts(
            kernel.by_first(states, firsts, by_reduced, _share_and_seed(dropout), by_states)
        )
        return by_states

    def _backward_by_torch(
        self,
        gradient: Tensor,
        states: Tensor,
        reduced: Tensor,
        dropout: Dropout | None,
        by_states: Tensor | None,
    ) -> Tensor | None:
        """Add the adapters' gradients, and their part of the gradient by the states."""
        by_reduced = torch.empty_like(reduced)
        parts = zip(self._leaves, self._parts(reduced), self._parts(by_reduced), strict=True)
        for leaf, part, by_part in parts:
            by_output = gradient[:, leaf.columns]
            _gradient_of(leaf.second).add_((by_output.t() @ part).mul_(self._scaling))
            torch.mm(by_output, leaf.second.to(by_output.dtype), out=by_part).mul_(self._scaling)
        self._add_firsts(by_reduced.t() @ self._dropped(states, dropout))
        if by_states is None:
            return None
        firsts = self._firsts(by_reduced.dtype)
        if dropout is None:
            return by_states.addmm_(by_reduced, firsts)
        return self._do.dropped_onto(by_states, by_reduced @ firsts, dropout.seed, dropout.share)

    def _add_firsts(self, gradients: Tensor) -> None:
        """Add the gradients of all A's, (all r, K)."""
        parts = torch.split(gradients, [len(leaf.first) for leaf in self._leaves])
        for leaf, gradient in zip(self._leaves, parts, strict=True):
            _gradient_of(leaf.first).add_(gradient)

    def _dropped(self, states: Tensor, dropout: Dropout | None) -> Tensor:
        if dropout is None:
            return states
        return self._do.dropped(states, dropout.seed, dropout.share)

    def _firsts(self, dtype: torch.dtype) -> Tensor:
        return torch.cat([leaf.first.detach() for leaf in self._leaves]).to(dtype)

    def _parts(self, reduced: Tensor) -> tuple[Tensor, ...]:
        return torch.split(reduced, [len(leaf.first) for leaf in self._leaves], dim=1)


def _gradient_of(leaf: Tensor) -> Tensor:
    """The gradient of a parameter, zero at first."""
    if leaf.grad is None:
        leaf.grad = torch.zeros_like(leaf)
    return leaf.grad


def _share_and_seed(dropout: Dropout | None) -> tuple[float, int] | None:
    return None if dropout is None else (dropout.share, dropout.seed)


def leaves_of(
    parameters: Mapping[str, Tensor], module: str, targets: Sequence[str], sizes: Sequence[int]
) -> list[Leaf]:
    """The adapters of targets that share one linear layer, by PEFT's names.

    module: e.g. `model.layers.3.self_attn`. sizes: outputs of each target, in the layer's order.
    """
    leaves, at = [], 0
    for target, size in zip(targets, sizes, strict=True):
        first = parameters.get(leaf_name(module, target, "A"))
        if first is not None:
            second = parameters[leaf_name(module, target, "B")]
            leaves.append(Leaf(first, second, slice(at, at + size)))
        at += size
    return leaves


def leaf_name(module: str, target: str, part: str) -> str:
    """PEFT's name of one parameter of an adapter. part: A or B."""
    return f"base_model.model.{module}.{target}.lora_{part}.weight"
