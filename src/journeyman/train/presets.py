"""Defaults from `training/configs/lora_config.json`, and the recommended preset.

Both give values for fields of `TrainSettings` by the fields' names; a flag overrides either.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec
from msgspec import Struct

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


class _Model(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    base_model_name_or_path: str | None = None
    max_length: int | None = None
    precision: str | None = None


class _Lora(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    r: int | None = None
    lora_alpha: int | None = None
    lora_dropout: float | None = None
    target_modules: tuple[str, ...] | None = None


class _Training(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    num_train_epochs: float | None = None
    max_steps: int | None = None
    per_device_train_batch_size: int | None = None
    gradient_accumulation_steps: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    warmup_ratio: float | None = None
    max_grad_norm: float | None = None
    save_steps: int | None = None
    save_total_limit: int | None = None
    eval_steps: int | None = None
    seed: int | None = None


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    model: _Model = _Model()
    lora: _Lora = _Lora()
    training: _Training = _Training()


_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "base_model_name_or_path": "base",
        "max_length": "max_tokens",
        "precision": "precision",
        "r": "lora_r",
        "lora_alpha": "lora_alpha",
        "lora_dropout": "lora_dropout",
        "target_modules": "lora_targets",
        "num_train_epochs": "epochs",
        "max_steps": "max_steps",
        "per_device_train_batch_size": "batch_size",
        "gradient_accumulation_steps": "accumulation",
        "learning_rate": "lr",
        "weight_decay": "weight_decay",
        "warmup_ratio": "warmup_share",
        "max_grad_norm": "max_grad_norm",
        "save_steps": "save_steps",
        "save_total_limit": "keep_checkpoints",
        "eval_steps": "eval_steps",
        "seed": "seed",
    }
)


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
        values |= {_FIELDS[key]: value for key, value in given.items() if value is not None}
    rows = (file.training.per_device_train_batch_size or 0) * (
        file.training.gradient_accumulation_steps or 0
    )
    if rows == EFFECTIVE_BATCH:
        del values["accumulation"]
    return values
