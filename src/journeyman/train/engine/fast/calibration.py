"""What INT8 costs a model: some rows go through it in full precision and in INT8.

Layer by layer, so that one layer of either model is in memory at a time. The full-precision model
shows how large the inputs of each product are, which the INT8 products are smoothed by, and how far
each INT8 product is off on its own. The divergence of the two models' answers shows what all cost
together: KL(full precision || INT8) in nats a trained token. By that much the loss rises on text
that the full-precision model predicts well, and unlike a difference of losses it cannot vanish by
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

# The output layer is the largest product: these rows are enough to see how far it is off.
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
    """INT8 against full-precision products, by their names.

    errors: |INT8 - full| / |full| on the full-precision model's inputs. full_precision_bytes:
    memory of the full-precision product. largest_inputs: (K,) float32 magnitudes; empty if inputs
    are rounded less than the weights, because then smoothing costs more than it gains
    (docs/experiments.md).
    """

    errors: Mapping[str, float]
    full_precision_bytes: Mapping[str, int]
    largest_inputs: Mapping[str, Tensor]
    cost: Int8Cost


class Calibration:
    """One pack of rows through a model's frozen weights, without an adapter.

    int8: the arithmetic in question. at_layer: gets how many layers are done, and of how many.
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
        self._ends = OuterWeights(
            config, self._shape, source, arithmetic=int8, elementwise=self._do
        )
        self._run = self._ends.run(pack, None)
        # What the full-precision model's output layer reads: (N, H).
        self._expected: Tensor | None = None

    def divergences(self) -> ProductDivergences:
        """Every product in INT8, smoothed by what its full-precision twin reads."""
        watched: dict[str, _Watched] = {}
        errors, full_precision_bytes, largest = {}, {}, {}

        def compare(parts: Mapping[str, FrozenLinear]) -> None:
            for name, product in parts.items():
                full = watched.pop(name)
                errors[name] = full.error_of(product)
                full_precision_bytes[name] = full.stored_bytes()

        expected = found = self._ends.embedded(self._pack)
        for number in range(self._shape.layers):
            layer = self._layer(number, self._full)
            for name, part in layer.parts.items():
                part.product = watched[name] = _Watched(part.product)
            expected, _ = layer.forward(expected, self._run)
            for name, product in watched.items():
                if self._int8.of(group_of(name)).has_8_bit_inputs:
                    largest[name] = product.largest_inputs()
            quantised = self._layer(number, self._int8, Int8Plan(largest_inputs=largest))
            compare({name: part.product for name, part in quantised.parts.items()})
            found, _ = quantised.forward(found, self._run)
            self._at_layer(number + 1, self._shape.layers)
        self._expected = self._hidden(expected)
        head = _Watched(self._head(self._full))
        watched[HEAD] = head
        head.forward(self._expected[:_HEAD_ROWS])
        int8_head = self._head(self._int8)
        compare({HEAD: int8_head})
        cost = self._cost(head, int8_head, self._hidden(found))
        return ProductDivergences(errors, full_precision_bytes, largest, cost)

    def cost(self, int8_plan: Int8Plan) -> Int8Cost:
        """What this INT8 plan costs; call it after `divergences`."""
        found = self._ends.embedded(self._pack)
        for number in range(self._shape.layers):
            found, _ = self._layer(number, self._int8, int8_plan).forward(found, self._run)
            self._at_layer(number + 1, self._shape.layers)
        heads = self._head(self._full), self._head(self._int8, int8_plan)
        return self._cost(*heads, self._hidden(found))

    def _layer(self, number: int, how: Arithmetic, int8_plan: Int8Plan = PLAIN_INT8) -> Layer:
        return Layer(
            number,
            self._shape,
            self._source,
            {},
            arithmetic=how,
            scaling=1.0,
            elementwise=self._do,
            int8_plan=int8_plan,
        )

    def _head(self, how: Arithmetic, int8_plan: Int8Plan = PLAIN_INT8) -> FrozenLinear:
        return output_layer(
            self._source,
            self._shape,
            arithmetic=how,
            elementwise=self._do,
            int8_plan=int8_plan,
        )

    def _hidden(self, states: Tensor) -> Tensor:
        return self._ends.hidden(states.index_select(0, self._pack.places))

    def _cost(self, full_head: FrozenLinear, int8_head: FrozenLinear, found: Tensor) -> Int8Cost:
        assert self._expected is not None
        count, loss, divergence = len(found), 0.0, 0.0
        rows = max(1, CHUNK_BYTES // (4 * self._shape.vocabulary))
        chunks = (torch.split(x, rows) for x in (self._expected, found, self._pack.targets))
        for full, quantised, targets in zip(*chunks, strict=True):
            expected = full_head.forward(full).float().log_softmax(1)
            logarithms = int8_head.forward(quantised).float().log_softmax(1)
            loss -= float(expected.gather(1, targets.unsqueeze(1)).sum())
            apart = logarithms.sub_(expected)
            # Sums of p d alone would be small differences of large ones: with q = p exp(d), the
            # terms p (exp(d) - 1 - d) have the same sum, and none is negative.
            terms = apart.expm1().sub_(apart).mul_(expected.exp_())
            divergence += float(terms.sum(dtype=torch.float64))
        return Int8Cost(count, loss / count, divergence / count)


class _Watched:
    """A full-precision product that remembers what it last read and gave."""

    def __init__(self, full: FrozenLinear) -> None:
        self._full = full
        self._states = self._found = torch.empty(0)
        self.out_size = full.out_size

    def forward(self, states: Tensor, onto: Tensor | None = None) -> Tensor:
        """See FrozenLinear."""
        found = self._full.forward(states, onto)
        # What it gave is used up by what follows.
        self._states, self._found = states, found.clone()
        return found

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """See FrozenLinear."""
        return self._full.input_gradient(gradient)

    def stored_bytes(self) -> int:
        """See FrozenLinear."""
        return self._full.stored_bytes()

    def largest_inputs(self) -> Tensor:
        """The largest magnitude of each channel that was read."""
        return self._states.abs().amax(0).float()

    def error_of(self, other: FrozenLinear) -> float:
        """How far another product is off on the same inputs."""
        full = self._found.float()
        apart = other.forward(self._states).float().sub_(full)
        return float(apart.norm() / full.norm())
