"""One decoder layer, forward and backward by hand: only what an adapter needs is computed.

No gradient is made for frozen weights, none for the input of the lowest layer that is adapted, and
only what the backward reads is kept; a layer can also keep its input alone and run again.
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
    """What all layers of one pass share: cosine, sine (T, D) float32; the tree; the dropout."""

    cosine: Tensor
    sine: Tensor
    spans: tuple[TokenSpan, ...]
    dropout: Dropout | None
    kernel: AttentionKernel | None

    def dropout_of(self, layer: int, group: str) -> Dropout | None:
        """A draw of its own for each product of each layer."""
        if self.dropout is None:
            return None
        return Dropout(self.dropout.share, derived_seed(self.dropout.seed, layer, group))


class LayerActivations(Struct, frozen=True):
    """What one layer's backward reads. states: the layer's input, (T, H) float32."""

    states: Tensor
    joint: Tensor | None  # query, key and value before their norms, where there are such norms
    heads: Heads
    attended: AttentionOutput
    middle: Tensor  # (T, H) float32: after attention
    gate_up: Tensor
    passed: tuple[SavedForBackward, SavedForBackward, SavedForBackward, SavedForBackward]


class Layer:
    """A decoder layer with frozen weights and adapters on any of its seven products."""

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

        keys, wide = shape.key_size, shape.intermediate
        self._joint = adapted(
            attention,
            "query_key_value",
            ("q_proj", "k_proj", "v_proj"),
            (shape.query_size, keys, keys),
        )
        self._output = adapted(attention, "output", ("o_proj",), (shape.hidden,))
        self._gate_up = adapted(mlp, "gate_up", ("gate_proj", "up_proj"), (wide, wide))
        self._down = adapted(mlp, "down", ("down_proj",), (shape.hidden,))
        self._first_norm = norm("input_layernorm")
        self._second_norm = norm("post_attention_layernorm")
        has_norms = f"{attention}.q_norm.weight" in source
        self._query_norm = norm("self_attn.q_norm") if has_norms else None
        self._key_norm = norm("self_attn.k_norm") if has_norms else None

    @property
    def parts(self) -> dict[str, AdaptedProduct]:
        """Its products by their names, in the order of `GROUPS`."""
        parts = (self._joint, self._output, self._gate_up, self._down)
        names = [product_name(self.number, group) for group in GROUPS]
        return dict(zip(names, parts, strict=True))

    @property
    def is_adapted(self) -> bool:
        """Whether any of its products has an adapter."""
        return any(part.is_adapted for part in self.parts.values())

    def stored_bytes(self) -> int:
        """Memory of the frozen weights of its products."""
        return sum(part.product.stored_bytes() for part in self.parts.values())

    def forward(self, states: Tensor, run: ForwardContext) -> tuple[Tensor, LayerActivations]:
        """(T, H) float32 to the same, and what the backward needs."""
        drops = [run.dropout_of(self.number, group) for group in GROUPS]
        joint, first = self._joint.forward(self._normed(states, self._first_norm), drops[0])
        heads = self._heads(joint, run)
        attended = attend(heads, run.spans, run.kernel)
        update, second = self._output.forward(attended.output.flatten(1), drops[1])
        middle = self._do.added(states, update)
        gate_up, third = self._gate_up.forward(self._normed(middle, self._second_norm), drops[2])
        update, fourth = self._down.forward(self._do.gated(gate_up), drops[3])
        kept = LayerActivations(
            states=states,
            joint=None if self._query_norm is None else joint,
            heads=heads,
            attended=attended,
            middle=middle,
            gate_up=gate_up,
            passed=(first, second, third, fourth),
        )
        return self._do.added(middle, update), kept

    def backward(
        self,
        gradient: Tensor,
        kept: LayerActivations,
        run: ForwardContext,
        *,
        wants_input: bool = True,
    ) -> Tensor | None:
        """The gradient by the layer's input, where it is wanted; adapters' gradients add up."""
        drops = [run.dropout_of(self.number, group) for group in GROUPS]
        by_middle = self._backward_mlp(gradient, kept, drops)
        given = by_middle.to(self._dtype)
        output = kept.attended.output.flatten(1)
        by_output = self._output.backward(given, output, kept.passed[1], drops[1])
        assert by_output is not None
        by_heads = attend_backward(
            by_output.view(kept.heads.query.shape),
            kept.heads,
            kept.attended,
            run.spans,
            run.kernel,
        )
        by_joint = self._joined(by_heads, kept, run)
        normed = self._normed(kept.states, self._first_norm)
        by_normed = self._joint.backward(
            by_joint, normed, kept.passed[0], drops[0], wants_input=wants_input
        )
        if by_normed is None:
            return None
        return self._norm_backward(by_normed, kept.states, self._first_norm, by_middle)

    def _backward_mlp(
        self, gradient: Tensor, kept: LayerActivations, drops: Sequence[Dropout | None]
    ) -> Tensor:
        given = gradient.to(self._dtype)
        # Made again from what it was made of: it is the widest array of the layer.
        inner = self._do.gated(kept.gate_up) if self._down.is_adapted else kept.gate_up
        by_inner = self._down.backward(given, inner, kept.passed[3], drops[3])
        by_gate_up = self._do.gated_backward(by_inner, kept.gate_up)
        normed = (
            self._normed(kept.middle, self._second_norm)
            if self._gate_up.is_adapted
            else kept.middle
        )
        by_normed = self._gate_up.backward(by_gate_up, normed, kept.passed[2], drops[2])
        assert by_normed is not None
        return self._norm_backward(by_normed, kept.middle, self._second_norm, gradient)

    def _normed(self, states: Tensor, weight: Tensor) -> Tensor:
        found: Tensor = self._do.rms_norm(states, weight, self._shape.norm_epsilon, self._dtype)
        return found

    def _norm_backward(
        self, gradient: Tensor, states: Tensor, weight: Tensor, onto: Tensor
    ) -> Tensor:
        found: Tensor = self._do.rms_norm_backward(
            gradient, states, weight, self._shape.norm_epsilon, onto
        )
        return found

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

    def _heads(self, joint: Tensor, run: ForwardContext) -> Heads:
        query, key, value = self._split(joint)
        if self._query_norm is not None:
            assert self._key_norm is not None
            query = self._normed(query.float(), self._query_norm)
            key = self._normed(key.float(), self._key_norm)
        return Heads(
            self._do.rotated(query, run.cosine, run.sine),
            self._do.rotated(key, run.cosine, run.sine),
            value,
        )

    def _joined(self, gradients: Heads, kept: LayerActivations, run: ForwardContext) -> Tensor:
        """The gradients of the heads as one gradient of the joint product, (T, all)."""
        query = self._do.rotated_back(gradients.query, run.cosine, run.sine)
        key = self._do.rotated_back(gradients.key, run.cosine, run.sine)
        if kept.joint is not None:
            assert self._query_norm is not None
            assert self._key_norm is not None
            raw_query, raw_key, _ = self._split(kept.joint)
            query = self._head_norm_backward(query, raw_query, self._query_norm)
            key = self._head_norm_backward(key, raw_key, self._key_norm)
        return torch.cat([part.flatten(1) for part in (query, key, gradients.value)], dim=1)

    def _head_norm_backward(self, gradient: Tensor, states: Tensor, weight: Tensor) -> Tensor:
        wide = states.float()
        found = self._norm_backward(gradient, wide, weight, torch.zeros_like(wide))
        return found.to(self._dtype)


def _bias(
    source: WeightSource,
    module: str,
    targets: Sequence[str],
    sizes: Sequence[int],
    device: torch.device,
) -> Tensor | None:
    """The biases of some targets as one, zeros where one of them has none."""
    names = [f"{module}.{target}.bias" for target in targets]
    if not any(name in source for name in names):
        return None
    parts = [
        source.tensor(name).float() if name in source else torch.zeros(size, device=device)
        for name, size in zip(names, sizes, strict=True)
    ]
    return torch.cat(parts)
