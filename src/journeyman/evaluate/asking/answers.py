"""Ask the models, in turns, and write each answer down as it comes: a stop loses one at most.

The partial file is `OUTPUT.items.jsonl`. An answer belongs to its model, weights, prompt, longest
answer, threads and machine; with any other of these it is asked again, and so is a damaged line.
With each answer goes what other programs did meanwhile.

Two models are asked as A-B-B-A: half of the tasks by the base model, all by the tuned model, the
other half by the base model again, so a machine that slows down slows down both. Each block has an
engine that was started for it, so no cache of one block helps the next.
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
    """Log-likelihood of one reference answer: nats of each token, or why there are none."""

    values: tuple[float, ...] = ()
    error: str = ""


class AnswerLine(Struct, frozen=True, omit_defaults=True):
    """One line of the partial file: a measurement and its key."""

    key: str
    item: Item | None = None
    nats: ReferenceLikelihood | None = None
    divergence: QuantisationDivergence | None = None


class AnswerRecord:
    """The partial file of one evaluation; no other process can open it meanwhile."""

    def __init__(self, path: Path, stream: IO[bytes], lines: dict[str, AnswerLine]) -> None:
        self._path, self._stream, self._lines = path, stream, lines

    def get(self, key: str) -> Item | None:
        """The item under a key, or None."""
        line = self._lines.get(key)
        return line.item if line else None

    def line(self, key: str) -> AnswerLine | None:
        """The line under a key, or None."""
        return self._lines.get(key)

    def add(self, key: str, item: Item) -> None:
        """Append one item; it is on disk when this returns."""
        self.write(AnswerLine(key, item))

    def write(self, line: AnswerLine) -> None:
        """Append one line; it is on disk when this returns."""
        try:
            self._stream.write(msgspec.json.encode(line) + b"\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise MachineError(
                f"cannot write `{self._path}`: {error.strerror or error}",
                hint="check the free space; the same command goes on from here",
            ) from error
        self._lines[line.key] = line

    def remove(self) -> None:
        """Delete the file: the result holds all of it now."""
        self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def open_record(path: Path, report: Reporter) -> Iterator[AnswerRecord]:
    """Open the partial file, or create it. Raises MachineError if another process has it open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MachineError(
                f"`{path}` is in use: another evaluation is writing the same result",
                hint="wait for it, or name another --output",
            ) from error
        lines = _read(path, report)
        # A line that was cut off must not swallow the next one.
        if stream.tell() and not _ends_with_newline(path):
            stream.write(b"\n")
        yield AnswerRecord(path, stream, lines)


def _read(path: Path, report: Reporter) -> dict[str, AnswerLine]:
    lines: dict[str, AnswerLine] = {}
    for line in read_records(path, AnswerLine):
        if isinstance(line, LineFault):
            where = f"`{path}` line {line.line}"
            report(Caution(f"{where} cannot be read and is asked again: {line.reason}"))
        else:
            lines[line.key] = line
    return lines


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


def key_of(arm: Arm, task: EvaluationTask, plan: EvaluationPlan, *, warm: str = "") -> str:
    """The key of an answer: equal for equal model, prompt, longest answer, threads and machine.

    warm: the block of the warm workload that it belongs to, empty for a cold answer.
    """
    threads = "all" if plan.threads is None else str(plan.threads)
    longest = str(task.longest(plan.max_tokens))
    parts = (arm.id, arm.engine, arm.sha256, task.id, longest, threads, describe_machine())
    return content_id(*parts, *([warm] if warm else []))


def collect_answers(
    arm: Arm,
    tasks: Sequence[EvaluationTask],
    plan: EvaluationPlan,
    *,
    store: AnswerRecord,
    open_engine: OpenEngine,
    report: Reporter,
    timed: bool = True,
) -> list[Item]:
    """Every task's item, in order: from the partial file if it is there, otherwise asked now.

    timed: whether to watch what other programs do meanwhile, for latencies that the verdict uses.
    """
    keys = [key_of(arm, task, plan) for task in tasks]
    left = [(key, task) for key, task in zip(keys, tasks, strict=True) if store.get(key) is None]
    if len(left) < len(tasks):
        known = len(tasks) - len(left)
        report(Note(f"{arm.id}: {known} of {len(tasks)} answers are there from an earlier run"))
    if left:
        with _warmed_up(arm, plan, open_engine) as (engine, load_s):
            report(Note(f"{arm.id}: {engine.name} loaded in {load_s:.1f} s"))
            _ask(engine, arm, left, plan, store=store, load_s=load_s, report=report, timed=timed)
    return [item for key in keys if (item := store.get(key)) is not None]


@contextlib.contextmanager
def _warmed_up(
    arm: Arm, plan: EvaluationPlan, open_engine: OpenEngine
) -> Iterator[tuple[Engine, float]]:
    """An engine after its uncounted requests, and the seconds that it took to load."""
    start = time.perf_counter()
    with open_engine(arm) as engine:
        load_s = time.perf_counter() - start
        for _ in range(WARM_UPS):
            engine.answer(_WARM_UP, max_tokens=min(WARM_UP_TOKENS, plan.max_tokens))
        yield engine, load_s


class AskingBlock(Struct, frozen=True):
    """Tasks that one engine answers in a row; blocks are numbered in their order."""

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
    """Ask the block's tasks again, in order; each may reuse the start shared with the one before.

    A block that was stopped is asked anew as a whole: its order is part of the measurement.
    """
    keys = [key_of(block.arm, task, plan, warm=f"warm {block.number}") for task in block.tasks]
    if any(store.get(key) is None for key in keys):
        with _warmed_up(block.arm, plan, open_engine) as (engine, load_s):
            # Discarded: it reads the start that the prompts share. The last task, so that no task
            # comes right after itself.
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
        answer, memory = clean_answer(given), engine.memory()
        errors += answer.finish == "error"
        peak_bytes = memory.peak_bytes if memory else None
        store.add(key, Item(arm.id, task.id, answer, peak_bytes, load_s, load, memory))
        mean_s = (time.perf_counter() - start) / done
        detail = f"{mean_s:.1f} s each" + (f"  {errors} errors" if errors else "")
        remaining_s = mean_s * (len(left) - done)
        report(Progress(name, done, len(left), "tasks", detail, remaining_s))
    report(ProgressEnded(name, f"{len(left)} {name}, {mean_s:.1f} s each, {errors} errors"))


def clean_answer(answer: Answer) -> Answer:
    """The answer as valid UTF-8; an error loses its latency."""
    text = answer.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    failed = answer.finish == "error"
    return replace(answer, text=text, latency_s=None if failed else answer.latency_s)


def blocks(arms: Sequence[Arm], tasks: Sequence[EvaluationTask]) -> list[AskingBlock]:
    """Every model gets every task once: A (first half), B (all), A (second half)."""
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
    """Every model gets every task twice, A-B-B-A: the spread of the repeats is the noise."""
    order = [*arms, *reversed(arms)]
    return [AskingBlock(number, arm, tuple(tasks)) for number, arm in enumerate(order)]
