"""What makes two runs the same run: all that decides the bits of the adapter.

Covered: data, base, template, adapter shape, batch geometry, optimiser, schedule, precision, seed.
Not covered: thread count and torch's version (`arithmetic` in the state; a change is reported).
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
# Names in checkpoints of earlier versions.
_RENAMED = {"narrowing": _INT8_PLAN}
_RETIRED = ("wide_products",)
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
# Other shapes: the tensors of a checkpoint would not fit.
_NEVER_ACCEPTED = ("lora_r", "lora_targets")
# The same files under the same name: if their bytes changed, that is damage.
_DAMAGE = ("base_sha256", "tokenizer_sha256")


class Change(Struct, frozen=True):
    """What was not the same throughout a run: since which step, which field, both values."""

    step: int
    field: str
    before: str
    after: str


class Identity(Struct, frozen=True):
    """The run in facts that can be compared; values are JSON's own types."""

    base_name: str
    base_sha256: str
    template_sha256: str
    tokenizer_sha256: str
    train_sha256: str
    val_sha256: str
    engine: str
    settings: dict[str, object]


def identity_of(settings: TrainSettings, base: BaseModel, *, int8_plan_id: str = "") -> Identity:
    """The identity of a run whose settings are resolved (no `auto`, no None accumulation).

    int8_plan_id: of what a calibration decided; empty without one.
    """
    from_settings = {name: _plain(getattr(settings, name)) for name in _FROM_SETTINGS}
    if int8_plan_id:
        # Absent if empty, as in runs of versions that had no calibration.
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
    """Hash of the file that decides the ids; the fast tokenizer's goes first, as in loading."""
    found = [folder / name for name in _TOKENIZERS if (folder / name).is_file()]
    return sha256_of(found[0]) if found else ""


def _plain(value: object) -> object:
    # Sorted: the order in which the targets are named changes nothing in the adapter.
    return sorted(value) if isinstance(value, tuple) else value


def differences(there: Identity, here: Identity) -> list[Change]:
    """Every field in which two runs differ; `before` is the value there, `after` the one here."""
    left, right = _facts(there), _facts(here)
    if there.base_sha256 == here.base_sha256:
        # The same weights under another name or path are the same base.
        left.pop("base_name")
        right.pop("base_name")
    return [
        Change(0, name, _short(left.get(name)), _short(right.get(name)))
        for name in sorted(left | right)
        if left.get(name) != right.get(name)
    ]


def _facts(identity: Identity) -> dict[str, object]:
    facts: dict[str, object] = msgspec.to_builtins(identity)
    settings = facts.pop("settings")
    assert isinstance(settings, Mapping)
    return facts | {_RENAMED.get(str(name), str(name)): x for name, x in settings.items()}


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    is_hash = len(text) == 64 and all(digit in "0123456789abcdef" for digit in text)
    return f"{text[:12]}…" if is_hash else text


def require_same(
    there: Identity, here: Identity, *, where: str, accepted: Sequence[str] = ()
) -> list[Change]:
    """Refuse to go on with another run; gives the differences that were accepted by name.

    Raises UsageError, or IntegrityError for other weights or another tokenizer under the same
    name: that is damage, all else is another run.
    """
    found = differences(there, here)
    accepted = [_RENAMED.get(name, name) for name in accepted]
    refused = [one for one in found if one.field not in accepted or one.field in _NEVER_ACCEPTED]
    if not refused:
        return found
    kind: type[JourneymanError] = UsageError
    if there.base_name == here.base_name and {one.field for one in refused} & set(_DAMAGE):
        kind = IntegrityError
    listed = "; ".join(f"`{x.field}` `{x.before}` there, `{x.after}` here" for x in refused)
    raise kind(f"`{where}` is of another run: {listed}", hint=_ways_out(refused))


def _ways_out(refused: Sequence[Change]) -> str:
    flags = " ".join(f"--accept-change {one.field}" for one in refused)
    accepting = "" if {x.field for x in refused} & set(_NEVER_ACCEPTED) else f"{flags} to go on, "
    return (
        f"use the same settings; or {accepting}another --output-dir, "
        "or --fresh to move the earlier run aside"
    )


def require_known(accepted: Sequence[str]) -> None:
    """Refuse names that no run differs in. Raises UsageError."""
    known = {*(set(Identity.__struct_fields__) - {"settings"}), *_FROM_SETTINGS, _INT8_PLAN}
    possible = sorted(known - set(_NEVER_ACCEPTED))
    wrong = [name for name in accepted if name not in (*possible, *_RETIRED, *_RENAMED)]
    if wrong:
        raise UsageError(
            f"`--accept-change {wrong[0]}` names nothing that can be accepted",
            hint=f"it can be one of {', '.join(possible)}",
        )
