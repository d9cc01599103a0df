"""LoRA on a frozen product: y += s B (A drop(x)), forward and backward by hand.

Targets that read the same input (query, key, value; gate, up) share one frozen product, one
dropout mask and one product with their A's, so the input is read once. A: (r, K). B: (N, r).
(Hu et al. 2021, arXiv 2106.09685.)
"""

from collections.abc import Mapping, Sequence

import torch
from msgspec import Struct
from torch import Tensor

from journeyman.train.fast.elementwise import Elementwise
from journeyman.train.fast.products import Product


class Leaf(Struct, frozen=True):
    """One adapter: float32 leaves, and the output columns of the shared product that it adds to."""

    first: Tensor
    second: Tensor
    columns: slice


class Dropout(Struct, frozen=True):
    """Which share of an adapter's input is dropped, drawn from which seed.

    The mask follows from both alone (`kernels.chance`), so the backward draws it again.
    """

    share: float
    seed: int


class Passed(Struct, frozen=True):
    """What the backward of an adapted product needs of its forward."""

    reduced: Tensor | None = None  # (T, r of all leaves): A drop(x)


class AdaptedProduct:
    """A frozen product with the adapters on it; without any it is the frozen product."""

    def __init__(
        self, product: Product, leaves: Sequence[Leaf], scaling: float, elementwise: Elementwise
    ) -> None:
        self.product = product
        self._leaves = leaves
        self._scaling = scaling
        self._do = elementwise

    @property
    def is_adapted(self) -> bool:
        """Whether any adapter is on it."""
        return bool(self._leaves)

    def forward(self, states: Tensor, dropout: Dropout | None) -> tuple[Tensor, Passed]:
        """(T, K) to (T, N), and what the backward needs. dropout: None where nothing is dropped."""
        if not self._leaves:
            return self.product.forward(states), Passed()
        given = self._dropped(states, dropout)
        reduced = given @ self._firsts(given.dtype).t()
        if states.dtype is torch.bfloat16:
            # Added to a product in BF16, most of an adapter would be rounded away.
            onto = self._added(reduced.new_zeros((len(states), self.product.out_size)), reduced)
            return self.product.forward(states, onto), Passed(reduced)
        return self._added(self.product.forward(states), reduced), Passed(reduced)

    def _added(self, onto: Tensor, reduced: Tensor) -> Tensor:
        """What the adapters give, added in place. onto: (T, N). reduced: (T, r of all leaves)."""
        for leaf, part in zip(self._leaves, self._parts(reduced), strict=True):
            second = leaf.second.to(part.dtype)
            onto[:, leaf.columns].addmm_(part, second.t(), alpha=self._scaling)
        return onto

    def backward(
        self,
        gradient: Tensor,
        states: Tensor,
        passed: Passed,
        dropout: Dropout | None,
        *,
        wants_input: bool = True,
    ) -> Tensor | None:
        """The gradient by the states, where it is wanted; the leaves' gradients add up."""
        found = self.product.input_gradient(gradient) if wants_input else None
        if passed.reduced is None:
            return found
        by_reduced = torch.empty_like(passed.reduced)
        parts = zip(self._leaves, self._parts(passed.reduced), self._parts(by_reduced), strict=True)
        for leaf, reduced, by_part in parts:
            wanted = gradient[:, leaf.columns]
            _add_gradient(leaf.second, (wanted.t() @ reduced).mul_(self._scaling))
            torch.mm(wanted, leaf.second.to(wanted.dtype), out=by_part)
        by_reduced.mul_(self._scaling)
        by_firsts = by_reduced.t() @ self._dropped(states, dropout)
        at = 0
        for leaf in self._leaves:
            rank = len(leaf.first)
            _add_gradient(leaf.first, by_firsts[at : at + rank])
            at += rank
        if found is None:
            return None
        firsts = self._firsts(by_reduced.dtype)
        if dropout is None:
            return found.addmm_(by_reduced, firsts)
        return self._do.dropped_onto(found, by_reduced @ firsts, dropout.seed, dropout.share)

    def _dropped(self, states: Tensor, dropout: Dropout | None) -> Tensor:
        if dropout is None:
            return states
        return self._do.dropped(states, dropout.seed, dropout.share)

    def _firsts(self, dtype: torch.dtype) -> Tensor:
        return torch.cat([leaf.first.detach() for leaf in self._leaves]).to(dtype)

    def _parts(self, reduced: Tensor) -> tuple[Tensor, ...]:
        return torch.split(reduced, [len(leaf.first) for leaf in self._leaves], dim=1)


def _add_gradient(leaf: Tensor, gradient: Tensor) -> None:
    if leaf.grad is None:
        leaf.grad = torch.zeros_like(leaf)
    leaf.grad.add_(gradient)


def leaves_of(
    parameters: Mapping[str, Tensor], module: str, targets: Sequence[str], sizes: Sequence[int]
) -> list[Leaf]:
    """The adapters of targets that share one product, by PEFT's names.

    module: e.g. `model.layers.3.self_attn`. sizes: outputs of each target, in the product's order.
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
    """PEFT's name of one tensor of an adapter. part: A or B."""
    return f"base_model.model.{module}.{target}.lora_{part}.weight"
