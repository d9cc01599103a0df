"""Layers that an INT8 plan keeps in full precision: loss, memory and time."""

from collections.abc import Callable

import pytest
import torch

from journeyman.machine.memory_limits import memory_room
from journeyman.model.base import read_config
from journeyman.records import BaseModel
from journeyman.settings import TrainSettings
from journeyman.train.batching.rows import TokenRow
from journeyman.train.engine.adapter_parameters import initialise
from journeyman.train.engine.fast.calibration import Calibration
from journeyman.train.engine.fast.decoder import DecoderPlan
from journeyman.train.engine.fast.engine import FastEngine
from journeyman.train.engine.fast.int8_plan import PLAIN_INT8, Int8Plan, group_of, product_name
from journeyman.train.engine.fast.linear import Arithmetic
from journeyman.train.engine.fast.memory import memory_plan_of, weight_bytes
from journeyman.train.engine.fast.packing import pack
from journeyman.train.engine.fast.shape import GROUPS, HEAD, shape_of
from journeyman.train.engine.fast.weights import FolderWeights
from journeyman.train.engine.recipe import FastRecipe
from journeyman.train.forecast import probe_parts
from tests.small_models import VARIANT_VOCABULARY, small_variant

FP32 = Arithmetic("fp32", "fp32", torch.float32)
INT8 = Arithmetic("int8", "int8", torch.float32)
LAYERS = range(2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return small_variant(tmp_path_factory.mktemp("bases"), "qwen2")


def rows() -> list[TokenRow]:
    chance = torch.Generator().manual_seed(0)
    ids = torch.randint(5, VARIANT_VOCABULARY, (40,), generator=chance).tolist()
    return [TokenRow("one", tuple(ids), (False,) * 10 + (True,) * 30)]


def kept(*groups: str) -> Int8Plan:
    """The plan that keeps some groups of every layer in full precision."""
    return Int8Plan(frozenset(product_name(n, group) for n in LAYERS for group in groups))


def passed(
    base: BaseModel, arithmetic: Arithmetic, plan: Int8Plan = PLAIN_INT8
) -> tuple[float, int]:
    """The loss, and the bytes of the weights."""
    settings = TrainSettings(lora_dropout=0.0)
    decoder_plan = DecoderPlan(arithmetic, int8_plan=plan)
    source = FolderWeights(base.folder)
    engine = FastEngine(read_config(base.folder), source, settings, plan=decoder_plan)
    initialise(engine.parameters(), seed=1)
    return engine.loss(rows()).loss_sum, engine.stored_bytes()


def test_with_every_layer_in_full_precision_the_loss_is_that_of_fp32(base: BaseModel) -> None:
    # The output layer is never INT8 with 8-bit activations.
    assert passed(base, INT8, kept(*GROUPS))[0] == passed(base, FP32)[0] != passed(base, INT8)[0]


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_alone_changes_the_loss(base: BaseModel, group: str) -> None:
    others = [one for one in GROUPS if one != group]
    loss = passed(base, INT8, kept(*others))[0]
    assert loss not in (passed(base, FP32)[0], passed(base, INT8)[0])


@pytest.mark.parametrize("groups", [(), ("down",), ("query_key_value", "output"), GROUPS])
def test_weights_take_the_memory_that_was_forecast(
    base: BaseModel, groups: tuple[str, ...]
) -> None:
    shape = shape_of(read_config(base.folder))
    stored = passed(base, INT8, kept(*groups))[1]
    # The forecast takes the embedding for BF16, but here it is FP32; scales come on top.
    embedding = 2 * shape.vocabulary * shape.hidden
    scales = 4 * shape.layers * sum(shape.product_sizes[x][1] for x in GROUPS)
    # FP32 forward, and INT8 backward.
    extra = 4 * sum(shape.group_parameters[x] for x in GROUPS if x in groups)
    assert stored == weight_bytes(shape, INT8) + extra + embedding + scales


def test_a_calibration_smooths_every_int8_layer_but_not_the_output_layer(
    base: BaseModel,
) -> None:
    source, config = FolderWeights(base.folder), read_config(base.folder)
    with torch.inference_mode():
        found = Calibration(config, source, INT8, pack(rows())).divergences()
    assert found.errors[HEAD] == 0
    assert all(found.errors[product_name(n, group)] > 0 for n in LAYERS for group in GROUPS)
    assert {group_of(name) for name in found.largest_inputs} == set(GROUPS)


def test_the_extra_time_of_full_precision_layers_is_forecast(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the clock is replaced: 400 rows take 3 s in full precision and 1 s in INT8."""
    shape = shape_of(read_config(base.folder))
    settings = TrainSettings(engine="fast", precision="int8")

    def best_s(act: Callable[[], object], *_: object, **__: object) -> float:
        linear = act.__closure__[0].cell_contents  # type: ignore[index]
        act()
        return 3.0 if type(linear).__name__ == "FullPrecisionLinear" else 1.0

    def extra_s(*products: str) -> float:
        memory = memory_plan_of(shape, INT8, settings, memory_room())
        plan = Int8Plan(frozenset(products))
        return probe_parts.full_precision_extra_s(
            FastRecipe(shape=shape, arithmetic=INT8, memory=memory, int8_plan=plan)
        )

    monkeypatch.setattr(probe_parts, "best_s", best_s)
    assert extra_s("0.down", "1.down", "1.gate_up", HEAD) == pytest.approx(3 * 2.0 / 400)
    # A layer that is cut in half takes twice the time of its half.
    inputs, outputs = shape.product_sizes["gate_up"]
    monkeypatch.setattr(probe_parts, "_MOST_BYTES", 4 * inputs * outputs // 2)
    assert extra_s("1.gate_up") == pytest.approx(2 * 2.0 / 400)
    assert extra_s() == 0.0
    assert probe_parts.full_precision_extra_s(None) == 0.0
