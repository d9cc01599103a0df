"""The fast engine's memory: what fits is chosen, and weights are held in BF16 where FP32 is not."""

from pathlib import Path

import pytest
import torch

from journeyman.errors import MachineError
from journeyman.machine.memory_limits import MemoryRoom
from journeyman.machine.processor import BF16_FLAGS, processor_flags
from journeyman.settings import TrainSettings
from journeyman.train.engine.choose import choose
from journeyman.train.engine.fast import memory
from journeyman.train.engine.fast.elementwise import Elementwise
from journeyman.train.engine.fast.linear import Arithmetic, frozen_product
from journeyman.train.engine.fast.memory import (
    ActivationBudget,
    fitting_run,
    keeping_of,
    weight_bytes,
)
from journeyman.train.engine.fast.shape import shape_of
from journeyman.train.engine.fast.weights import FolderWeights
from journeyman.train.engine.product_rates import Rates
from journeyman.train.forecast.base_model import known_shape
from journeyman.train.forecast.probe_parts import product_dtype
from tests.small_models import small_variant

GIB = 2**30
CODER_7B = known_shape("Qwen/Qwen2.5-Coder-7B-Instruct").config
CODER_HALF_B = known_shape("Qwen/Qwen2.5-Coder-0.5B-Instruct").config
# Neither BF16 units nor a kernel that is worth its rounding.
PLAIN = Rates(fp32=60e9, kernel=61e9)
WIDE = Arithmetic("fp32", "fp32", torch.float32)
WIDENED = Arithmetic("bf16 widened", "bf16 widened", torch.float32)


def room(gib: float) -> MemoryRoom:
    return MemoryRoom(int(gib * GIB), int(gib * GIB), "the machine's memory")


@pytest.mark.parametrize(
    ("config", "gib", "expected"),
    [
        (CODER_7B, 64, "fp32"),
        (CODER_7B, 24, "bf16"),
        (CODER_7B, 13, "int8"),
        (CODER_HALF_B, 24, "fp32"),
    ],
)
def test_auto_takes_the_widest_that_fits(config: object, gib: float, expected: str) -> None:
    found = choose(TrainSettings(), config, rates_of=lambda *_: PLAIN, room=room(gib))
    assert (found.engine, found.precision) == ("fast", expected)
    if expected != "fp32":
        assert "fp32 needs" in found.reasons[1]
        assert f"the machine's memory is {gib:.1f} GiB" in found.reasons[1]


def test_a_limit_of_the_users_own_counts_like_the_machines() -> None:
    settings = TrainSettings(memory_gib=20)
    found = choose(settings, CODER_7B, rates_of=lambda *_: PLAIN, room=room(110))
    assert found.precision == "bf16"
    assert "`--memory-gib` is 20" in found.reasons[1]
    with pytest.raises(MachineError, match="--memory-gib"):
        fitting_run(shape_of(CODER_HALF_B), WIDE, TrainSettings(memory_gib=0.5))


def test_bf16_without_such_units_is_held_narrow_and_said() -> None:
    found = choose(TrainSettings(precision="bf16"), CODER_7B, rates_of=lambda *_: PLAIN)
    assert found.precision == "bf16"
    assert "held in bf16 and widened to fp32" in found.reasons[1]
    with pytest.raises(MachineError, match="mixed was asked for"):
        choose(TrainSettings(precision="mixed"), CODER_7B, rates_of=lambda *_: PLAIN)


def test_the_probe_multiplies_as_the_run_does() -> None:
    settings = TrainSettings(engine="fast", precision="bf16")
    has_units = bool(set(BF16_FLAGS) & set(processor_flags()))
    # Else the forecast would take minutes, and be wrong by the factor of BF16 without units.
    assert (product_dtype(settings) is torch.bfloat16) == has_units


def test_a_7b_in_bf16_needs_half_of_fp32() -> None:
    shape = shape_of(CODER_7B)
    wide, narrow = weight_bytes(shape, WIDE), weight_bytes(shape, WIDENED)
    # 7.6 G weights of 2 bytes; in FP32 the embedding still has 2.
    assert narrow == pytest.approx(15.2e9, rel=0.01)
    assert wide == pytest.approx(2 * narrow - 2 * shape.vocabulary * shape.hidden)


@pytest.mark.parametrize("tokens", [256, 1024, 4096])
def test_no_more_is_kept_than_there_is_room_for(tokens: int) -> None:
    keeping = keeping_of(shape_of(CODER_7B), WIDENED, TrainSettings(), room(24))
    assert keeping.recomputed_layers(keeping.whole_tokens()) == 0
    assert keeping.recomputed_layers(keeping.whole_tokens() + 1) > 0
    used = keeping.activation_bytes(tokens) + keeping.working_bytes * tokens
    assert used <= keeping.room_bytes or keeping.recomputed_layers(tokens) == keeping.layers
    assert used >= keeping.least_bytes(tokens)


def test_layers_run_again_one_by_one_as_micro_batches_grow() -> None:
    keeping = ActivationBudget(
        layers=4, kept_bytes=10, bare_bytes=1, working_bytes=0, room_bytes=40 * 100
    )
    # 110 tokens: 4 layers of 1,100 bytes are 400 too many; one saves 990 but keeps 1,100 for a
    # while, so two run again: 2 * 1,100 + 2 * 110 + 1,100 = 3,520.
    assert [keeping.recomputed_layers(tokens) for tokens in (100, 110, 1000)] == [0, 2, 4]
    assert keeping.activation_bytes(110) == 3520


def test_widened_blocks_give_what_fp32_gives() -> None:
    generator = torch.Generator().manual_seed(0)
    # More than one block of 2 Mi values, and the last one shorter.
    weight = torch.randn(1500, 2048, generator=generator).bfloat16()
    bias = torch.randn(1500, generator=generator)
    states = torch.randn(7, 2048, generator=generator)
    gradient = torch.randn(7, 1500, generator=generator)
    wide, widened = (frozen_product([weight], bias, x, Elementwise()) for x in (WIDE, WIDENED))
    torch.testing.assert_close(widened.forward(states), wide.forward(states), rtol=1e-6, atol=1e-4)
    one, other = widened.input_gradient(gradient), wide.input_gradient(gradient)
    assert float((one - other).norm() / other.norm()) < 1e-6
    assert widened.stored_bytes() * 2 == wide.stored_bytes()


def test_no_file_stays_mapped_after_a_weight_was_read(tmp_path: Path) -> None:
    base = small_variant(tmp_path, "llama")
    weight = FolderWeights(base.folder).tensor("model.norm.weight")
    assert len(weight) == 64
    assert str(base.folder) not in Path("/proc/self/maps").read_text(encoding="utf-8")


def test_memory_is_spared_where_twice_the_tokens_would_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shape = shape_of(CODER_HALF_B)
    settings = TrainSettings(micro_batch_tokens=2048, max_tokens=1024)
    plenty = MemoryRoom(2**50, 2**40, "the machine's memory")
    keeping = keeping_of(shape, WIDE, settings, plenty)
    a_token = keeping.layers * keeping.kept_bytes + keeping.working_bytes

    def spared(tokens: int) -> bool:
        beside = plenty.available_bytes - keeping.room_bytes
        room = MemoryRoom(2**50, int(beside + tokens * a_token), "the machine's memory")
        monkeypatch.setattr(memory, "room_on", lambda _: room)
        return memory.has_twice_the_room(CODER_HALF_B, WIDE, settings)

    assert spared(4096 + 64)
    assert not spared(4096 - 64)


def test_wide_products_count_as_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    shape, settings = shape_of(CODER_7B), TrainSettings(memory_gib=20)
    kernel = Arithmetic("int8 widened", "int8 widened", torch.float32)
    plain = keeping_of(shape, kernel, settings, room(64))
    some = keeping_of(shape, kernel, settings, room(64), wide_bytes=3 * GIB)
    assert plain.room_bytes - some.room_bytes == pytest.approx(3 * GIB, abs=2**24)
    beside = memory.footprint_of(CODER_7B, kernel, settings, room(64), wide_bytes=3 * GIB)
    assert beside.weight_bytes == weight_bytes(shape, kernel) + 3 * GIB
    spare = memory.spare_bytes(CODER_7B, kernel, settings, room(64))
    assert 0 < spare < 12 * GIB
    tight = TrainSettings(memory_gib=20 - spare / GIB - 0.1)
    assert "int8 widened needs" in (memory.shortage(CODER_7B, kernel, tight, room(64)) or "")
    monkeypatch.setattr(memory, "room_on", lambda _: room(64))
    fitting_run(shape, kernel, TrainSettings(memory_gib=12))
    with pytest.raises(MachineError, match="--memory-gib"):
        fitting_run(shape, kernel, TrainSettings(memory_gib=12), wide_bytes=8 * GIB)
