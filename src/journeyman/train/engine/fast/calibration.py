"""Measures what INT8 costs a model: some rows go through it in full precision and in INT8.

Layer by layer, so that only one layer of either model is in memory at a time. The full-precision
model gives the largest inputs of each linear layer, by which INT8 is smoothed, and the error of
each INT8 layer on its own. What all of them cost together is the divergence of the two models'
answers: KL(full precision || INT8) in nats a trained token. By that much the loss rises on text
that the full-precision model predicts well; unlike a difference of losses, it cannot be small by
chance.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from msgspec import Struct
from torch import Tensor

from journeyman.train.engine.fast.decoder import OuterWeights, output_layer
from journeyman.train.engine.fast.elementwise import Elementwise
from journeyman.train.engine.fast.int8_plan import PLAIN_INT8, Int8Plan, group_of
from journeyman.train.engine.fast.layer import Layer
from journeyman.train.engine.fast.linear import Arithmetic, FrozenLinear
from journeyman.train.engine.fast.packing import Pack
from journeyman.train.engine.fast.shape import HEAD, shape_of
from journeyman.train.engine.fast.weights import WeightSource
from journeyman.train.engine.loss import CHUNK_BYTES

# The output layer is the largest: so many rows are enough to measure its error.
_HEAD_ROWS = 128


class Int8Cost(Struct, frozen=True):
    """What INT8 costs on some rows, in nats a token. loss: of the full-precision model."""

    trained_tokens: int
    loss: float
    divergence: float

    @property
    def share(self) -> float:
        """The divergence as a share of the loss."""
        return self.divergence / self.loss


class ProductDivergences(Struct, frozen=True):
    """INT8 compared with full precision, by the names of the linear layers.

    errors: |INT8 - full| / |full| on the full-precision model's inputs. full_precision_bytes:
    memory in full precision. largest_inputs: (K,) float32 magnitudes; empty if inputs are rounded
    less than weights, because then smoothing costs more than it gains (docs/experiments.md).
    """

    errors: Mapping[str, float]
    full_precision_bytes: Mapping[str, int]
    largest_inputs: Mapping[str, Tensor]
    cost: Int8Cost


class Calibration:
    """Runs one pack of rows through a model's frozen weights, without an adapter.

    int8: the arithmetic to measure. at_layer: gets the number of finished layers, and of all.
    """

    def __init__(
        self,
        config: Any,
        source: WeightSource,
        int8: Arithmetic,
        pack: Pack,
        *,
        at_layer: Callable[[int, int], None] = lambda _, __: None,
    ) -> None:
        self._shape = shape_of(config)
        self._source = source
        self._int8 = int8
        self._full = int8.full_precision
        self._pack = pack
        self._at_layer = at_layer
        self._do = Elementwise(rows=int8.rows)
        self._outer = OuterWeights(
            config, self._shape, source, arithmetic=int8, elementwise=self._do
        )
        self._context = self._outer.context(pack, None)
        # The input of the full-precision model's output layer: (N, H).
        self._full_hidden: Tensor | None = None

    def divergences(self) -> ProductDivergences:
        """The errors of all linear layers in INT8, smoothed by the full-precision inputs."""
        recorded: dict[str, _RecordingLinear] = {}
        errors, full_precision_bytes, largest = {}, {}, {}

        def compare(parts: Mapping[str, FrozenLinear]) -> None:
            for name, int8 in parts.items():
                full = recorded.pop(name)
                errors[name] = full.error_of(int8)
                full_precision_bytes[name] = full.stored_bytes

        full_states = int8_states = self._outer.embed(self._pack)
        for number in range(self._shape.layers):
            layer = self._layer(number, self._full)
            for name, part in layer.parts.items():
                part.product = recorded[name] = _RecordingLinear(part.product)
            full_states, _ = layer.forward(full_states, self._context)
            for name, linear in recorded.items():
                if self._int8.of(group_of(name)).has_8_bit_inputs:
                    largest[name] = linear.largest_inputs()
            int8_layer = self._layer(number, self._int8, Int8Plan(largest_inputs=largest))
            compare({name: part.product for name, part in int8_layer.parts.items()})
            int8_states, _ = int8_layer.forward(int8_states, self._context)
            self._at_layer(number + 1, self._shape.layers)
        self._full_hidden = self._hidden(full_states)
        head = recorded[HEAD] = _RecordingLinear(self._head(self._full))
        head.forward(self._full_hidden[:_HEAD_ROWS])
        int8_head = self._head(self._int8)
        compare({HEAD: int8_head})
        cost = self._cost(head, int8_head, self._hidden(int8_states))
        return ProductDivergences(errors, full_precision_bytes, largest, cost)

    def cost(self, int8_plan: Int8Plan) -> Int8Cost:
        """What this INT8 plan costs; call it after `divergences`."""
        states = self._outer.embed(self._pack)
        for number in range(self._shape.layers):
            # Not kept in a variable, so that it is freed before the next one is made.
            states, _ = self._layer(number, self._int8, int8_plan).forward(states, self._context)
            self._at_layer(number + 1, self._shape.layers)
        heads = self._head(self._full), self._head(self._int8, int8_plan)
        return self._cost(*heads, self._hidden(states))

    def _layer(
        self, number: int, arithmetic: Arithmetic, int8_plan: Int8Plan = PLAIN_INT8
    ) -> Layer:
        return Layer(
            number,
            self._shape,
            self._source,
            {},
            arithmetic=arithmetic,
            scaling=1.0,
            elementwise=self._do,
            int8_plan=int8_plan,
        )

    def _head(self, arithmetic: Arithmetic, int8_plan: Int8Plan = PLAIN_INT8) -> FrozenLinear:
        return output_layer(
            self._source,
            self._shape,
            arithmetic=arithmetic,
            elementwise=self._do,
            int8_plan=int8_plan,
        )

    def _hidden(self, states: Tensor) -> Tensor:
        return self._outer.hidden(states.index_select(0, self._pack.places))

    def _cost(
        self, full_head: FrozenLinear, int8_head: FrozenLinear, int8_hidden: Tensor
    ) -> Int8Cost:
        assert self._full_hidden is not None
        count, loss, divergence = len(int8_hidden), 0.0, 0.0
        rows = max(1, CHUNK_BYTES // (4 * self._shape.vocabulary))
        inputs = (self._full_hidden, int8_hidden, self._pack.targets)
        for full, int8, targets in zip(*(torch.split(x, rows) for x in inputs), strict=True):
            log_p = full_head.forward(full).float().log_softmax(1)
            log_q = int8_head.forward(int8).float().log_softmax(1)
            loss -= float(log_p.gather(1, targets.unsqueeze(1)).sum())
            difference = log_q.sub_(log_p)
            # The sum of p d would be a small difference of large sums. With q = p exp(d), the terms
            # p (exp(d) - 1 - d) have the same sum, and none of them is negative.
            terms = difference.expm1().sub_(difference).mul_(log_p.exp_())
            divergence += float(terms.sum(dtype=torch.float64))
        return Int8Cost(count, loss / count, divergence / count)


class _RecordingLinear:
    """A full-precision linear layer that keeps its last input and output."""

    def __init__(self, full: FrozenLinear) -> None:
        self._full = full
        self._states = self._output = torch.empty(0)
        self.out_size = full.out_size
        self.stored_bytes = full.stored_bytes

    def forward(self, states: Tensor, onto: Tensor | None = None) -> Tensor:
        """See FrozenLinear."""
        output = self._full.forward(states, onto)
        # A copy, because what follows overwrites the output.
        self._states, self._output = states, output.clone()
        return output

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """See FrozenLinear."""
        return self._full.input_gradient(gradient)

    def largest_inputs(self) -> Tensor:
        """The largest magnitude of each input channel."""
        return self._states.abs().amax(0).float()

    def error_of(self, other: FrozenLinear) -> float:
        """The relative error of another linear layer on the same inputs."""
        full = self._output.float()
        difference = other.forward(self._states).float().sub_(full)
        return float(difference.norm() / full.norm())
