"""The files of a run for its user: `training_config.json`, and the adapter in `final_model/`."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from journeyman.errors import MachineError
from journeyman.files import atomic_folder, write_json, write_text
from journeyman.machine.processor import describe_machine
from journeyman.model.chat_template import read_template
from journeyman.records import BaseModel
from journeyman.runs import read_manifest, versions, write_manifest
from journeyman.settings import TrainSettings
from journeyman.train.identity import Change, Identity
from journeyman.train.monitor.loss_warnings import LossWarning, loss_warnings_of
from journeyman.train.state import State, loss_at

if TYPE_CHECKING:
    from torch import Tensor

FINAL = "final_model"
CONFIG = "training_config.json"
STAGE = "train"
TEMPLATE = "chat_template.jinja"
_TOKENIZER_FILES = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
)


class FinalModel(Struct, frozen=True):
    """What the manifest of `final_model/` says about the run, besides the base model.

    Losses in nats a trained token; None without validation rows. tokens: real tokens of all epochs.
    seconds: in steps. real_token_share: real tokens over computed ones. advice: loss warnings.
    exact: whether the adapter equals, bit for bit, that of an uninterrupted run with this identity;
    if not, `lineage` says what changed on the way.
    """

    identity: Identity
    steps: int
    tokens: int
    seconds: float
    real_token_share: float | None
    val_loss_base: float | None
    val_loss_final: float | None
    advice: tuple[LossWarning, ...] = ()
    exact: bool = True
    lineage: tuple[Change, ...] = ()


class TrainingResult(Struct, frozen=True):
    """A finished run: the folder of its adapter, and what its manifest says."""

    final_model: Path
    final: FinalModel


def final_of(state: State) -> FinalModel:
    """The result of a run that has taken its last step."""
    return FinalModel(
        identity=state.identity,
        steps=state.step,
        tokens=state.real_tokens,
        seconds=round(state.seconds, 3),
        real_token_share=state.real_token_share,
        val_loss_base=loss_at(state.validations, 0),
        val_loss_final=loss_at(state.validations, state.step),
        advice=loss_warnings_of(state),
        exact=state.is_exact,
        lineage=state.lineage,
    )


def write_config(
    settings: TrainSettings, identity: Identity, *, facts: Mapping[str, object]
) -> None:
    """Write training_config.json: resolved settings, inputs, versions, machine, and `facts`."""
    write_json(
        settings.output_dir / CONFIG,
        {
            "settings": {
                name: str(value) if isinstance(value, Path) else value
                for name, value in vars(settings).items()
            },
            "identity": identity,
            **facts,
            "versions": versions(),
            "machine": describe_machine(),
        },
    )


def write_final(
    settings: TrainSettings,
    base: BaseModel,
    state: State,
    parameters: Mapping[str, "Tensor"],
) -> TrainingResult:
    """Write `final_model/`: adapter, tokenizer, chat template, and the manifest with the base."""
    from journeyman.model.adapter_files import write_adapter

    path = settings.output_dir / FINAL
    final = final_of(state)
    facts = msgspec.to_builtins(final)
    facts["base"] = {
        "name": base.name,
        "sha256": base.sha256,
        "template_sha256": base.template_sha256,
    }
    try:
        with atomic_folder(path, replace=True) as folder:
            write_adapter(folder, parameters, settings)
            _copy_tokenizer(base, folder)
            write_manifest(
                folder,
                stage=STAGE,
                settings=vars(settings),
                inputs=state.identity.inputs(),
                facts=facts,
            )
    except OSError as error:
        raise MachineError(
            f"cannot write `{path}`: {error.strerror or error}",
            hint="free some space and run the same command again; the last checkpoint is intact",
        ) from error
    return TrainingResult(path, final)


def _copy_tokenizer(base: BaseModel, folder: Path) -> None:
    template = read_template(base.folder)
    assert template is not None  # `find_base` refuses a base model without one
    for name in _TOKENIZER_FILES:
        if (base.folder / name).is_file():
            shutil.copyfile(base.folder / name, folder / name)
    write_text(folder / TEMPLATE, template)


def read_final(folder: Path) -> FinalModel | None:
    """What a finished adapter says about its run; None if no run wrote the folder."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.stage != STAGE:
        return None
    try:
        return msgspec.convert(manifest.facts, FinalModel)
    except msgspec.ValidationError:
        return None
