"""What makes two runs the same run: everything that decides the bits of the adapter.

Covered: data, base model, template, adapter shape, batches, optimiser, schedule, precision, seed.
Not covered: the number of threads and torch's version (`State.arithmetic`; a change is reported).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman.errors import IntegrityError, JourneymanError, UsageError
from journeyman.files import sha256_of
from journeyman.records import BaseModel
from journeyman.settings import TrainSettings

_FROM_SETTINGS = (
    "epochs",
    "max_steps",
    "batch_size",
    "accumulation",
    "lr",
    "weight_decay",
    "warmup_share",
    "max_grad_norm",
    "max_tokens",
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_targets",
    "precision",
    "micro_batch_tokens",
    "compiled",
    "seed",
)
_INT8_PLAN = "int8_plan"
# Names in checkpoints of earlier versions: of settings that are called otherwise now, or are gone.
_RENAMED = {"narrowing": _INT8_PLAN}
_RETIRED = ("wide_products",)
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
# With other values, the tensors of a checkpoint have other shapes.
_NEVER_ACCEPTED = ("lora_r", "lora_targets")
# Of a base model with the same name: if these differ, its files are damaged.
_DAMAGE = ("base_sha256", "tokenizer_sha256")


class Change(Struct, frozen=True):
    """A field of a run that changed on the way, since which step, and both values."""

    step: int
    field: str
    before: str
    after: str


class Identity(Struct, frozen=True):
    """What identifies a run, as values that JSON knows."""

    base_name: str
    base_sha256: str
    template_sha256: str
    tokenizer_sha256: str
    train_sha256: str
    val_sha256: str
    engine: str
    settings: dict[str, object]

    def inputs(self) -> dict[str, str]:
        """The hashes of what the run reads, as its manifests name them."""
        return {
            "train.jsonl": self.train_sha256,
            "val.jsonl": self.val_sha256,
            "base": self.base_sha256,
            "chat template": self.template_sha256,
            "tokenizer": self.tokenizer_sha256,
        }


def identity_of(settings: TrainSettings, base: BaseModel, *, int8_plan_id: str = "") -> Identity:
    """The identity of a run with resolved settings (no `auto`, `accumulation` is a number).

    int8_plan_id: empty without a calibration.
    """
    from_settings = {name: _plain(getattr(settings, name)) for name in _FROM_SETTINGS}
    if int8_plan_id:
        # Left out if empty, so that runs of versions without calibration stay the same run.
        from_settings[_INT8_PLAN] = int8_plan_id
    return Identity(
        base_name=base.name,
        base_sha256=base.sha256,
        template_sha256=base.template_sha256,
        tokenizer_sha256=_tokenizer_sha256(base.folder),
        train_sha256=sha256_of(settings.data_dir / "train.jsonl"),
        val_sha256=sha256_of(settings.data_dir / "val.jsonl"),
        engine=settings.engine,
        settings=from_settings,
    )


def _tokenizer_sha256(folder: Path) -> str:
    """Hash of the file that decides the token ids: the first that exists, as in loading."""
    files = [folder / name for name in _TOKENIZERS if (folder / name).is_file()]
    return sha256_of(files[0]) if files else ""


def _plain(value: object) -> object:
    # Sorted, because the order of the targets changes nothing in the adapter.
    return sorted(value) if isinstance(value, tuple) else value


def differences(there: Identity, here: Identity) -> list[Change]:
    """Every field in which two runs differ; `before` is the value there, `after` the one here."""
    left, right = _fields(there), _fields(here)
    if there.base_sha256 == here.base_sha256:
        # The same weights under another name or path are the same base.
        left.pop("base_name")
        right.pop("base_name")
    return [
        Change(0, name, _short(left.get(name)), _short(right.get(name)))
        for name in sorted(left | right)
        if left.get(name) != right.get(name)
    ]


def _fields(identity: Identity) -> dict[str, object]:
    """All fields by their present names, those of the settings among them."""
    fields: dict[str, object] = msgspec.to_builtins(identity)
    settings = fields.pop("settings")
    assert isinstance(settings, Mapping)
    return fields | {_RENAMED.get(str(name), str(name)): x for name, x in settings.items()}


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    is_hash = len(text) == 64 and all(digit in "0123456789abcdef" for digit in text)
    return f"{text[:12]}…" if is_hash else text


def require_same(
    there: Identity, here: Identity, *, where: str, accepted: Sequence[str] = ()
) -> list[Change]:
    """Refuse to go on with another run; gives the differences that the user accepted by name.

    Raises IntegrityError if the weights or the tokenizer of the same base model differ, because
    then its files are damaged, and UsageError for every other difference.
    """
    changes = differences(there, here)
    accepted = [_RENAMED.get(name, name) for name in accepted]
    refused = [one for one in changes if one.field not in accepted or one.field in _NEVER_ACCEPTED]
    if not refused:
        return changes
    kind: type[JourneymanError] = UsageError
    if there.base_name == here.base_name and {one.field for one in refused} & set(_DAMAGE):
        kind = IntegrityError
    listed = "; ".join(f"`{x.field}` `{x.before}` there, `{x.after}` here" for x in refused)
    raise kind(f"`{where}` belongs to another run: {listed}", hint=_hint(refused))


def _hint(refused: Sequence[Change]) -> str:
    flags = " ".join(f"--accept-change {one.field}" for one in refused)
    accepting = "" if {x.field for x in refused} & set(_NEVER_ACCEPTED) else f"{flags} to go on, "
    return (
        f"use the same settings; or {accepting}another --output-dir, "
        "or --fresh to move the earlier run out of the way"
    )


def require_acceptable(accepted: Sequence[str]) -> None:
    """Refuse names after `--accept-change` that are not fields of a run. Raises UsageError."""
    known = {*(set(Identity.__struct_fields__) - {"settings"}), *_FROM_SETTINGS, _INT8_PLAN}
    possible = sorted(known - set(_NEVER_ACCEPTED))
    wrong = [name for name in accepted if name not in (*possible, *_RETIRED, *_RENAMED)]
    if wrong:
        raise UsageError(
            f"`--accept-change {wrong[0]}`: there is no such change to accept",
            hint=f"use one of {', '.join(possible)}",
        )
