"""Groups of products that stay wide: what they give, hold, cost and are forecast to cost."""

from collections.abc import Callable

import msgspec
import pytest
import torch

from journeyman.model.base import read_config
from journeyman.records import BaseModel
from journeyman.settings import TrainSettings
from journeyman.train.batching.rows import TokenRow
from journeyman.train.engine.adapter_parameters import initialise
from journeyman.train.engine.fast.calibration import Calibration
from journeyman.train.engine.fast.decoder import DecoderPlan
from journeyman.train.engine.fast.engine import open_fast_engine
from journeyman.train.engine.fast.int8_plan import PLAIN_INT8, Int8Plan, group_of
from journeyman.train.engine.fast.linear import Arithmetic
from journeyman.train.engine.fast.memory import weight_bytes
from journeyman.train.engine.fast.packing import pack
from journeyman.train.engine.fast.shape import GROUPS, HEAD, shape_of
from journeyman.train.engine.fast.weights import FolderWeights
from journeyman.train.forecast import probe_parts
from tests.small_models import VARIANT_VOCABULARY, small_variant

FP32 = Arithmetic("fp32", "fp32", torch.float32)
INT8 = Arithmetic("int8", "int8", torch.float32)
EVERY_GROUP = (*GROUPS, HEAD)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return small_variant(tmp_path_factory.mktemp("bases"), "qwen2")


def rows() -> list[TokenRow]:
    chance = torch.Generator().manual_seed(0)
    ids = torch.randint(5, VARIANT_VOCABULARY, (40,), generator=chance).tolist()
    return [TokenRow("one", tuple(ids), (False,) * 10 + (True,) * 30)]


def wide(*groups: str) -> Arithmetic:
    return msgspec.structs.replace(INT8, wide=frozenset(groups))


def passed(base: BaseModel, arithmetic: Arithmetic) -> tuple[float, dict[str, torch.Tensor], int]:
    """Loss, gradients and bytes of the weights."""
    settings = TrainSettings(lora_dropout=0.0)
    engine = open_fast_engine(base, settings, plan=DecoderPlan(arithmetic))
    initialise(engine.parameters(), seed=1)
    loss = engine.backward(rows(), weight=1.0, seed=0).loss_sum
    gradients = {name: x.grad for name, x in engine.parameters().items() if x.grad is not None}
    return loss, gradients, engine.stored_bytes()


def test_with_all_groups_wide_not_a_bit_is_narrow(base: BaseModel) -> None:
    expected, found = passed(base, FP32), passed(base, wide(*EVERY_GROUP))
    assert found[0] == expected[0] != passed(base, INT8)[0]
    for name, gradient in expected[1].items():
        assert torch.equal(found[1][name], gradient)


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_alone_changes_the_result(base: BaseModel, group: str) -> None:
    # The output layer is never INT8 with 8-bit activations.
    others = [one for one in GROUPS if one != group]
    assert passed(base, wide(*others))[0] not in (passed(base, FP32)[0], passed(base, INT8)[0])


@pytest.mark.parametrize("groups", [(), ("down",), ("query_key_value", HEAD), EVERY_GROUP])
def test_what_is_held_is_what_was_forecast(base: BaseModel, groups: tuple[str, ...]) -> None:
    shape = shape_of(read_config(base.folder))
    stored = passed(base, wide(*groups))[2]
    # The forecast takes the embedding for BF16, and this one is FP32; scales are a little more.
    embedding = 2 * shape.vocabulary * shape.hidden
    scales = 4 * shape.layers * sum(shape.product_sizes[x][1] for x in GROUPS if x not in groups)
    assert stored == weight_bytes(shape, wide(*groups)) + embedding + scales


def test_a_calibration_leaves_wide_groups_alone(base: BaseModel) -> None:
    source, config = FolderWeights(base.folder), read_config(base.folder)
    with torch.inference_mode():
        found = Calibration(config, source, wide("down"), pack(rows())).compared()
    layers = range(config.num_hidden_layers)
    assert all(found.errors[f"{n}.down"] == 0 for n in layers)
    assert all(found.errors[f"{n}.output"] > 0 for n in layers)
    smoothed = {group_of(name) for name in found.largest_inputs}
    assert smoothed == set(GROUPS) - {"down"}


def test_products_kept_wide_are_forecast_by_what_they_take_more(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the clock is another: a wide product takes 3 s of 400 rows, a narrow one 1 s."""
    config = read_config(base.folder)
    settings = TrainSettings(engine="fast", precision="int8")
    monkeypatch.setattr(probe_parts, "arithmetic_for", lambda _: INT8)

    def best_s(act: Callable[[], object], *_: object, **__: object) -> float:
        product = act.__closure__[0].cell_contents  # type: ignore[index]
        act()
        return 3.0 if type(product).__name__ == "WideProduct" else 1.0

    monkeypatch.setattr(probe_parts, "best_s", best_s)
    int8_plan = Int8Plan(wide=frozenset({"0.down", "1.down", "1.gate_up", HEAD}))
    assert probe_parts.widening_s(config, settings, int8_plan) == pytest.approx(3 * 2.0 / 400)
    # A product that is cut by half takes twice what its half takes.
    inputs, outputs = shape_of(config).product_sizes["gate_up"]
    monkeypatch.setattr(probe_parts, "_LIMIT_BYTES", 4 * inputs * outputs // 2)
    one = Int8Plan(wide=frozenset({"1.gate_up"}))
    assert probe_parts.widening_s(config, settings, one) == pytest.approx(2 * 2.0 / 400)
    assert probe_parts.widening_s(config, settings, PLAIN_INT8) == 0.0
