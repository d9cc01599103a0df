"""A model's configuration, without its weights."""

from pathlib import Path
from typing import Any


def read_config(folder: Path) -> Any:
    """The model's configuration as transformers reads it."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
