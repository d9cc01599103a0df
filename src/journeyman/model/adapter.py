"""A LoRA adapter folder in PEFT's format: its settings, and whether it belongs to a base.

Refuses every kind of adapter that a merge or a conversion would silently get wrong. PEFT and
llama.cpp compare shapes only; here the hash of the base's weights decides.
"""

import json
from pathlib import Path

from msgspec import Struct
from safetensors import SafetensorError

from journeyman.errors import IntegrityError, UsageError
from journeyman.files import sha256_of
from journeyman.records import BaseModel
from journeyman.runs import read_manifest

CONFIG = "adapter_config.json"

WEIGHTS = "adapter_model.safetensors"


class Adapter(Struct, frozen=True):
    """A LoRA adapter on this disk. `sha256` is that of its weights; None means not recorded.

    The update of a layer is scale * B @ A, with scale = alpha / rank.
    """

    folder: Path
    sha256: str
    base_name: str
    base_sha256: str | None
    template_sha256: str | None
    rank: int
    alpha: float

    @property
    def scale(self) -> float:
        """The factor of the product B @ A."""
        return self.alpha / self.rank


def read_adapter(folder: Path) -> Adapter:
    """Read and check an adapter folder. Raises UsageError with all reasons against it."""
    config = _config(folder)
    faults = [*_unmergeable(config), *_weight_faults(folder)]
    if faults:
        raise UsageError(
            f"the adapter `{folder}` cannot be used: " + "; ".join(faults),
            hint="train plain LoRA on linear layers, as `journeyman train` does",
        )
    manifest = read_manifest(folder)
    base = manifest.facts.get("base") if manifest else None
    facts: dict[str, object] = base if isinstance(base, dict) else {}
    return Adapter(
        folder=folder,
        sha256=sha256_of(folder / WEIGHTS),
        base_name=str(facts.get("name") or config.get("base_model_name_or_path") or ""),
        base_sha256=_text(facts.get("sha256")),
        template_sha256=_text(facts.get("template_sha256")),
        rank=int(str(config["r"])),
        alpha=float(str(config["lora_alpha"])),
    )


def require_fit(adapter: Adapter, base: BaseModel) -> None:
    """Raise IntegrityError with both names if the adapter was trained on another base."""
    pairs = (
        ("weights", adapter.base_sha256, base.sha256),
        ("chat template", adapter.template_sha256, base.template_sha256),
    )
    for what, trained, loaded in pairs:
        if trained is not None and trained != loaded:
            raise IntegrityError(
                f"the adapter was trained on `{adapter.base_name}@{trained[:7]}`, the base loaded "
                f"is `{base.name}@{loaded[:7]}` (sha256 of the {what})",
                hint=f"set `--base` to the base that the adapter `{adapter.folder}` was trained on",
            )
    _require_same_tokens(adapter, base)


def _require_same_tokens(adapter: Adapter, base: BaseModel) -> None:
    """Fault 24: in another vocabulary the same ids are other tokens; names the first of them."""
    mine, theirs = (folder / "tokenizer.json" for folder in (adapter.folder, base.folder))
    if not (mine.is_file() and theirs.is_file()) or sha256_of(mine) == sha256_of(theirs):
        return
    actual, expected = _tokens(mine), _tokens(theirs)
    for number in sorted(actual.keys() | expected.keys()):
        if actual.get(number) != expected.get(number):
            raise IntegrityError(
                f"token {number} is `{actual.get(number)}` in the adapter's tokenizer and "
                f"`{expected.get(number)}` in the tokenizer of the base `{base.name}`",
                hint="use the base that the adapter was trained on",
            )


def _tokens(path: Path) -> dict[int, str]:
    values = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = values.get("model", {}).get("vocab", {})
    # Unigram tokenizers list pairs of token and score; the position is the id.
    tokens = (
        {number: token for token, number in vocabulary.items()}
        if isinstance(vocabulary, dict)
        else {number: pair[0] for number, pair in enumerate(vocabulary)}
    )
    tokens |= {one["id"]: one["content"] for one in values.get("added_tokens", [])}
    return tokens


def _config(folder: Path) -> dict[str, object]:
    path = folder / CONFIG
    if not path.is_file():
        raise UsageError(
            f"`{folder}` is not an adapter folder: `{CONFIG}` is missing",
            hint="name the `final_model` folder that `journeyman train` wrote",
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntegrityError(f"`{path}` is not JSON: {error}", hint="train it again") from error
    if not isinstance(values, dict):
        raise IntegrityError(f"`{path}` is not a JSON object", hint="train it again")
    return values


def _unmergeable(config: dict[str, object]) -> list[str]:
    """Every setting that makes the adapter more than scale * B @ A on linear layers."""
    reasons = {
        "modules_to_save": "it contains fully trained layers (`modules_to_save`)",
        "use_rslora": "it uses rsLoRA (`use_rslora`), whose scale converters get wrong",
        "use_dora": "it uses DoRA (`use_dora`), which is not a sum of weights",
        "alpha_pattern": "its scale differs between layers (`alpha_pattern`)",
        "rank_pattern": "its rank differs between layers (`rank_pattern`)",
        "trainable_token_indices": "it trained embeddings (`trainable_token_indices`)",
        "lora_bias": "it trained biases (`lora_bias`)",
        "fan_in_fan_out": "its weights are transposed (`fan_in_fan_out`)",
        "layer_replication": "it repeats layers (`layer_replication`)",
        "target_parameters": "it targets parameters instead of layers (`target_parameters`)",
    }
    faults = [reason for key, reason in reasons.items() if config.get(key)]
    if config.get("peft_type") != "LORA":
        faults.insert(0, f"it is `{config.get('peft_type')}`, not `LORA`")
    if config.get("bias", "none") != "none":
        faults.append(f"it trained biases (`bias` is `{config['bias']}`)")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1:
        faults.append(f"its rank `r` is `{rank}`, not an integer of at least 1")
    if not isinstance(alpha, int | float):
        faults.append(f"its `lora_alpha` is `{alpha}`, not a number")
    return faults


def _weight_faults(folder: Path) -> list[str]:
    path = folder / WEIGHTS
    if not path.is_file():
        pickle = folder / "adapter_model.bin"
        note = f" (`{pickle.name}` is a pickle, never read)" if pickle.exists() else ""
        return [f"`{WEIGHTS}` is missing{note}"]
    names = tensor_names(path)
    faults = []
    if not names:
        faults.append(f"`{WEIGHTS}` is empty")
    others = [x for x in names if not x.endswith((".lora_A.weight", ".lora_B.weight"))]
    if others:
        faults.append(f"`{others[0]}` is not a LoRA matrix of a linear layer")
    return faults


def tensor_names(path: Path) -> list[str]:
    """The names in a safetensors file. Raises IntegrityError if it is damaged."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="numpy") as tensors:
            return sorted(tensors.keys())
    except SafetensorError as error:
        raise IntegrityError(
            f"`{path}` is damaged: {error}", hint="copy it again, or use an earlier checkpoint"
        ) from error


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
