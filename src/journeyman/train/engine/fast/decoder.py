"""The whole model over one pack: embedding, layers, output layer; loss, and gradients by hand.

What stands around the layers: embedding, rotary angles, the last norm and the output layer.
"""

from collections.abc import Mapping
from typing import Any

import torch
from msgspec import Struct
from torch import Tensor
from torch.nn import functional

from journeyman.train.engine.fast.elementwise import Elementwise
from journeyman.train.engine.fast.int8_plan import PLAIN_INT8, Int8Plan
from journeyman.train.engine.fast.layer import ForwardContext, Layer, LayerActivations
from journeyman.train.engine.fast.linear import Arithmetic, FrozenLinear, frozen_linear
from journeyman.train.engine.fast.lora import Dropout
from journeyman.train.engine.fast.memory import ActivationBudget
from journeyman.train.engine.fast.packing import Pack
from journeyman.train.engine.fast.shape import HEAD, DecoderShape
from journeyman.train.engine.fast.weights import PlacedWeights, WeightSource
from journeyman.train.engine.loss import completion_loss


class DecoderPlan(Struct, frozen=True):
    """How to compute: arithmetic, whether loops are compiled, and gradient checkpointing.

    checkpointed_layers: so many layers keep only their input and run again in the backward pass;
    more do if a micro-batch needs more than the activation budget. device: of weights, adapter and
    activations.
    """

    arithmetic: Arithmetic
    int8_plan: Int8Plan = PLAIN_INT8
    compiled: bool = False
    checkpointed_layers: int = 0
    activation_budget: ActivationBudget | None = None
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
        self._checkpointed_layers = plan.checkpointed_layers
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
            int8_plan=plan.int8_plan,
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
                int8_plan=plan.int8_plan,
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
        recomputed = self._lowest + self._checkpointed(pack.computed_tokens)
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

    def _checkpointed(self, tokens: int) -> int:
        budget = self._plan.activation_budget
        by_memory = 0 if budget is None else budget.checkpointed_layers(tokens)
        return max(self._checkpointed_layers, by_memory)

    def enable_gradient_checkpointing(self) -> None:
        """From now on every layer runs again in the backward pass."""
        self._checkpointed_layers = self._shape.layers

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


class OuterWeights:
    """The frozen weights that belong to no layer, but for the output layer's."""

    def __init__(
        self,
        config: Any,
        shape: DecoderShape,
        source: WeightSource,
        *,
        arithmetic: Arithmetic,
        elementwise: Elementwise,
    ) -> None:
        self._arithmetic = arithmetic
        self._do = elementwise
        self._epsilon = shape.norm_epsilon
        self._embedding = source.tensor("model.embed_tokens.weight")
        self._norm = source.tensor("model.norm.weight").float()
        frequencies, self._position_scale = _frequencies(config)
        self._frequencies = frequencies.to(self._embedding.device)

    def embedded(self, pack: Pack) -> Tensor:
        """The states before the first layer, (T, H) float32."""
        return functional.embedding(pack.ids, self._embedding).float()

    def run(self, pack: Pack, dropout: Dropout | None) -> ForwardContext:
        """What the layers share in a pass over one pack."""
        angles = pack.positions.float().unsqueeze(1) * self._frequencies
        both = torch.cat((angles, angles), dim=1)
        cosine, sine = both.cos() * self._position_scale, both.sin() * self._position_scale
        return ForwardContext(cosine, sine, pack.spans, dropout, self._arithmetic.attention)

    def hidden(self, states: Tensor) -> Tensor:
        """What the output layer reads: (N, H) float32 to the same, in the activations' dtype."""
        found: Tensor = self._do.rms_norm(
            states, self._norm, self._epsilon, self._arithmetic.activations
        )
        return found

    def hidden_backward(self, gradient: Tensor, states: Tensor) -> Tensor:
        """The gradient by the states of what `hidden` gave, (N, H) float32."""
        found: Tensor = self._do.rms_norm_backward(
            gradient, states, self._norm, self._epsilon, torch.zeros_like(states)
        )
        return found

    def stored_bytes(self) -> int:
        """Memory of the embedding."""
        return self._embedding.nbytes


def output_layer(
    source: WeightSource,
    shape: DecoderShape,
    *,
    arithmetic: Arithmetic,
    elementwise: Elementwise,
    int8_plan: Int8Plan = PLAIN_INT8,
) -> FrozenLinear:
    """The output layer, of the embedding's weights where it has none of its own."""
    tied = shape.tied or "lm_head.weight" not in source
    name = "model.embed_tokens.weight" if tied else "lm_head.weight"
    return frozen_linear(
        [source.tensor(name)],
        None,
        int8_plan.of(HEAD, arithmetic),
        elementwise,
    )


def _frequencies(config: Any) -> tuple[Tensor, float]:
    """Angular frequencies of the rotary positions, (D/2,), and the scale of their sine and cosine.

    transformers' own module computes them, with every kind of scaling of the family.
    """
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    # On the processor for every device, so that all have equal ones.
    with torch.device("cpu"):
        rotary = LlamaRotaryEmbedding(config)
    return rotary.inv_freq.float(), float(rotary.attention_scaling)
