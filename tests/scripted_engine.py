"""An engine without a model: it answers from a script, in no time, and can be told to stop."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from journeyman.data.prompt_groups import group_of
from journeyman.evaluate.records.evaluation import Arm
from journeyman.files import content_id, write_records
from journeyman.machine.process_memory import ProcessMemory
from journeyman.records import Answer, Check, Example, Message, Tool

Script = Callable[[str], Answer]
"""From the user's words to the answer."""


class ScriptedEngine:
    """Answers by script. `asked` holds every prompt but the warm-ups' and may be shared.

    `warm` holds those that might reuse what was read before.

    `offered` holds the tools that came with any. `stop_after`: raise KeyboardInterrupt instead of
    the answer after that many.
    """

    def __init__(
        self, script: Script, asked: list[str] | None = None, *, stop_after: int | None = None
    ) -> None:
        self.script = script
        self.asked = [] if asked is None else asked
        self.stop_after = stop_after
        self.open = False
        self.warm: list[str] = []
        self.offered: list[Tool] = []

    @property
    def name(self) -> str:
        return "script"

    def answer(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        reuse_prompt: bool = False,
        tools: Sequence[Tool] = (),
    ) -> Answer:
        assert self.open
        self.offered += tools
        if reuse_prompt:
            self.warm.append(messages[-1].content)
            return self.script(messages[-1].content)
        if len(messages) == 1:
            return said("4")
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked.append(messages[-1].content)
        return self.script(messages[-1].content)

    def memory(self) -> ProcessMemory | None:
        return ProcessMemory(peak_bytes=2**30, anonymous_bytes=2**29)

    def __enter__(self) -> Self:
        self.open = True
        return self

    def __exit__(self, *_: object) -> None:
        self.open = False


def said(text: str, *, latency_s: float = 2.0) -> Answer:
    """A finished answer at ten tokens a second after the first second."""
    tokens = round((latency_s - 1) * 10) + 1
    return Answer(text, "stop", latency_s, 1.0, prompt_tokens=20, answer_tokens=tokens)


def by_arm(base: ScriptedEngine, tuned: ScriptedEngine) -> Callable[[Arm], ScriptedEngine]:
    """What opens the engine of an arm."""
    return lambda arm: base if arm.id == "base" else tuned


def row(
    prompt: str, answer: str = "An answer.", *, agent: str = "coder", checks: int = 0
) -> Example:
    """A row of a split. checks: how many doctest checks of `double` it carries."""
    messages = (
        Message("system", f"You are a {agent}."),
        Message("user", prompt),
        Message("assistant", answer),
    )
    check = Check("doctest", ">>> double(2)\n4\n>>> double(3)\n6\n", 2, entry_point="double")
    return Example(
        id=content_id(agent, prompt, answer),
        messages=messages,
        text="",
        agent=agent,
        task_id=None,
        status="success",
        source="tests",
        group=group_of(messages),
        duration_s=20.0,
        checks=(check,) * checks,
    )


def write_dataset(folder: Path, test: Sequence[Example], train: Sequence[Example] = ()) -> Path:
    """train, val and test split in a folder. Gives the path of the test split."""
    folder.mkdir(parents=True, exist_ok=True)
    write_records(folder / "train.jsonl", train or [row("Something else entirely.")])
    write_records(folder / "val.jsonl", [row("Yet another thing.")])
    write_records(folder / "test.jsonl", test)
    return folder / "test.jsonl"
