"""`--config FILE` and `--preset NAME` of `train` and `plan`: between the flags and the defaults.

The parser needs them as a source of values, so they are read before the command line is parsed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.config import Dict

from journeyman.settings import Preset

ConfigFlag = Annotated[
    Path | None,
    Parameter(help="JSON file with defaults, such as training/configs/lora_config.json."),
]
PresetFlag = Annotated[
    Preset,
    Parameter(
        help="Training defaults: the README's (given), or the recommended ones; "
        "see docs/training.md."
    ),
]


def config_and_preset(arguments: Sequence[str]) -> list[Dict]:
    """The values of `--config`, then those of `--preset`; empty for a command without them."""
    command = arguments[0] if arguments else ""
    if command not in ("train", "plan") or {"--help", "-h"} & set(arguments):
        return []
    sources = []
    if file := _value(arguments, "--config"):
        from journeyman.train.presets import load_lora_config

        sources.append(Dict({command: load_lora_config(Path(file))}, source=file))
    if _value(arguments, "--preset") == "recommended":
        from journeyman.train.presets import RECOMMENDED

        sources.append(Dict({command: dict(RECOMMENDED)}, source="preset recommended"))
    return sources


def _value(arguments: Sequence[str], flag: str) -> str | None:
    """The value of `--flag value` or `--flag=value`; None without the flag."""
    for place, word in enumerate(arguments):
        if word == flag and place + 1 < len(arguments):
            return arguments[place + 1]
        if word.startswith(flag + "="):
            return word.removeprefix(flag + "=")
    return None
