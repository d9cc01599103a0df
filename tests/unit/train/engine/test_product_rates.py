"""Rates of products: each size is measured once, and they decide the precision."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from transformers import LlamaConfig

from journeyman.events import Event, Note, ignore
from journeyman.machine.memory_limits import MemoryRoom
from journeyman.settings import TrainSettings
from journeyman.train.engine import product_rates
from journeyman.train.engine.choose import EngineChoice, ModelRates, choose, model_rates
from journeyman.train.engine.fast.shape import HEAD, ProductGroup
from journeyman.train.engine.product_rates import LARGE, Rates, measured_rates
from journeyman.train.forecast.base_model import known_shape

CONFIG = LlamaConfig(
    vocab_size=1000,
    hidden_size=64,
    intermediate_size=256,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
)
SIZES: dict[ProductGroup, tuple[int, int]] = {
    "query_key_value": (64, 128),
    "output": (64, 64),
    "gate_up": (64, 512),
    "down": (256, 64),
    HEAD: (64, 1000),
}
GOOD = Rates(fp32=50e9, kernel=100e9)
POOR = Rates(fp32=50e9, kernel=55e9)
GIB = 2**30


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(product_rates, "cache_folder", lambda: tmp_path)
    return tmp_path / "rates"


def chosen(
    rates: dict[tuple[int, int], Rates], *, gib: float = 64, **changes: object
) -> EngineChoice:
    """What is chosen if some sizes have these rates and all others are good."""
    room = MemoryRoom(int(gib * GIB), int(gib * GIB), "the machine's memory")
    settings = TrainSettings(**changes)  # type: ignore[arg-type]
    return choose(settings, CONFIG, rates_of=lambda size, _: rates.get(size, GOOD), room=room)


def test_every_arithmetic_of_this_processor_is_timed(cache: Path) -> None:
    found = measured_rates((48, 80))
    for name in Rates.__struct_fields__:
        rate = getattr(found, name)
        assert rate is None or 1e6 < rate < 1e14
    assert found.full_precision == (found.bf16 or found.fp32)


def test_a_size_is_measured_once_and_those_above_the_largest_count_as_it(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, int]] = []

    def measured(size: tuple[int, int], *_: object, **__: object) -> Rates:
        sizes.append(size)
        return GOOD

    monkeypatch.setattr(product_rates, "measured_now", measured)
    for size in ((64, 80), (64, 80), (80, 64), (9000, 80_000), LARGE, (64, 80)):
        assert measured_rates(size) == GOOD
    assert sizes == [(64, 80), (80, 64), LARGE]
    (newest, *_) = cache.glob("*.json")
    newest.write_bytes(b"{")
    events: list[Event] = []
    for size in sizes[:]:
        measured_rates(size, events.append)
    assert len(sizes) == 4
    assert ["measured again" in x.text for x in events if isinstance(x, Note)] == [True]


def test_processes_that_need_a_rate_at_once_get_the_same(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ranks that measured apart could decide for two precisions."""
    measured = iter((GOOD, POOR))

    def slowly(*_: object, **__: object) -> Rates:
        time.sleep(0.2)
        return next(measured)

    monkeypatch.setattr(product_rates, "measured_now", slowly)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(measured_rates, [(64, 80)] * 2))
    assert found == [GOOD, GOOD]


def test_the_kernel_is_fast_if_torch_is_hardly_faster() -> None:
    assert Rates(fp32=1, kernel=2).has_fast_kernel
    assert Rates(fp32=1, int8=2, kernel=1.8).has_fast_kernel
    assert not Rates(fp32=1, int8=4, kernel=1.8).has_fast_kernel
    assert Rates(fp32=1, int8=4, kernel=1.8).best_int8 == pytest.approx(3.4)
    assert not Rates(fp32=1, int8=4).has_fast_kernel


def test_the_summary_is_of_all_products_together() -> None:
    fast = Rates(fp32=100e9, kernel=200e9)
    rates = model_rates(CONFIG, ignore, lambda size, _: fast if size == SIZES[HEAD] else GOOD)
    layers = 3 * sum(a * b for group, (a, b) in SIZES.items() if group != HEAD)
    head = 64 * 1000
    assert rates.parameters == {
        group: a * b * (1 if group == HEAD else 3) for group, (a, b) in SIZES.items()
    }
    expected = (layers + head) / (layers / 50e9 + head / 100e9)
    assert f"fp32 {expected / 1e9:.0f}, int8 by the kernel {2 * expected / 1e9:.0f} GOP" in (
        rates.summary()
    )


def test_if_most_products_gain_too_little_none_is_int8() -> None:
    found = chosen({size: POOR for group, size in SIZES.items() if group != "output"})
    assert found.precision == "fp32"
    assert chosen({SIZES["output"]: POOR}).precision == "int8"


def test_int8_must_beat_bf16_if_there_is_bf16() -> None:
    units = Rates(fp32=50e9, bf16=120e9, int8=130e9, kernel=125e9)
    assert chosen(dict.fromkeys(SIZES.values(), units)).precision == "bf16"
    faster = Rates(fp32=50e9, bf16=120e9, int8=300e9, kernel=280e9)
    rates = ModelRates(dict.fromkeys(SIZES, faster), dict.fromkeys(SIZES, 1000), True)
    assert rates.fastest()[0] == "int8"
    # A large output layer, which is never INT8 there, takes the gain away.
    large = ModelRates(rates.rates, {**rates.parameters, HEAD: 100_000}, True)
    assert large.fastest()[0] == "bf16"


@pytest.mark.parametrize("rates", [POOR, GOOD])
def test_a_requested_precision_is_taken_at_any_rates(rates: Rates) -> None:
    everything = dict.fromkeys(SIZES.values(), rates)
    for precision in ("fp32", "int8"):
        found = chosen(everything, precision=precision)
        assert found.precision == precision
        assert "was requested" in found.reasons[-1]


@pytest.mark.parametrize(("gib", "expected"), [(64, "fp32"), (24, "bf16"), (13, "int8")])
def test_memory_decides_if_the_fastest_does_not_fit(gib: float, expected: str) -> None:
    config = known_shape("Qwen/Qwen2.5-Coder-7B-Instruct").config
    found = choose(
        TrainSettings(),
        config,
        rates_of=lambda *_: POOR,
        room=MemoryRoom(int(gib * GIB), int(gib * GIB), "the machine's memory"),
    )
    assert found.precision == expected
