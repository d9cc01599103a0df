"""One decoder layer, forward and backward written by hand to compute only what adapters need.

There is no gradient for frozen weights, and none for the input of the lowest adapted layer. Only
what the backward pass reads is kept; with gradient checkpointing, only the layer's input.
"""

from collections.abc import Mapping, Sequence

import torch
from msgspec import Struct
from torch import Tensor

from journeyman.kernels.attention import AttentionKernel
from journeyman.train.batching.seeds import derived_seed
from journeyman.train.engine.fast.attention import AttentionOutput, Heads, attend, attend_backward
from journeyman.train.engine.fast.elementwise import Elementwise
from journeyman.train.engine.fast.int8_plan import PLAIN_INT8, Int8Plan, product_name
from journeyman.train.engine.fast.linear import Arithmetic, frozen_linear
from journeyman.train.engine.fast.lora import AdaptedProduct, Dropout, SavedForBackward, leaves_of
from journeyman.train.engine.fast.packing import TokenSpan
from journeyman.train.engine.fast.shape import GROUPS, DecoderShape
from journeyman.train.engine.fast.weights import WeightSource


class ForwardContext(Struct, frozen=True):
    """What all layers share in a pass over one pack.

    cosine, sine: (T, D) float32. spans: of the pack. kernel: for attention.
    """

    cosine: Tensor
    sine: Tensor
    spans: tuple[TokenSpan, ...]
    dropout: Dropout | None
    kernel: AttentionKernel | None

    def dropout_of(self, layer: int, group: str) -> Dropout | None:
        """The dropout of one linear layer, which has its own seed."""
        if self.dropout is None:
            return None
        return Dropout(self.dropout.share, derived_seed(self.dropout.seed, layer, group))


class LayerActivations(Struct, frozen=True):
    """What one layer's backward pass reads.

    states: the layer's input, (T, H) float32. joint: query, key and value before their norms, if
    there are such norms. middle: the states after attention, (T, H) float32. saved: of the four
    linear layers, in the order of `GROUPS`.
    """

    states: Tensor
    joint: Tensor | None
    heads: Heads
    attended: AttentionOutput
    middle: Tensor
    gate_up: Tensor
    saved: tuple[SavedForBackward, SavedForBackward, SavedForBackward, SavedForBackward]


class Layer:
    """A decoder layer with frozen weights and adapters on any of its seven targets."""

    def __init__(
        self,
        number: int,
        shape: DecoderShape,
        source: WeightSource,
        parameters: Mapping[str, Tensor],
        *,
        arithmetic: Arithmetic,
        scaling: float,
        elementwise: Elementwise,
        int8_plan: Int8Plan = PLAIN_INT8,
    ) -> None:
        self.number = number
        self._shape = shape
        self._dtype = arithmetic.activations
        self._do = elementwise
        attention, mlp = f"model.layers.{number}.self_attn", f"model.layers.{number}.mlp"

        def norm(name: str) -> Tensor:
            return source.tensor(f"model.layers.{number}.{name}.weight").float()

        def adapted(
            module: str, group: str, targets: Sequence[str], sizes: Sequence[int]
        ) -> AdaptedProduct:
            weights = [source.tensor(f"{module}.{target}.weight") for target in targets]
            bias = _bias(source, module, targets, sizes, weights[0].device)
            name = product_name(number, group)
            product = frozen_linear(
                weights,
                bias,
                int8_plan.of(name, arithmetic),
                elementwise,
                largest_inputs=int8_plan.largest_inputs.get(name),
            )
            leaves = leaves_of(parameters, module, targets, sizes)
            return AdaptedProduct(product, leaves, scaling, elementwise, arithmetic.adapters)

        keys, intermediate = shape.key_size, shape.intermediate
        self._joint = adapted(
            attention,
            "query_key_value",
            ("q_proj", "k_proj", "v_proj"),
            (shape.query_size, keys, keys),
        )
        self._output = adapted(attention, "output", ("o_proj",), (shape.hidden,))
        self._gate_up = adapted(mlp, "gate_up", ("gate_proj", "up_proj"), (intermediate,) * 2)
        self._down = adapted(mlp, "down", ("down_proj",), (shape.hidden,))
        self._first_norm = norm("input_layernorm")
        self._second_norm = norm("post_attention_layernorm")
        has_norms = f"{attention}.q_norm.weight" in source
        self._query_norm = norm("self_attn.q_norm") if has_norms else None
        self._key_norm = norm("self_attn.k_norm") if has_norms else None

    @property
    def parts(self) -> dict[str, AdaptedProduct]:
        """Its linear layers by their names, in the order of `GROUPS`."""
        parts = (self._joint, self._output, self._gate_up, self._down)
        names = [product_name(self.number, group) for group in GROUPS]
        return dict(zip(names, parts, strict=True))

    @property
    def is_adapted(self) -> bool:
        """Whether any of its linear layers has an adapter."""
        return any(part.is_adapted for part in self.parts.values())

    def stored_bytes(self) -> int:
        """Memory of the frozen weights of its linear layers."""
        return sum(part.product.stored_bytes for part in self.parts.values())

    def forward(self, states: Tensor, context: ForwardContext) -> tuple[Tensor, LayerActivations]:
        """(T, H) float32 to the same, and what the backward pass needs."""
        dropouts = [context.dropout_of(self.number, group) for group in GROUPS]
        joint, first = self._joint.forward(self._norm(states, self._first_norm), dropouts[0])
        heads = self._heads(joint, context)
        attended = attend(heads, context.spans, context.kernel)
        update, second = self._output.forward(attended.output.flatten(1), dropouts[1])
        middle = self._do.added(states, update)
        gate_up, third = self._gate_up.forward(self._norm(middle, self._second_norm), dropouts[2])
        update, fourth = self._down.forward(self._do.gated(gate_up), dropouts[3])
        activations = LayerActivations(
            states=states,
            joint=None if self._query_norm is None else joint,
            heads=heads,
            attended=attended,
            middle=middle,
            gate_up=gate_up,
            saved=(first, second, third, fourth),
        )
        return self._do.added(middle, update), activations

    def backward(
        self,
        gradient: Tensor,
        activations: LayerActivations,
        context: ForwardContext,
        *,
        wants_input: bool = True,
    ) -> Tensor | None:
        """The gradient by the layer's input if it is wanted; adds the adapters' gradients."""
        dropouts = [context.dropout_of(self.number, group) for group in GROUPS]
        by_middle = self._backward_mlp(gradient, activations, dropouts)
        by_output = self._output.backward(
            by_middle.to(self._dtype),
            activations.attended.output.flatten(1),
            activations.saved[1],
            dropouts[1],
        )
        assert by_output is not None
        by_heads = attend_backward(
            by_output.view(activations.heads.query.shape),
            activations.heads,
            activations.attended,
            context.spans,
            context.kernel,
        )
        by_normed = self._joint.backward(
            self._heads_backward(by_heads, activations, context),
            self._norm(activations.states, self._first_norm),
            activations.saved[0],
            dropouts[0],
            wants_input=wants_input,
        )
        if by_normed is None:
            return None
        return self._norm_backward(by_normed, activations.states, self._first_norm, by_middle)

    def _backward_mlp(
        self, gradient: Tensor, activations: LayerActivations, dropouts: Sequence[Dropout | None]
    ) -> Tensor:
        gate_up, middle = activations.gate_up, activations.middle
        # Computed again instead of kept, because it is the largest array of the layer.
        inner = self._do.gated(gate_up) if self._down.is_adapted else gate_up
        by_inner = self._down.backward(
            gradient.to(self._dtype), inner, activations.saved[3], dropouts[3]
        )
        by_gate_up = self._do.gated_backward(by_inner, gate_up)
        normed = self._norm(middle, self._second_norm) if self._gate_up.is_adapted else middle
        by_normed = self._gate_up.backward(by_gate_up, normed, activations.saved[2], dropouts[2])
        assert by_normed is not None
        return self._norm_backward(by_normed, middle, self._second_norm, gradient)

    def _norm(self, states: Tensor, weight: Tensor) -> Tensor:
        normed: Tensor = self._do.rms_norm(states, weight, self._shape.norm_epsilon, self._dtype)
        return normed

    def _norm_backward(
        self, gradient: Tensor, states: Tensor, weight: Tensor, onto: Tensor
    ) -> Tensor:
        by_states: Tensor = self._do.rms_norm_backward(
            gradient, states, weight, self._shape.norm_epsilon, onto
        )
        return by_states

    def _split(self, joint: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(T, all) as query (T, heads, D), key and value (T, groups, D)."""
        shape = self._shape
        sizes = [shape.query_size, shape.key_size, shape.key_size]
        query, key, value = torch.split(joint, sizes, dim=1)
        return (
            query.view(-1, shape.heads, shape.head_size),
            key.view(-1, shape.groups, shape.head_size),
            value.view(-1, shape.groups, shape.head_size),
        )

    def _heads(self, joint: Tensor, context: ForwardContext) -> Heads:
        query, key, value = self._split(joint)
        if self._query_norm is not None:
            assert self._key_norm is not None
            query = self._norm(query.float(), self._query_norm)
            key = self._norm(key.float(), self._key_norm)
        return Heads(
            self._do.rotated(query, context.cosine, context.sine),
            self._do.rotated(key, context.cosine, context.sine),
            value,
        )

    def _heads_backward(
        self, gradients: Heads, activations: LayerActivations, context: ForwardContext
    ) -> Tensor:
        """The gradient by the joint output of query, key and value, (T, all)."""
        query = self._do.rotated_back(gradients.query, context.cosine, context.sine)
        key = self._do.rotated_back(gradients.key, context.cosine, context.sine)
        if activations.joint is not None:
            assert self._query_norm is not None
            assert self._key_norm is not None
            raw_query, raw_key, _ = self._split(activations.joint)
            query = self._head_norm_backward(query, raw_query, self._query_norm)
            key = self._head_norm_backward(key, raw_key, self._key_norm)
        return torch.cat([part.flatten(1) for part in (query, key, gradients.value)], dim=1)

    def _head_norm_backward(self, gradient: Tensor, states: Tensor, weight: Tensor) -> Tensor:
        heads = states.float()
        by_heads = self._norm_backward(gradient, heads, weight, torch.zeros_like(heads))
        return by_heads.to(self._dtype)


def _bias(
    source: WeightSource,
    module: str,
    targets: Sequence[str],
    sizes: Sequence[int],
    device: torch.device,
) -> Tensor | None:
    """The biases of some targets as one, with zeros for a target without bias; None if no bias."""
    names = [f"{module}.{target}.bias" for target in targets]
    if not any(name in source for name in names):
        return None
    parts = [
        source.tensor(name).float() if name in source else torch.zeros(size, device=device)
        for name, size in zip(names, sizes, strict=True)
    ]
    return torch.cat(parts)
