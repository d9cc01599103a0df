"""`--config FILE` and `--preset NAME` of `train` and `plan`: between the flags and the defaults.

They are looked up before the command line is parsed, because the parser needs them as a source.
"""

from collections.abc import Sequence
from pathlib import Path

from cyclopts.config import Dict


def named_values(arguments: Sequence[str]) -> list[Dict]:
    """The sources that `train` or `plan` was given by name, first wins; else none."""
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
    """What a flag was given, as `--flag value` or `--flag=value`; None where it was not."""
    for place, word in enumerate(arguments):
        if word == flag and place + 1 < len(arguments):
            return arguments[place + 1]
        if word.startswith(flag + "="):
            return word.removeprefix(flag + "=")
    return None
