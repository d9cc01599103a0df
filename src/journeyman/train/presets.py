"""Defaults from `training/configs/lora_config.json`, and the recommended preset.

Both give values for fields of `TrainSettings` by the fields' names; a flag overrides either.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec
from msgspec import Struct, field

from journeyman.errors import UsageError
from journeyman.settings import EFFECTIVE_BATCH

RECOMMENDED: Mapping[str, object] = MappingProxyType(
    {
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.0,
        "lora_targets": (
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
        ),
        "lr": 2e-4,
        "warmup_share": 0.1,
        "batch_size": 2,
        "accumulation": 4,
        "epochs": 3.0,
    }
)
"""All linear layers, no dropout, 8 rows a step: more steps on few rows; see docs/training.md."""


class _Model(Struct, frozen=True, forbid_unknown_fields=True):
    base: str | None = field(default=None, name="base_model_name_or_path")
    max_tokens: int | None = field(default=None, name="max_length")
    precision: str | None = None


class _Lora(Struct, frozen=True, forbid_unknown_fields=True):
    lora_r: int | None = field(default=None, name="r")
    lora_alpha: int | None = None
    lora_dropout: float | None = None
    lora_targets: tuple[str, ...] | None = field(default=None, name="target_modules")


class _Training(Struct, frozen=True, forbid_unknown_fields=True):
    epochs: float | None = field(default=None, name="num_train_epochs")
    max_steps: int | None = None
    batch_size: int | None = field(default=None, name="per_device_train_batch_size")
    accumulation: int | None = field(default=None, name="gradient_accumulation_steps")
    lr: float | None = field(default=None, name="learning_rate")
    weight_decay: float | None = None
    warmup_share: float | None = field(default=None, name="warmup_ratio")
    max_grad_norm: float | None = None
    save_steps: int | None = None
    keep_checkpoints: int | None = field(default=None, name="save_total_limit")
    eval_steps: int | None = None
    seed: int | None = None


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    """`lora_config.json`. Fields have the names of `TrainSettings`; the file has those of PEFT and
    transformers."""

    model: _Model = _Model()
    lora: _Lora = _Lora()
    training: _Training = _Training()


def load_lora_config(path: Path) -> dict[str, object]:
    """The file's values by the names of `TrainSettings`. Raises UsageError with the JSON path.

    An accumulation that gives 16 rows a step with the file's batch size is left out and derived
    later, so that `--batch-size 1` still gives 16; any other is kept.
    """
    if not path.is_file():
        raise UsageError(f"`{path}` is not a file", hint="check the path after --config")
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"`{path}` cannot be used: {error}",
            hint="docs/training.md lists its sections and fields",
        ) from error
    values: dict[str, object] = {}
    for section in (file.model, file.lora, file.training):
        given = msgspec.structs.asdict(section)
        values |= {name: value for name, value in given.items() if value is not None}
    training = file.training
    if (training.batch_size or 0) * (training.accumulation or 0) == EFFECTIVE_BATCH:
        del values["accumulation"]
    return values
