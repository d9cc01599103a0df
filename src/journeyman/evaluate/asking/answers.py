"""The answers of one arm, each written down as it comes, so that a stop loses one at most.

The record is `OUTPUT.items.jsonl`. An answer counts for its arm, weights, prompt, longest answer,
threads and machine; any other is not this measurement. A damaged line is dropped and asked again.
The order is `interleave`'s; what other programs did meanwhile is recorded with each answer.

In which order the models are asked, so that a machine that slows down slows down all of them.

Two arms are asked as A-B-B-A: half of the tasks by the base, all by the tuned model, the other half
by the base again. Each block has an engine of its own, started for it, so that no cache, page or
pool of one block is there for the next. Over the whole, both arms' mean place in time is the same.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from journeyman.errors import MachineError
from journeyman.evaluate.asking.models import OpenEngine
from journeyman.evaluate.records.evaluation import Arm, EvaluationPlan
from journeyman.evaluate.records.measurements import Timing
from journeyman.evaluate.records.scores import EvaluationTask, Item
from journeyman.evaluate.records.suites import QuantisationDivergence
from journeyman.events import Caution, Note, Progress, ProgressEnded, Reporter
from journeyman.files import LineFault, content_id, read_records
from journeyman.inference.interface import Engine
from journeyman.machine.load import other_load, processor_usage
from journeyman.machine.processor import describe_machine
from journeyman.records import Answer, Message

WARM_UPS = 3

WARM_UP_TOKENS = 16

_WARM_UP = (Message("user", "Write one line of Python that prints the sum of 2 and 3."),)


class ReferenceLikelihood(Struct, frozen=True):
    """How likely an arm holds a row's own answer to be: nats of each token, or why not."""

    values: tuple[float, ...] = ()
    error: str = ""


class AnswerLine(Struct, frozen=True, omit_defaults=True):
    """One line of the record: what was measured, and the key of the measurement it belongs to."""

    key: str
    item: Item | None = None
    nats: ReferenceLikelihood | None = None
    divergence: QuantisationDivergence | None = None


class AnswerRecord:
    """The partial file of one evaluation, held by this process alone while it is open."""

    def __init__(self, path: Path, stream: IO[bytes], found: dict[str, AnswerLine]) -> None:
        self._path, self._stream, self._found = path, stream, found

    def get(self, key: str) -> Item | None:
        """The item that was recorded under a key, or None."""
        line = self._found.get(key)
        return line.item if line else None

    def line(self, key: str) -> AnswerLine | None:
        """What was recorded under a key, or None."""
        return self._found.get(key)

    def add(self, key: str, item: Item) -> None:
        """Append one item; it is on the disk when this returns."""
        self.write(AnswerLine(key, item))

    def write(self, line: AnswerLine) -> None:
        """Append one line; it is on the disk when this returns."""
        try:
            self._stream.write(msgspec.json.encode(line) + b"\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise MachineError(
                f"cannot write `{self._path}`: {error.strerror or error}",
                hint="check the free space; the same command goes on from here",
            ) from error
        self._found[line.key] = line

    def remove(self) -> None:
        """Delete the file: what it holds is in the result now."""
        self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def record(path: Path, report: Reporter) -> Iterator[AnswerRecord]:
    """Open the partial file, or start it. Raises MachineError where another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MachineError(
                f"`{path}` is in use: another evaluation writes the same result",
                hint="wait for it, or name another --output",
            ) from error
        found = _read(path, report)
        # A line that was cut off must not swallow the next one.
        if stream.tell() and not _ends_with_newline(path):
            stream.write(b"\n")
        yield AnswerRecord(path, stream, found)


def _read(path: Path, report: Reporter) -> dict[str, AnswerLine]:
    found: dict[str, AnswerLine] = {}
    for line in read_records(path, AnswerLine):
        if isinstance(line, LineFault):
            report(Caution(f"`{path}` line {line.line} is dropped and asked again: {line.reason}"))
        else:
            found[line.key] = line
    return found


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


def key_of(arm: Arm, task: EvaluationTask, plan: EvaluationPlan, *, warm: str = "") -> str:
    """What an answer stands for: another model, prompt, length, machine or threads is another.

    warm: the block of the warm workload that it belongs to, empty for a cold answer.
    """
    threads = "all" if plan.threads is None else str(plan.threads)
    longest = str(task.longest(plan.max_tokens))
    parts = (arm.id, arm.engine, arm.sha256, task.id, longest, threads, describe_machine())
    return content_id(*parts, *([warm] if warm else []))


def answers_of(
    arm: Arm,
    tasks: Sequence[EvaluationTask],
    plan: EvaluationPlan,
    *,
    store: AnswerRecord,
    open_engine: OpenEngine,
    report: Reporter,
    timed: bool = True,
) -> list[Item]:
    """Every task's item, in order: those on record as they are, the rest asked now.

    timed: whether what other programs do meanwhile is watched, for times that are to be claimed.
    """
    keys = [key_of(arm, task, plan) for task in tasks]
    left = [(key, task) for key, task in zip(keys, tasks, strict=True) if store.get(key) is None]
    if len(left) < len(tasks):
        report(Note(f"{arm.id}: {len(tasks) - len(left)} of {len(tasks)} answers are on record"))
    if left:
        start = time.perf_counter()
        with open_engine(arm) as engine:
            load_s = time.perf_counter() - start
            report(Note(f"{arm.id}: {engine.name} loaded in {load_s:.1f} s"))
            for _ in range(WARM_UPS):
                engine.answer(_WARM_UP, max_tokens=min(WARM_UP_TOKENS, plan.max_tokens))
            _ask(engine, arm, left, plan, store=store, load_s=load_s, report=report, timed=timed)
    return [item for key in keys if (item := store.get(key)) is not None]


class AskingBlock(Struct, frozen=True):
    """Tasks that one engine is asked in a row, and its number in the order of the blocks."""

    number: int
    arm: Arm
    tasks: tuple[EvaluationTask, ...]


def warm_timings(
    block: AskingBlock,
    plan: EvaluationPlan,
    *,
    store: AnswerRecord,
    open_engine: OpenEngine,
    report: Reporter,
) -> list[Timing]:
    """The block's tasks asked again, in order, each with what it shares with the one before read.

    A block that was stopped is asked whole: its order is part of what is measured.
    """
    keys = [key_of(block.arm, task, plan, warm=f"warm {block.number}") for task in block.tasks]
    if any(store.get(key) is None for key in keys):
        start = time.perf_counter()
        with open_engine(block.arm) as engine:
            load_s = time.perf_counter() - start
            for _ in range(WARM_UPS):
                engine.answer(_WARM_UP, max_tokens=min(WARM_UP_TOKENS, plan.max_tokens))
            # Discarded: it reads the start that the prompts share. Its own turn comes last.
            last = block.tasks[-1]
            engine.answer(
                last.messages, max_tokens=WARM_UP_TOKENS, reuse_prompt=True, tools=last.tools
            )
            left = list(zip(keys, block.tasks, strict=True))
            _ask(engine, block.arm, left, plan, store=store, load_s=load_s, report=report,
                 warm=True)  # fmt: skip
    return [Timing(block.number, item) for key in keys if (item := store.get(key)) is not None]


def _ask(
    engine: Engine,
    arm: Arm,
    left: Sequence[tuple[str, EvaluationTask]],
    plan: EvaluationPlan,
    *,
    store: AnswerRecord,
    load_s: float,
    report: Reporter,
    warm: bool = False,
    timed: bool = True,
) -> None:
    name = f"{'warm answers' if warm else 'answers'} of {arm.id}"
    start = time.perf_counter()
    errors = 0
    for done, (key, task) in enumerate(left, start=1):
        longest = task.longest(plan.max_tokens)
        before = processor_usage() if timed else None
        given = engine.answer(
            task.messages, max_tokens=longest, reuse_prompt=warm, tools=task.tools
        )
        load = other_load(before, processor_usage()) if before else None
        answer, memory = clean(given), engine.memory()
        errors += answer.finish == "error"
        peak_bytes = memory.peak_bytes if memory else None
        store.add(key, Item(arm.id, task.id, answer, peak_bytes, load_s, load, memory))
        mean_s = (time.perf_counter() - start) / done
        detail = f"{mean_s:.1f} s each" + (f"  {errors} errors" if errors else "")
        remaining_s = mean_s * (len(left) - done)
        report(Progress(name, done, len(left), "tasks", detail, remaining_s))
    report(ProgressEnded(name, f"{len(left)} {name}, {mean_s:.1f} s each, {errors} errors"))


def clean(answer: Answer) -> Answer:
    """The answer as text that UTF-8 can hold, and without the time of an error."""
    text = answer.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    failed = answer.finish == "error"
    return replace(answer, text=text, latency_s=None if failed else answer.latency_s)


def blocks(arms: Sequence[Arm], tasks: Sequence[EvaluationTask]) -> list[AskingBlock]:
    """Every arm asks every task once: A (first half), B (all), A (second half)."""
    if len(arms) < 2 or len(tasks) < 2:
        return [AskingBlock(number, arm, tuple(tasks)) for number, arm in enumerate(arms)]
    first, *others = arms
    half = (len(tasks) + 1) // 2
    middle = [AskingBlock(number, arm, tuple(tasks)) for number, arm in enumerate(others, start=1)]
    return [
        AskingBlock(0, first, tuple(tasks[:half])),
        *middle,
        AskingBlock(len(middle) + 1, first, tuple(tasks[half:])),
    ]


def warm_blocks(arms: Sequence[Arm], tasks: Sequence[EvaluationTask]) -> list[AskingBlock]:
    """Every arm asks every task twice, A-B-B-A: the spread of the two is the noise."""
    order = [*arms, *reversed(arms)]
    return [AskingBlock(number, arm, tuple(tasks)) for number, arm in enumerate(order)]
