"""Contamination: prompts that share a run of words with HumanEval, a public benchmark.

Covered: 13 words in a row, ignoring case and punctuation. (13-grams; Brown et al. 2020, section C.)
Not covered: other benchmarks, paraphrases, and answers.
"""

from journeyman.data.humaneval import humaneval_tasks
from journeyman.data.prompt_groups import normalised

WORDS = 13


class BenchmarkPrompts:
    """The prompts of a benchmark, as runs of words."""

    def __init__(self, prompts: list[str]) -> None:
        self._runs = frozenset(run for prompt in prompts for run in _runs(normalised(prompt)))
        self._words = frozenset(word for run in self._runs for word in run.split())

    def shared(self, text: str) -> str | None:
        """The first run that a normalised text shares with the prompts, or None."""
        words = text.split()
        # Every run of 13 words contains one of each 13th word: most texts need no further look.
        if self._words.isdisjoint(words[WORDS - 1 :: WORDS]):
            return None
        return next((run for run in _runs(text) if run in self._runs), None)


def humaneval() -> BenchmarkPrompts | None:
    """HumanEval's prompts, or None if its package is not installed."""
    tasks = humaneval_tasks()
    return None if tasks is None else BenchmarkPrompts([task.prompt for task in tasks])


def _runs(text: str) -> list[str]:
    words = text.split()
    return [" ".join(words[at : at + WORDS]) for at in range(len(words) - WORDS + 1)]
