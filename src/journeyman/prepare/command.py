"""The command line that makes a dataset again, from the settings it was made with."""

import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from journeyman.settings import PrepareSettings


def command_of(settings: PrepareSettings, log: Path) -> str:
    """`journeyman prepare --input log.jsonl ...`: the log and all that is not default."""
    words = ["journeyman", "prepare", "--input", str(log), *_options(settings)]
    return shlex.join(words)


def _options(settings: PrepareSettings) -> Iterator[str]:
    default = PrepareSettings()
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name == "input" or value == getattr(default, field.name):
            continue
        if value is True:
            yield f"--{field.name.replace('_', '-')}"
            continue
        for one in value if isinstance(value, tuple) else (value,):
            yield from (f"--{field.name.replace('_', '-')}", str(one))
