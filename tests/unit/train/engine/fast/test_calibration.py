"""A calibration, against transformers' model with the weights that INT8 leaves."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from journeyman.kernels.integer_product import IntegerProduct
from journeyman.model.base import read_config
from journeyman.records import BaseModel
from journeyman.train.batching.rows import TokenRow
from journeyman.train.engine.fast.calibration import Calibration
from journeyman.train.engine.fast.int8_plan import Int8Plan, read_int8_plan, write_int8_plan
from journeyman.train.engine.fast.int8_weights import quantise
from journeyman.train.engine.fast.linear import Arithmetic
from journeyman.train.engine.fast.packing import pack
from journeyman.train.engine.fast.shape import HEAD
from journeyman.train.engine.fast.weights import FolderWeights
from tests.small_models import VARIANT_VOCABULARY, small_variant

WEIGHTS_ALONE = Arithmetic("int8 upcast", "int8 upcast", torch.float32)
BOTH_SIDES = Arithmetic("int8", "int8", torch.float32)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """Its second layer has outliers in its input, as real models do."""
    found = small_variant(tmp_path_factory.mktemp("bases"), "qwen2")
    (path,) = found.folder.glob("*.safetensors")
    tensors = load_file(path)
    tensors["model.layers.1.input_layernorm.weight"][5] = 30.0
    save_file(tensors, path, metadata={"format": "pt"})
    return found


def rows() -> list[TokenRow]:
    chance = torch.Generator().manual_seed(0)
    drawn = [
        torch.randint(5, VARIANT_VOCABULARY, (n,), generator=chance).tolist() for n in (60, 40)
    ]
    return [TokenRow(str(len(ids)), tuple(ids), (True,) * len(ids)) for ids in drawn]


def calibration(base: BaseModel, arithmetic: Arithmetic) -> Calibration:
    source = FolderWeights(base.folder)
    return Calibration(read_config(base.folder), source, arithmetic, pack(rows()))


def _logits(base: BaseModel, *, is_rounded: bool) -> torch.Tensor:
    """Of every token but each row's last, by transformers."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    for name, weight in model.named_parameters():
        if is_rounded and name.endswith("proj.weight"):
            int8 = quantise([weight.data])
            weight.data = int8.values.float() * int8.scale[:, None]
    with torch.no_grad():
        found = [model(torch.tensor([row.ids])).logits[0, :-1] for row in pack_order()]
    return torch.cat(found).double()


def pack_order() -> list[TokenRow]:
    return sorted(rows(), key=lambda row: row.ids)


def test_loss_and_divergence_are_those_of_transformers(base: BaseModel) -> None:
    head = Int8Plan(full_precision=frozenset({HEAD}))
    calibrating = calibration(base, WEIGHTS_ALONE)
    with torch.inference_mode():
        calibrating.divergences()
        cost = calibrating.cost(head)
    full, int8 = (_logits(base, is_rounded=x).log_softmax(1) for x in (False, True))
    targets = torch.tensor([token for row in pack_order() for token in row.ids[1:]])
    loss = torch.nn.functional.nll_loss(full, targets)
    divergence = (full.exp() * (full - int8)).sum(1).mean()
    assert cost.trained_tokens == len(targets)
    assert cost.loss == pytest.approx(float(loss), rel=1e-5)
    assert cost.divergence == pytest.approx(float(divergence), rel=2e-3)
    assert cost.share == cost.divergence / cost.loss


def test_full_precision_costs_nothing_and_each_int8_layer_its_part(base: BaseModel) -> None:
    calibrating = calibration(base, BOTH_SIDES)
    with torch.inference_mode():
        found = calibrating.divergences()
        everything = calibrating.cost(Int8Plan(full_precision=frozenset(found.errors)))
        but_one = calibrating.cost(
            Int8Plan(full_precision=frozenset(found.errors) - {"1.query_key_value"})
        )
        plain = calibrating.cost(Int8Plan())
    assert set(found.errors) == {
        HEAD,
        *(
            f"{n}.{part}"
            for n in (0, 1)
            for part in ("query_key_value", "output", "gate_up", "down")
        ),
    }
    assert everything.divergence == 0
    assert 0 < but_one.divergence < plain.divergence
    assert found.cost.loss == plain.loss == everything.loss


def test_an_outlier_is_found_and_smoothed(base: BaseModel) -> None:
    calibrating = calibration(base, BOTH_SIDES)
    with torch.inference_mode():
        found = calibrating.divergences()
        plain = calibrating.cost(Int8Plan())
        smoothed = calibrating.cost(Int8Plan(largest_inputs=found.largest_inputs))
    assert found.largest_inputs["1.query_key_value"].argmax() == 5
    assert smoothed.divergence == pytest.approx(found.cost.divergence, rel=1e-4)
    assert smoothed.divergence < 0.7 * plain.divergence


def test_only_coarse_inputs_are_smoothed(base: BaseModel) -> None:
    """With 15 bits an activation loses less than smoothing costs the weights."""
    fine = Arithmetic(
        "int8 kernel",
        "int8 kernel",
        torch.float32,
        kernel=IntegerProduct(None, 32767, 512),  # type: ignore[arg-type]
    )
    assert not fine.has_8_bit_inputs
    assert BOTH_SIDES.has_8_bit_inputs
    with torch.inference_mode():
        assert not calibration(base, WEIGHTS_ALONE).divergences().largest_inputs


def test_an_int8_plan_is_read_back_equal(tmp_path: Path) -> None:
    written = Int8Plan(
        frozenset({"3.down", HEAD}),
        {"0.output": torch.tensor([1.5, 0.25])},
        full_precision_bytes=77,
    )
    write_int8_plan(tmp_path / "one.safetensors", written, note="a note")
    found, note = read_int8_plan(tmp_path / "one.safetensors")
    assert (found.full_precision, found.full_precision_bytes, note) == (
        written.full_precision,
        77,
        "a note",
    )
    assert torch.equal(found.largest_inputs["0.output"], written.largest_inputs["0.output"])
    assert found.id == written.id != Int8Plan().id == ""
    others = [
        Int8Plan(frozenset({"3.down"}), written.largest_inputs),
        Int8Plan(written.full_precision),
    ]
    assert len({written.id, *(other.id for other in others)}) == 3
