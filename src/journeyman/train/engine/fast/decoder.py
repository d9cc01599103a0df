"""The whole model over one pack, forward and backward written by hand.

`Decoder` runs the layers and the loss. `OuterWeights` is what lies around the layers: embedding,
rotary angles and the last norm. `output_layer` makes the frozen output layer.
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

_EMBEDDING = "model.embed_tokens.weight"
_OUTPUT_LAYER = "lm_head.weight"


class DecoderPlan(Struct, frozen=True):
    """How to compute: arithmetic, whether loops are compiled, and gradient checkpointing.

    checkpointed_layers: how many layers keep only their input and recompute their activations in
    the backward pass; more do so if a micro-batch exceeds the activation budget. device: of
    weights, adapter and activations.
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
        self._outer = OuterWeights(
            config, shape, source, arithmetic=plan.arithmetic, elementwise=self._do
        )
        # Before the layers, because it is the largest and takes twice its memory while it is made.
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
        self._lowest_adapted = adapted[0] if adapted else shape.layers

    def loss(self, pack: Pack) -> float:
        """The summed loss in nats, without dropout and without gradients."""
        context = self._outer.context(pack, None)
        states = self._outer.embed(pack)
        for layer in self._layers:
            states, _ = layer.forward(states, context)
        hidden = self._outer.hidden(states.index_select(0, pack.places))
        return completion_loss(
            hidden, pack.targets, self._head, with_gradient=False, kernel=self._do.rows
        )[0]

    def backward(self, pack: Pack, *, weight: float, dropout: Dropout | None) -> float:
        """The summed loss in nats; adds `weight` times its gradient to the adapters' parameters."""
        context = self._outer.context(pack, dropout)
        states = self._outer.embed(pack)
        # Of each layer that needs a gradient: its activations, or only its input if checkpointed.
        kept: list[LayerActivations | Tensor] = []
        lowest = self._lowest_adapted
        first_kept = lowest + self._layers_to_checkpoint(pack.computed_tokens)
        for layer in self._layers:
            before = states
            states, activations = layer.forward(states, context)
            if layer.number >= lowest:
                kept.append(before if layer.number < first_kept else activations)
            del activations
        loss, gradient = self._loss_backward(states, pack, weight)
        del states
        for layer in reversed(self._layers[lowest:]):
            saved = kept.pop()
            if isinstance(saved, Tensor):
                _, saved = layer.forward(saved, context)
            wants_input = layer.number > lowest
            below = layer.backward(gradient, saved, context, wants_input=wants_input)
            if below is not None:
                gradient = below
        return loss

    def _loss_backward(self, states: Tensor, pack: Pack, weight: float) -> tuple[float, Tensor]:
        """The loss, and its gradient by the last layer's states, (T, H) float32."""
        chosen = states.index_select(0, pack.places)
        loss, by_hidden = completion_loss(
            self._outer.hidden(chosen),
            pack.targets,
            self._head,
            with_gradient=True,
            kernel=self._do.rows,
        )
        by_chosen = self._outer.hidden_backward(by_hidden.float().mul_(weight), chosen)
        # Added and not copied, because a shared token may be at several places.
        return loss, added_at(torch.zeros_like(states), pack.places, by_chosen)

    def _layers_to_checkpoint(self, tokens: int) -> int:
        budget = self._plan.activation_budget
        by_memory = 0 if budget is None else budget.checkpointed_layers(tokens)
        return max(self._checkpointed_layers, by_memory)

    def enable_gradient_checkpointing(self) -> None:
        """From now on recompute the activations of every layer in the backward pass."""
        self._checkpointed_layers = self._shape.layers

    def stored_bytes(self) -> int:
        """Memory of the frozen weights."""
        layers = sum(layer.stored_bytes() for layer in self._layers)
        return layers + self._outer.stored_bytes() + self._head.stored_bytes


def added_at(onto: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """`onto` with each row of values added at its place, in place; equal bits every time.

    onto: (T, H). places: (N,), each may occur several times. values: (N, H).
    """
    if onto.device.type == "cpu":
        return onto.index_add_(0, places, values)
    # A GPU adds by index in any order, but by put it sorts first.
    return onto.index_put_((places,), values, accumulate=True)


class OuterWeights:
    """The frozen weights outside of the layers, except for the output layer's."""

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
        self._embedding = source.tensor(_EMBEDDING)
        self._norm = source.tensor("model.norm.weight").float()
        frequencies, self._position_scale = _rotary_frequencies(config)
        self._frequencies = frequencies.to(self._embedding.device)

    def embed(self, pack: Pack) -> Tensor:
        """The states before the first layer, (T, H) float32."""
        return functional.embedding(pack.ids, self._embedding).float()

    def context(self, pack: Pack, dropout: Dropout | None) -> ForwardContext:
        """What all layers share in a pass over one pack."""
        angles = pack.positions.float().unsqueeze(1) * self._frequencies
        both = torch.cat((angles, angles), dim=1)
        cosine, sine = both.cos() * self._position_scale, both.sin() * self._position_scale
        return ForwardContext(cosine, sine, pack.spans, dropout, self._arithmetic.attention)

    def hidden(self, states: Tensor) -> Tensor:
        """The input of the output layer: (N, H) float32 to the same in the activations' dtype."""
        hidden: Tensor = self._do.rms_norm(
            states, self._norm, self._epsilon, self._arithmetic.activations
        )
        return hidden

    def hidden_backward(self, gradient: Tensor, states: Tensor) -> Tensor:
        """The gradient of `hidden` by its states, (N, H) float32."""
        by_states: Tensor = self._do.rms_norm_backward(
            gradient, states, self._norm, self._epsilon, torch.zeros_like(states)
        )
        return by_states

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
    """The output layer, with the embedding's weights if it is tied."""
    is_tied = shape.tied or _OUTPUT_LAYER not in source
    weight = source.tensor(_EMBEDDING if is_tied else _OUTPUT_LAYER)
    return frozen_linear([weight], None, int8_plan.of(HEAD, arithmetic), elementwise)


def _rotary_frequencies(config: Any) -> tuple[Tensor, float]:
    """Angular frequencies of the rotary positions, (D/2,), and the scale of their sine and cosine.

    transformers' own module computes them, with every kind of scaling in the family.
    """
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    # On the processor for every device, so that all have the same ones.
    with torch.device("cpu"):
        rotary = LlamaRotaryEmbedding(config)
    return rotary.inv_freq.float(), float(rotary.attention_scaling)
