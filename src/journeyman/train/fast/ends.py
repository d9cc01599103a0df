"""What stands around the layers: embedding, rotary angles, the last norm and the output layer."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from journeyman.train.fast.adapters import Dropout
from journeyman.train.fast.elementwise import Elementwise
from journeyman.train.fast.layer import ForwardContext
from journeyman.train.fast.narrowing import AS_IT_IS, Int8Plan
from journeyman.train.fast.packing import Pack
from journeyman.train.fast.products import Arithmetic, Product, frozen_product
from journeyman.train.fast.shape import HEAD, DecoderShape
from journeyman.train.fast.sources import WeightSource


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
    narrowing: Int8Plan = AS_IT_IS,
) -> Product:
    """The output layer, of the embedding's weights where it has none of its own."""
    tied = shape.tied or "lm_head.weight" not in source
    name = "model.embed_tokens.weight" if tied else "lm_head.weight"
    return frozen_product(
        [source.tensor(name)],
        None,
        narrowing.of(HEAD, arithmetic),
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
