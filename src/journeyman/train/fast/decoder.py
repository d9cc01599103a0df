"""The whole model over one pack: embedding, layers, output layer; loss, and gradients by hand."""

from collections.abc import Mapping
from typing import Any

import torch
from msgspec import Struct
from torch import Tensor

from journeyman.train.fast.adapters import Dropout
from journeyman.train.fast.elementwise import Elementwise
from journeyman.train.fast.ends import OuterWeights, output_layer
from journeyman.train.fast.layer import Layer, LayerActivations
from journeyman.train.fast.memory import ActivationBudget
from journeyman.train.fast.narrowing import AS_IT_IS, Int8Plan
from journeyman.train.fast.packing import Pack
from journeyman.train.fast.products import Arithmetic
from journeyman.train.fast.shape import DecoderShape
from journeyman.train.fast.sources import PlacedWeights, WeightSource
from journeyman.train.head_loss import completion_loss


class DecoderPlan(Struct, frozen=True):
    """How to compute: arithmetic, whether loops are compiled, and which layers run twice.

    `recomputed_layers` of the layers keep their input alone and run again in the backward; more
    where what `keeping` allows is too little for the micro-batch at hand. `device`: where weights,
    adapter and all that is computed stand.
    """

    arithmetic: Arithmetic
    narrowing: Int8Plan = AS_IT_IS
    compiled: bool = False
    recomputed_layers: int = 0
    keeping: ActivationBudget | None = None
    device: torch.device = torch.device("cpu")


class Decoder:
    """A frozen model of the Llama family with adapters."""

    def __init__(
        self,
        config: Any,
        shape: DecoderShape,
        source: WeightSource,
        parameters: Mapping[str, Tensor],
        *,
        plan: DecoderPlan,
        scaling: float,
    ) -> None:
        self._shape = shape
        self._plan = plan
        self._recomputed_layers = plan.recomputed_layers
        self._do = Elementwise(compiled=plan.compiled, rows=plan.arithmetic.rows)
        source = PlacedWeights(source, plan.device)
        self._ends = OuterWeights(
            config, shape, source, arithmetic=plan.arithmetic, elementwise=self._do
        )
        # Before the layers: its weights are the largest, and stand twice while they are made ready.
        self._head = output_layer(
            source,
            shape,
            arithmetic=plan.arithmetic,
            elementwise=self._do,
            narrowing=plan.narrowing,
        )
        self._layers = [
            Layer(
                number,
                shape,
                source,
                parameters,
                arithmetic=plan.arithmetic,
                scaling=scaling,
                elementwise=self._do,
                narrowing=plan.narrowing,
            )
            for number in range(shape.layers)
        ]
        adapted = [layer.number for layer in self._layers if layer.is_adapted]
        self._lowest = adapted[0] if adapted else shape.layers

    def loss(self, pack: Pack) -> float:
        """The summed loss in nats, without dropout and without gradients."""
        run = self._ends.run(pack, None)
        states = self._ends.embedded(pack)
        for layer in self._layers:
            states, _ = layer.forward(states, run)
        hidden = self._ends.hidden(states.index_select(0, pack.places))
        return completion_loss(
            hidden, pack.targets, self._head, with_gradient=False, kernel=self._do.rows
        )[0]

    def backward(self, pack: Pack, *, weight: float, dropout: Dropout | None) -> float:
        """The summed loss in nats; `weight` times its gradient is added to the adapters' leaves."""
        run = self._ends.run(pack, dropout)
        states = self._ends.embedded(pack)
        kept: list[LayerActivations | Tensor] = []
        recomputed = self._lowest + self._recomputed(pack.computed_tokens)
        for layer in self._layers:
            before = states
            states, found = layer.forward(states, run)
            if layer.number >= self._lowest:
                kept.append(before if layer.number < recomputed else found)
            del found
        loss, gradient = self._loss_backward(states, pack, weight)
        del states
        for layer in reversed(self._layers[self._lowest :]):
            there = kept.pop()
            if isinstance(there, Tensor):
                _, there = layer.forward(there, run)
            wants_input = layer.number > self._lowest
            below = layer.backward(gradient, there, run, wants_input=wants_input)
            if below is not None:
                gradient = below
        return loss

    def _loss_backward(self, states: Tensor, pack: Pack, weight: float) -> tuple[float, Tensor]:
        """The loss, and its gradient by the last layer's states, (T, H) float32."""
        chosen = states.index_select(0, pack.places)
        loss, by_hidden = completion_loss(
            self._ends.hidden(chosen),
            pack.targets,
            self._head,
            with_gradient=True,
            kernel=self._do.rows,
        )
        by_chosen = self._ends.hidden_backward(by_hidden.float().mul_(weight), chosen)
        # Added and not copied: a shared token can stand at more than one place.
        return loss, added_at(torch.zeros_like(states), pack.places, by_chosen)

    def _recomputed(self, tokens: int) -> int:
        keeping = self._plan.keeping
        by_memory = 0 if keeping is None else keeping.recomputed_layers(tokens)
        return max(self._recomputed_layers, by_memory)

    def recompute(self) -> None:
        """From now on every layer runs again in the backward."""
        self._recomputed_layers = self._shape.layers

    def stored_bytes(self) -> int:
        """Memory of the frozen weights."""
        layers = sum(layer.stored_bytes() for layer in self._layers)
        return layers + self._ends.stored_bytes() + self._head.stored_bytes()


def added_at(onto: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """`onto` with each row of values added at its place, in place; equal bits every time.

    onto: (T, H). places: (N,), a place may stand more than once. values: (N, H).
    """
    if onto.device.type == "cpu":
        return onto.index_add_(0, places, values)
    # A GPU adds by index in any order; by put it sorts first.
    return onto.index_put_((places,), values, accumulate=True)
