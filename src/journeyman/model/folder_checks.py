"""Whether a model folder in the hub's layout can be used as a base.

All faults of a folder are reported at once, each with its file.
Not covered: whether the weights are any good.
"""

from pathlib import Path

from journeyman.errors import UsageError
from journeyman.model.chat_template import read_template
from journeyman.model.weight_files import INDEX, read_object, weight_files

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
_CONFIGS = ("config.json", "tokenizer_config.json")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def check_folder(folder: Path, name: str) -> None:
    """Raise UsageError with all reasons why this folder cannot be a base, if there are any."""
    faults = find_faults(folder)
    if faults:
        raise UsageError(
            f"the base `{name}` cannot be used: " + "; ".join(faults),
            hint="a base is a folder with config.json, *.safetensors, tokenizer.json and a "
            "chat template; an instruct model in the hub's layout has them all",
        )


def find_faults(folder: Path) -> list[str]:
    """Every reason against a folder; empty if it can be loaded without running its code."""
    return [
        *_config_faults(folder),
        *_weight_faults(folder),
        *_tokenizer_faults(folder),
        *_link_faults(folder),
    ]


def _config_faults(folder: Path) -> list[str]:
    faults = []
    for name in _CONFIGS:
        path = folder / name
        if not path.is_file():
            if name == "config.json":
                faults.append("`config.json` is missing")
            continue
        values = read_object(path)
        if values is None:
            faults.append(f"`{name}` is not a JSON object")
        elif values.get("auto_map"):
            faults.append(f"`{name}` has `auto_map`: it asks for the model's own code, never run")
    return faults


def _weight_faults(folder: Path) -> list[str]:
    files = weight_files(folder)
    if not files:
        pickles = sorted(x.name for x in folder.iterdir() if x.suffix in _PICKLES)
        if pickles:
            return [
                f"its only weights are `{pickles[0]}`, a pickle, never read because it can run code"
            ]
        return ["there is no `*.safetensors` file"]
    index = folder / INDEX
    if not index.is_file():
        return []
    values = read_object(index)
    named = values.get("weight_map") if values else None
    if not isinstance(named, dict):
        return [f"`{INDEX}` has no `weight_map`"]
    present = {file.name for file in files}
    return [f"`{name}` is missing" for name in sorted({str(x) for x in named.values()} - present)]


def _tokenizer_faults(folder: Path) -> list[str]:
    faults = []
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        faults.append("it has no tokenizer (`tokenizer.json`)")
    # An unreadable config is a fault of its own, and may be what holds the template.
    readable = all(read_object(folder / x) is not None for x in _CONFIGS if (folder / x).is_file())
    if readable and read_template(folder) is None:
        faults.append("it has no chat template (`chat_template.jinja`)")
    return faults


def _link_faults(folder: Path) -> list[str]:
    # The hub's cache keeps a model's files as links from snapshots/COMMIT/ to blobs/ beside it.
    root = folder.resolve()
    if root.parent.name == "snapshots":
        root = root.parent.parent
    links = (path for path in sorted(folder.rglob("*")) if path.is_symlink())
    return [
        f"`{path.relative_to(folder)}` is a link to a place outside the model"
        for path in links
        if not path.resolve().is_relative_to(root)
    ]
