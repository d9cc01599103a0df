"""What makes two runs the same run: all that decides the bits of the adapter.

Covered: data, base, template, adapter shape, batch geometry, optimiser, schedule, precision, seed.
Not covered: thread count and torch's version (`arithmetic` in the state; a change is reported).
"""

from collections.abc import Mapping

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
    "seed",
)


class Identity(Struct, frozen=True):
    """The run in facts that can be compared; values are JSON's own types."""

    base_name: str
    base_sha256: str
    template_sha256: str
    train_sha256: str
    val_sha256: str
    engine: str
    settings: dict[str, object]


def identity_of(settings: TrainSettings, base: BaseModel, *, engine: str) -> Identity:
    """The identity of a run whose settings are resolved (no `auto`, no None accumulation)."""
    return Identity(
        base_name=base.name,
        base_sha256=base.sha256,
        template_sha256=base.template_sha256,
        train_sha256=sha256_of(settings.data_dir / "train.jsonl"),
        val_sha256=sha256_of(settings.data_dir / "val.jsonl"),
        engine=engine,
        settings={name: _plain(getattr(settings, name)) for name in _FROM_SETTINGS},
    )


def _plain(value: object) -> object:
    # Sorted: the order in which the targets are named changes nothing in the adapter.
    return sorted(value) if isinstance(value, tuple) else value


def differences(there: Identity, here: Identity) -> list[str]:
    """Every field in which two runs differ, as `field` value there, value here."""
    left, right = _facts(there), _facts(here)
    if there.base_sha256 == here.base_sha256:
        # The same weights under another name or path are the same base.
        left.pop("base_name")
        right.pop("base_name")
    return [
        f"`{name}` {_short(left.get(name))} there, {_short(right.get(name))} here"
        for name in sorted(left | right)
        if left.get(name) != right.get(name)
    ]


def _facts(identity: Identity) -> dict[str, object]:
    facts: dict[str, object] = msgspec.to_builtins(identity)
    settings = facts.pop("settings")
    assert isinstance(settings, Mapping)
    return {**facts, **settings}


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    is_hash = len(text) == 64 and all(digit in "0123456789abcdef" for digit in text)
    return f"`{text[:12]}…`" if is_hash else f"`{text}`"


def require_same(there: Identity, here: Identity, *, where: str) -> None:
    """Refuse to go on with another run. Raises UsageError, or IntegrityError for other weights.

    Weights that changed under the same name are damage; all else is another run.
    """
    found = differences(there, here)
    if not found:
        return
    kind: type[JourneymanError] = UsageError
    if there.base_name == here.base_name and there.base_sha256 != here.base_sha256:
        kind = IntegrityError
    raise kind(
        f"`{where}` is of another run: {'; '.join(found)}",
        hint="use the same settings to go on, name another --output-dir, "
        "or --fresh to move the earlier run aside",
    )
