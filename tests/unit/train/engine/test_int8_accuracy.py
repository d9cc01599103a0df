"""INT8 within its limit: by smoothing and full-precision layers, decided once and reported."""

import dataclasses
from pathlib import Path

import pytest
import torch

from journeyman.errors import JourneymanError, MachineError
from journeyman.events import Caution, Event, Note, Reporter
from journeyman.model.base import read_config
from journeyman.records import BaseModel
from journeyman.settings import TrainSettings
from journeyman.train.batching.rows import TokenRow
from journeyman.train.engine import arithmetic, int8_accuracy
from journeyman.train.engine.fast import calibration
from journeyman.train.engine.fast.int8_plan import Int8Plan
from journeyman.train.engine.fast.linear import Arithmetic
from journeyman.train.engine.int8_accuracy import LIMIT, calibrate, sample_rows
from journeyman.train.engine.recipe import recipe_of
from tests.small_models import VARIANT_VOCABULARY, small_variant

SETTINGS = TrainSettings(engine="fast", precision="int8", threads=1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return small_variant(tmp_path_factory.mktemp("bases"), "llama")


@pytest.fixture(autouse=True)
def _by_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """INT8 as torch multiplies it, on every machine; nothing is in the cache."""
    coarse = Arithmetic("int8", "int8", torch.float32)
    monkeypatch.setattr(arithmetic, "arithmetic_of", lambda *_, **__: coarse)
    monkeypatch.setattr(int8_accuracy, "cache_folder", lambda: tmp_path / "cache")


def rows(count: int = 6, length: int = 50) -> list[TokenRow]:
    chance = torch.Generator().manual_seed(0)
    ids = torch.randint(5, VARIANT_VOCABULARY, (count, length), generator=chance).tolist()
    return [TokenRow(str(at), tuple(one), (True,) * length) for at, one in enumerate(ids)]


def plan_of(
    settings: TrainSettings, base: BaseModel, rows: list[TokenRow], report: Reporter
) -> Int8Plan:
    """The INT8 plan of a run over these rows."""
    fast = calibrate(recipe_of(settings, read_config(base.folder)), base, rows, report).fast
    assert fast is not None
    return fast.int8_plan


def reported(settings: TrainSettings, base: BaseModel, events: list[Event]) -> str:
    """The texts that a calibration reports."""
    plan_of(settings, base, rows(), events.append)
    return " ".join(x.text for x in events if isinstance(x, Note | Caution))


def test_within_the_limit_inputs_are_smoothed_and_every_layer_is_int8(base: BaseModel) -> None:
    events: list[Event] = []
    found = plan_of(SETTINGS, base, rows(), events.append)
    assert not found.full_precision
    assert found.full_precision_bytes == 0
    assert set(found.largest_inputs) == {
        f"{n}.{part}" for n in (0, 1) for part in ("query_key_value", "output", "gate_up", "down")
    }
    (note,) = (x.text for x in events if isinstance(x, Note))
    assert f"limit {LIMIT:.1%}" in note


def test_layers_stay_in_full_precision_until_the_limit_holds(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    loose: list[Event] = []
    plain = plan_of(SETTINGS, base, rows(), loose.append)
    monkeypatch.setattr(int8_accuracy, "LIMIT", 1e-12)
    monkeypatch.setattr(int8_accuracy, "_VERSION", "another")
    events: list[Event] = []
    found = plan_of(SETTINGS, base, rows(), events.append)
    # The output layer is never INT8 here: it has no error and takes no more memory.
    assert found.full_precision == set(found.largest_inputs)
    # FP32 beside INT8 for the gradient: 4 bytes a weight of two layers.
    assert found.full_precision_bytes == 4 * 2 * (64 * 64 * 2 + 32 * 64 * 2 + 3 * 64 * 112)
    text = " ".join(x.text for x in events if isinstance(x, Note))
    assert "in full precision" in text
    assert "by 0.00% of its loss" in text
    assert found.id != plain.id


def test_if_full_precision_layers_do_not_fit_that_is_reported(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8_accuracy, "LIMIT", 1e-12)
    monkeypatch.setattr(
        "journeyman.train.engine.fast.memory.MemoryPlan.spare_bytes", lambda *_: 1000
    )
    events: list[Event] = []
    assert "less accurate" in reported(SETTINGS, base, events)
    assert any(isinstance(x, Caution) for x in events)


def test_a_plan_stays_in_the_cache_until_it_is_damaged(
    base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = plan_of(SETTINGS, base, rows(), lambda _: None)
    calibrations = []
    original = calibration.Calibration.divergences

    def counted(self: calibration.Calibration) -> calibration.ProductDivergences:
        calibrations.append(1)
        return original(self)

    monkeypatch.setattr(calibration.Calibration, "divergences", counted)
    assert plan_of(SETTINGS, base, rows(), lambda _: None).id == first.id
    assert not calibrations
    (path,) = (tmp_path / "cache" / "calibrations").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert "calibrated again" in reported(SETTINGS, base, [])
    assert plan_of(SETTINGS, base, rows(), lambda _: None).id == first.id
    assert len(calibrations) == 1
    # Other rows are another calibration.
    plan_of(SETTINGS, base, rows(7), lambda _: None)
    assert len(calibrations) == 2


def test_a_run_that_does_not_fit_is_refused_before_it_is_calibrated(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "Calibration", lambda *_, **__: pytest.fail("calibrated"))
    with pytest.raises(MachineError, match="--memory-gib"):
        plan_of(dataclasses.replace(SETTINGS, memory_gib=0.5), base, rows(), lambda _: None)


@pytest.mark.parametrize(
    "changes", [{"precision": "bf16"}, {"calibrate": False}, {"engine": "hf", "precision": "fp32"}]
)
def test_other_runs_are_not_calibrated(base: BaseModel, changes: dict[str, str]) -> None:
    settings = dataclasses.replace(SETTINGS, **changes)  # type: ignore[arg-type]
    recipe = recipe_of(settings, read_config(base.folder))
    found = calibrate(recipe, base, rows(), lambda _: pytest.fail("reported something"))
    assert found is recipe
    assert found.int8_plan_id == ""


def test_damaged_weights_are_an_error_with_a_message(base: BaseModel, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config.json").write_bytes((base.folder / "config.json").read_bytes())
    without_weights = BaseModel("x", empty, "c" * 64, "d" * 64, "folder")
    with pytest.raises(JourneymanError, match="has no weight"):
        plan_of(SETTINGS, without_weights, rows(), lambda _: None)


def test_sample_rows_are_spread_over_the_split() -> None:
    every = rows(count=100, length=10)
    assert [row.id for row in sample_rows(every, 40)] == ["12", "37", "62", "87"]
    assert [row.id for row in sample_rows(every, 1)] == ["50"]
    assert sample_rows(every, 10**6) == every
