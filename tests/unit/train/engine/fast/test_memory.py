"""The fast engine's memory: a precision that fits, and gradient checkpointing if needed."""

from pathlib import Path

import pytest
import torch

from journeyman.errors import MachineError
from journeyman.machine.memory_limits import MemoryRoom
from journeyman.machine.processor import BF16_FLAGS, processor_flags
from journeyman.settings import TrainSettings
from journeyman.train.engine.choose import choose
from journeyman.train.engine.fast.elementwise import Elementwise
from journeyman.train.engine.fast.linear import Arithmetic, frozen_linear
from journeyman.train.engine.fast.memory import (
    ActivationBudget,
    MemoryPlan,
    memory_plan_of,
    require_memory,
    shortage,
    weight_bytes,
)
from journeyman.train.engine.fast.shape import shape_of
from journeyman.train.engine.fast.weights import FolderWeights
from journeyman.train.engine.product_rates import Rates
from journeyman.train.engine.recipe import recipe_of
from journeyman.train.forecast.base_model import known_shape
from journeyman.train.forecast.probe_parts import product_dtype
from tests.small_models import small_variant

GIB = 2**30
CODER_7B = known_shape("Qwen/Qwen2.5-Coder-7B-Instruct").config
CODER_HALF_B = known_shape("Qwen/Qwen2.5-Coder-0.5B-Instruct").config
# Neither BF16 units nor a kernel that is fast enough.
PLAIN = Rates(fp32=60e9, kernel=61e9)
FP32 = Arithmetic("fp32", "fp32", torch.float32)
UPCAST = Arithmetic("bf16 upcast", "bf16 upcast", torch.float32)


def plan_of(
    config: object, arithmetic: Arithmetic, settings: TrainSettings, gib: float, **more: int
) -> MemoryPlan:
    return memory_plan_of(shape_of(config), arithmetic, settings, room(gib), **more)


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
def test_auto_takes_the_precision_with_the_most_bits_that_fits(
    config: object, gib: float, expected: str
) -> None:
    found = choose(TrainSettings(), config, rates_of=lambda *_: PLAIN, room=room(gib))
    assert (found.engine, found.precision) == ("fast", expected)
    if expected != "fp32":
        assert "fp32 needs" in found.reasons[1]
        assert f"the machine's memory is {gib:.1f} GiB" in found.reasons[1]


def test_the_users_limit_counts_like_the_machines() -> None:
    settings = TrainSettings(memory_gib=20)
    found = choose(settings, CODER_7B, rates_of=lambda *_: PLAIN, room=room(110))
    assert found.precision == "bf16"
    assert "`--memory-gib` is 20" in found.reasons[1]
    tight = TrainSettings(memory_gib=0.5)
    with pytest.raises(MachineError, match="--memory-gib"):
        require_memory(plan_of(CODER_HALF_B, FP32, tight, 64), tight)


def test_bf16_without_bf16_units_is_stored_and_upcast() -> None:
    found = choose(TrainSettings(precision="bf16"), CODER_7B, rates_of=lambda *_: PLAIN)
    assert found.precision == "bf16"
    assert "stored in bf16 and upcast to fp32" in found.reasons[1]
    with pytest.raises(MachineError, match="`--precision mixed` was requested"):
        choose(TrainSettings(precision="mixed"), CODER_7B, rates_of=lambda *_: PLAIN)


def test_the_probe_multiplies_as_the_run_does() -> None:
    settings = TrainSettings(engine="fast", precision="bf16")
    has_units = bool(set(BF16_FLAGS) & set(processor_flags()))
    # Otherwise the forecast would take minutes, and be wrong by the cost of BF16 without units.
    recipe = recipe_of(settings, CODER_HALF_B)
    assert (product_dtype(recipe) is torch.bfloat16) == has_units


def test_a_7b_in_bf16_needs_half_of_fp32() -> None:
    shape = shape_of(CODER_7B)
    fp32, bf16 = weight_bytes(shape, FP32), weight_bytes(shape, UPCAST)
    # 7.6 G weights of 2 bytes; in FP32 the embedding still has 2.
    assert bf16 == pytest.approx(15.2e9, rel=0.01)
    assert fp32 == pytest.approx(2 * bf16 - 2 * shape.vocabulary * shape.hidden)


@pytest.mark.parametrize("tokens", [256, 1024, 4096])
def test_activations_fit_into_the_budget(tokens: int) -> None:
    budget = plan_of(CODER_7B, UPCAST, TrainSettings(), 24).activation_budget
    assert budget.checkpointed_layers(budget.most_tokens_kept()) == 0
    assert budget.checkpointed_layers(budget.most_tokens_kept() + 1) > 0
    used = budget.activation_bytes(tokens) + budget.working_bytes * tokens
    assert used <= budget.room_bytes or budget.checkpointed_layers(tokens) == budget.layers
    assert used >= budget.least_bytes(tokens)


def test_more_layers_are_checkpointed_as_micro_batches_grow() -> None:
    budget = ActivationBudget(
        layers=4, kept_bytes=10, bare_bytes=1, working_bytes=0, room_bytes=40 * 100
    )
    # 110 tokens: 4 layers of 1,100 bytes are 400 too many; one saves 990 but keeps 1,100 while it
    # is recomputed, so two are checkpointed: 2 * 1,100 + 2 * 110 + 1,100 = 3,520.
    assert [budget.checkpointed_layers(tokens) for tokens in (100, 110, 1000)] == [0, 2, 4]
    assert budget.activation_bytes(110) == 3520


def test_upcast_blocks_give_what_fp32_gives() -> None:
    generator = torch.Generator().manual_seed(0)
    # More than one block of 2 Mi values, and the last one shorter.
    weight = torch.randn(1500, 2048, generator=generator).bfloat16()
    bias = torch.randn(1500, generator=generator)
    states = torch.randn(7, 2048, generator=generator)
    gradient = torch.randn(7, 1500, generator=generator)
    fp32, upcast = (frozen_linear([weight], bias, x, Elementwise()) for x in (FP32, UPCAST))
    torch.testing.assert_close(upcast.forward(states), fp32.forward(states), rtol=1e-6, atol=1e-4)
    one, other = upcast.input_gradient(gradient), fp32.input_gradient(gradient)
    assert float((one - other).norm() / other.norm()) < 1e-6
    assert upcast.stored_bytes * 2 == fp32.stored_bytes


def test_no_file_stays_mapped_after_a_weight_was_read(tmp_path: Path) -> None:
    base = small_variant(tmp_path, "llama")
    weight = FolderWeights(base.folder).tensor("model.norm.weight")
    assert len(weight) == 64
    assert str(base.folder) not in Path("/proc/self/maps").read_text(encoding="utf-8")


def test_memory_is_plentiful_if_twice_the_tokens_would_fit() -> None:
    settings = TrainSettings(micro_batch_tokens=2048, max_tokens=1024)
    shape, plenty = shape_of(CODER_HALF_B), MemoryRoom(2**50, 2**40, "the machine's memory")
    budget = memory_plan_of(shape, FP32, settings, plenty).activation_budget
    a_token = budget.layers * budget.kept_bytes + budget.working_bytes

    def fits_twice(tokens: int) -> bool:
        beside = plenty.available_bytes - budget.room_bytes
        room = MemoryRoom(2**50, int(beside + tokens * a_token), "the machine's memory")
        return memory_plan_of(shape, FP32, settings, room).fits_twice(settings)

    assert fits_twice(4096 + 64)
    assert not fits_twice(4096 - 64)


def test_full_precision_layers_count_as_weights() -> None:
    settings = TrainSettings(memory_gib=20)
    int8 = Arithmetic("int8 upcast", "int8 upcast", torch.float32)
    plain = plan_of(CODER_7B, int8, settings, 64)
    some = plan_of(CODER_7B, int8, settings, 64, full_precision_bytes=3 * GIB)
    less = plain.activation_budget.room_bytes - some.activation_budget.room_bytes
    assert less == pytest.approx(3 * GIB, abs=2**24)
    assert some.weight_bytes == weight_bytes(shape_of(CODER_7B), int8) + 3 * GIB
    later = plain.with_full_precision(3 * GIB)
    assert later.weight_bytes == some.weight_bytes
    assert later.activation_budget.room_bytes == pytest.approx(
        some.activation_budget.room_bytes, abs=2**24
    )
    assert later.with_full_precision(0) == plain


def test_spare_memory_is_what_a_tighter_limit_may_take() -> None:
    int8 = Arithmetic("int8 upcast", "int8 upcast", torch.float32)
    settings = TrainSettings(memory_gib=20)
    spare = plan_of(CODER_7B, int8, settings, 64).spare_bytes(settings)
    assert 0 < spare < 12 * GIB
    tight = TrainSettings(memory_gib=20 - spare / GIB - 0.1)
    assert "int8 upcast needs" in (shortage(CODER_7B, int8, tight, room(64)) or "")
    twelve = TrainSettings(memory_gib=12)
    plan = plan_of(CODER_7B, int8, twelve, 64)
    require_memory(plan, twelve)
    with pytest.raises(MachineError, match="--memory-gib"):
        require_memory(plan.with_full_precision(8 * GIB), twelve)
