"""`--device`: what is refused or reported without a GPU, and that the engine uses one device."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig

from journeyman.errors import MachineError, UsageError
from journeyman.settings import TrainSettings
from journeyman.train.batching.rows import TokenRow
from journeyman.train.check_settings import require_usable
from journeyman.train.engine.adapter_parameters import initialise
from journeyman.train.engine.choose import choose
from journeyman.train.engine.devices import choose_device
from journeyman.train.engine.fast.decoder import DecoderPlan, added_at
from journeyman.train.engine.fast.engine import FastEngine
from journeyman.train.engine.fast.linear import Arithmetic
from journeyman.train.engine.fast.shape import shape_of
from journeyman.train.engine.fast.weights import RandomWeights
from journeyman.train.engine.optimizer import Optimizer
from journeyman.train.engine.product_rates import Rates
from tests.needs import this_machine

HAS_GPU = torch.cuda.is_available()
CONFIG = AutoConfig.for_model(
    "qwen2", vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False,
)  # fmt: skip
FP32 = Arithmetic("fp32", "fp32", torch.float32)
BF16 = Arithmetic("bf16", "bf16", torch.bfloat16)
SHARED = tuple(range(20))
ROWS = [TokenRow(str(n), (*SHARED, *range(n, n + 9)), (False,) * 20 + (True,) * 9) for n in (1, 30)]


class WeightsInMemory:
    """Random weights that are in memory already."""

    def __init__(self) -> None:
        self._chance = RandomWeights(shape_of(CONFIG), biases=True)
        self._tensors: dict[str, Tensor] = {}

    def tensor(self, name: str) -> Tensor:
        return self._tensors.setdefault(name, self._chance.tensor(name))

    def __contains__(self, name: object) -> bool:
        return name in self._chance


def trained(
    source: WeightsInMemory, plan: DecoderPlan, dropout: float
) -> tuple[float, Mapping[str, Tensor]]:
    """The loss and the adapter after two updates."""
    settings = TrainSettings(lora_dropout=dropout, lora_targets=("q_proj", "up_proj", "down_proj"))
    engine = FastEngine(CONFIG, source, settings, plan=plan)
    initialise(engine.parameters(), seed=1)
    optimizer = Optimizer(engine.parameters(), weight_decay=0.01)
    for _ in range(2):
        optimizer.clear()
        engine.backward(ROWS, weight=0.1, seed=0)
        optimizer.restore_gradients(optimizer.gradients())
        optimizer.clip(1.0)
        optimizer.step(1e-2)
        optimizer.restore(optimizer.tensors(), step=1)
    return engine.loss(ROWS).loss_sum, engine.parameters()


@pytest.mark.skipif(HAS_GPU, reason=this_machine("has a GPU"))
def test_a_missing_gpu_is_refused_with_the_reason() -> None:
    with pytest.raises(
        MachineError, match=f"torch {torch.__version__}".replace("+", r"\+")
    ) as caught:
        choose_device("cuda", "auto")
    assert "leave out `--device`" in caught.value.hint
    device, why = choose_device("auto", "auto")
    assert (device, "torch" in why) == ("cpu", True)


def test_auto_stays_on_the_processor_for_int8() -> None:
    assert choose_device("auto", "int8")[0] == "cpu"
    assert choose_device("cpu", "auto")[0] == "cpu"


def test_settings_that_a_gpu_does_not_support_are_refused_at_once(tmp_path: Path) -> None:
    settings = TrainSettings(
        data_dir=tmp_path, device="cuda", precision="int8", engine="hf", processes=2
    )
    with pytest.raises(UsageError) as caught:
        require_usable(settings)
    for named in ("--precision int8", "--engine hf", "one process"):
        assert named in caught.value.message


def test_other_architectures_are_not_trained_on_a_gpu() -> None:
    with pytest.raises(UsageError, match="needs the fast engine"):
        choose(
            TrainSettings(device="cuda"),
            AutoConfig.for_model("gpt2"),
            rates_of=lambda *_: Rates(fp32=1e9),
        )


def test_no_tensor_is_made_on_the_default_device_by_accident() -> None:
    source = WeightsInMemory()
    expected = trained(source, DecoderPlan(FP32), dropout=0.2)
    # A tensor that is made without a device has no values here.
    with torch.device("meta"):
        found = trained(source, DecoderPlan(FP32), dropout=0.2)
    assert found[0] == expected[0]
    for name, tensor in expected[1].items():
        assert torch.equal(found[1][name], tensor)


class OneDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses operations on tensors of several devices; a number without value is 0.5."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        if func.overloadpacket in _VALUES and given[0].is_meta:
            return 0.5
        devices = {one.device.type for one in given if one.dim()}
        if len(devices) > 1 and func.overloadpacket not in _TRANSFERS:
            raise AssertionError(f"{func} was given tensors on {devices}")
        return func(*args, **(kwargs or {}))


_VALUES = (torch.ops.aten.item, torch.ops.aten._local_scalar_dense)
_TRANSFERS = (torch.ops.aten.copy_, torch.ops.aten._to_copy, torch.ops.aten.to)


@pytest.mark.parametrize("arithmetic", [FP32, BF16], ids=["fp32", "bf16"])
def test_a_whole_step_uses_the_device_of_the_plan(arithmetic: Arithmetic) -> None:
    # The only other device that every machine has; it has shapes and no values.
    elsewhere = DecoderPlan(arithmetic, checkpointed_layers=1, device=torch.device("meta"))
    with OneDevice():  # type: ignore[no-untyped-call]
        _, parameters = trained(WeightsInMemory(), elsewhere, dropout=0.2)
        with pytest.raises(AssertionError, match="was given tensors on"):
            torch.ones(2, device="meta") @ torch.ones(2, 2)
    for parameter in parameters.values():
        assert parameter.device.type == "meta"
        assert parameter.grad is not None
        assert parameter.grad.device.type == "meta"


def test_rows_add_up_at_their_places_on_every_device() -> None:
    places, values = torch.tensor([2, 0, 2]), torch.arange(6.0).view(3, 2)
    expected = torch.tensor([[2.0, 3.0], [0.0, 0.0], [4.0, 6.0]])
    assert torch.equal(added_at(torch.zeros(3, 2), places, values), expected)
    put = torch.zeros(3, 2).index_put_((places,), values, accumulate=True)
    assert torch.equal(put, expected)


@pytest.mark.skipif(not HAS_GPU, reason=this_machine("has no GPU"))
def test_a_gpu_gives_what_the_processor_gives() -> None:
    source = WeightsInMemory()
    loss, parameters = trained(source, DecoderPlan(FP32), dropout=0.2)
    on_gpu, there = trained(source, DecoderPlan(FP32, device=torch.device("cuda")), dropout=0.2)
    assert on_gpu == pytest.approx(loss, rel=1e-5)
    for name, tensor in parameters.items():
        distance = (there[name].cpu() - tensor).norm() / tensor.norm()
        assert float(distance) < 1e-3, name
