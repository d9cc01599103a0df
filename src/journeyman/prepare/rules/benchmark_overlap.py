"""Prompts that share a run of words with HumanEval, a public benchmark that models are judged by.

Covered: 13 words in a row, but for case and punctuation. (Brown et al. 2020, section C; 13-grams.)
Not covered: other benchmarks, paraphrases, and answers.
"""

from journeyman.data.humaneval import humaneval_tasks
from journeyman.data.prompt_groups import normalised

WORDS = 13


class BenchmarkPrompts:
    """Runs of words of a benchmark's prompts."""

    def __init__(self, prompts: list[str]) -> None:
        self._runs = frozenset(run for prompt in prompts for run in _runs(normalised(prompt)))
        self._words = frozenset(word for run in self._runs for word in run.split())

    def shared(self, text: str) -> str | None:
        """The first run that a normalised text shares, or None."""
        words = text.split()
        # Every run of 13 words holds one of each 13th word, so few texts have to be looked at.
        if self._words.isdisjoint(words[WORDS - 1 :: WORDS]):
            return None
        return next((run for run in _runs(text) if run in self._runs), None)


def humaneval() -> BenchmarkPrompts | None:
    """HumanEval's prompts where its package is installed, else None."""
    tasks = humaneval_tasks()
    return None if tasks is None else BenchmarkPrompts([task.prompt for task in tasks])


def _runs(text: str) -> list[str]:
    words = text.split()
    return [" ".join(words[at : at + WORDS]) for at in range(len(words) - WORDS + 1)]
