"""What a model's narrow products read, and what they cost: some rows through it, wide and narrow.

Layer by layer, so that of either model one layer at a time is in memory. The wide one shows how
large the inputs of each product are, by which the narrow ones are smoothed, and how far each of
these is off by itself. The divergence of the two models' answers shows what all cost together:
KL(wide || narrow) in nats a trained token. By that much the loss rises on text which the wide model
answers as it should, and unlike a difference of losses it cannot vanish by chance.
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
from journeyman.train.engine.fast.linear import Arithmetic, Product
from journeyman.train.engine.fast.packing import Pack
from journeyman.train.engine.fast.shape import HEAD, shape_of
from journeyman.train.engine.fast.weights import WeightSource
from journeyman.train.engine.loss import CHUNK_BYTES

# The output layer is the widest product of all: enough rows to see how far it is off.
_HEAD_ROWS = 128


class Int8Cost(Struct, frozen=True):
    """What narrow products cost on some rows. loss: of the wide model; both in nats a token."""

    trained_tokens: int
    loss: float
    divergence: float

    @property
    def share(self) -> float:
        """The divergence as a share of the loss."""
        return self.divergence / self.loss


class ProductDivergences(Struct, frozen=True):
    """The narrow products beside the wide ones, by their names.

    errors: |narrow - wide| / |wide| on the wide model's inputs. wide_bytes: memory of a wide one.
    largest_inputs: (K,) float32 magnitudes; empty where inputs are rounded less than the weights,
    which smoothing would cost more than it gains (docs/experiments.md).
    """

    errors: Mapping[str, float]
    wide_bytes: Mapping[str, int]
    largest_inputs: Mapping[str, Tensor]
    cost: Int8Cost


class Calibration:
    """One pack of rows through a model's frozen weights, without an adapter.

    narrow: the arithmetic in question. at_layer: told how many layers are done, and of how many.
    """

    def __init__(
        self,
        config: Any,
        source: WeightSource,
        narrow: Arithmetic,
        pack: Pack,
        *,
        at_layer: Callable[[int, int], None] = lambda _, __: None,
    ) -> None:
        self._shape = shape_of(config)
        self._source = source
        self._narrow = narrow
        self._wide = narrow.widened
        self._pack = pack
        self._at_layer = at_layer
        self._do = Elementwise(rows=narrow.rows)
        self._ends = OuterWeights(
            config, self._shape, source, arithmetic=narrow, elementwise=self._do
        )
        self._run = self._ends.run(pack, None)
        # Of the wide model, what its output layer reads: (N, H).
        self._expected: Tensor | None = None

    def compared(self) -> ProductDivergences:
        """Every product narrow, smoothed by what its wide one reads."""
        watched: dict[str, _Watched] = {}
        errors, wide_bytes, largest = {}, {}, {}

        def compare(parts: Mapping[str, Product]) -> None:
            for name, product in parts.items():
                wide = watched.pop(name)
                errors[name] = wide.error_of(product)
                wide_bytes[name] = wide.stored_bytes()

        expected = found = self._ends.embedded(self._pack)
        for number in range(self._shape.layers):
            layer = self._layer(number, self._wide)
            for name, part in layer.parts.items():
                part.product = watched[name] = _Watched(part.product)
            expected, _ = layer.forward(expected, self._run)
            for name, product in watched.items():
                if self._narrow.of(group_of(name)).has_narrow_inputs:
                    largest[name] = product.largest_inputs()
            narrow = self._layer(number, self._narrow, Int8Plan(largest_inputs=largest))
            compare({name: part.product for name, part in narrow.parts.items()})
            found, _ = narrow.forward(found, self._run)
            self._at_layer(number + 1, self._shape.layers)
        self._expected = self._hidden(expected)
        head = _Watched(self._head(self._wide))
        watched[HEAD] = head
        head.forward(self._expected[:_HEAD_ROWS])
        narrow_head = self._head(self._narrow)
        compare({HEAD: narrow_head})
        cost = self._cost(head, narrow_head, self._hidden(found))
        return ProductDivergences(errors, wide_bytes, largest, cost)

    def cost(self, int8_plan: Int8Plan) -> Int8Cost:
        """What it costs made narrow like that; after `compared`."""
        found = self._ends.embedded(self._pack)
        for number in range(self._shape.layers):
            found, _ = self._layer(number, self._narrow, int8_plan).forward(found, self._run)
            self._at_layer(number + 1, self._shape.layers)
        heads = self._head(self._wide), self._head(self._narrow, int8_plan)
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

    def _head(self, how: Arithmetic, int8_plan: Int8Plan = PLAIN_INT8) -> Product:
        return output_layer(
            self._source,
            self._shape,
            arithmetic=how,
            elementwise=self._do,
            int8_plan=int8_plan,
        )

    def _hidden(self, states: Tensor) -> Tensor:
        return self._ends.hidden(states.index_select(0, self._pack.places))

    def _cost(self, wide_head: Product, narrow_head: Product, found: Tensor) -> Int8Cost:
        assert self._expected is not None
        count, loss, divergence = len(found), 0.0, 0.0
        rows = max(1, CHUNK_BYTES // (4 * self._shape.vocabulary))
        chunks = (torch.split(x, rows) for x in (self._expected, found, self._pack.targets))
        for wide, narrow, targets in zip(*chunks, strict=True):
            expected = wide_head.forward(wide).float().log_softmax(1)
            logarithms = narrow_head.forward(narrow).float().log_softmax(1)
            loss -= float(expected.gather(1, targets.unsqueeze(1)).sum())
            apart = logarithms.sub_(expected)
            # Sums of p d alone would be small differences of large ones: with q = p exp(d), the
            # terms p (exp(d) - 1 - d) have the same sum, and none is negative.
            terms = apart.expm1().sub_(apart).mul_(expected.exp_())
            divergence += float(terms.sum(dtype=torch.float64))
        return Int8Cost(count, loss / count, divergence / count)


class _Watched:
    """A wide product that remembers what it last read and gave."""

    def __init__(self, wide: Product) -> None:
        self._wide = wide
        self._states = self._found = torch.empty(0)
        self.out_size = wide.out_size

    def forward(self, states: Tensor, onto: Tensor | None = None) -> Tensor:
        """See Product."""
        found = self._wide.forward(states, onto)
        # What it gave is used up by what follows.
        self._states, self._found = states, found.clone()
        return found

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """See Product."""
        return self._wide.input_gradient(gradient)

    def stored_bytes(self) -> int:
        """See Product."""
        return self._wide.stored_bytes()

    def largest_inputs(self) -> Tensor:
        """The largest magnitude of each channel that was read."""
        return self._states.abs().amax(0).float()

    def error_of(self, narrow: Product) -> float:
        """How far another product is off on the same inputs."""
        wide = self._found.float()
        apart = narrow.forward(self._states).float().sub_(wide)
        return float(apart.norm() / wide.norm())
