"""How likely base and tuned model hold the held-out rows' own answers to be: paired, row by row.

By the engine that answers: llama.cpp's server for a GGUF (the very file that ships), torch for an
adapter. The first tokens of each answer count, its end does not, and every token of the answer is
judged with the prompt and the answer's beginning given. It has power where pass rates have none,
and measures how well the log's answers are imitated, right or wrong.
"""

import time
from collections.abc import Sequence

from journeyman.errors import DataRefused, UpstreamError
from journeyman.evaluate.asking.answers import AnswerLine, AnswerRecord, ReferenceLikelihood
from journeyman.evaluate.asking.models import OpenEngine
from journeyman.evaluate.records.evaluation import Arm
from journeyman.evaluate.records.scores import EvaluationTask
from journeyman.evaluate.records.suites import Likelihood, RowLikelihood, Suite
from journeyman.events import Caution, Progress, ProgressEnded, Reporter
from journeyman.files import content_id
from journeyman.inference.interface import Engine, Likelihoods
from journeyman.machine.processor import describe_machine
from journeyman.records import Message
from journeyman.stats import bootstrap_mean

TOKENS = 64
"""A server says one token at a time, so long answers are judged by their beginning."""
TITLE = "likelihood of the held-out answers"


def likelihood_suite(
    arms: Sequence[Arm],
    tasks: Sequence[EvaluationTask],
    seed: int,
    *,
    store: AnswerRecord,
    open_engine: OpenEngine,
    report: Reporter,
) -> Suite:
    """Nats a token of every row's own answer under both arms, and their difference."""
    planned = answered(tasks)
    if len(arms) < 2 or not planned:
        reason = "there is no base to compare with" if planned else "no row has an answer's text"
        return Suite(name="likelihood", title=TITLE, not_measured=reason)
    found = [_nats(arm, planned, store, open_engine, report) for arm in arms]
    rows = [
        RowLikelihood(task.id, task.cluster, len(base.values), _mean(base), _mean(tuned))
        for task, base, tuned in zip(planned, *found, strict=True)
        if base.values and len(base.values) == len(tuned.values)
    ]
    if not rows:
        errors = next((one.error for all_of in found for one in all_of if one.error), "no tokens")
        return Suite(name="likelihood", title=TITLE, not_measured=errors, n=len(planned))
    return rows_suite(rows, planned, arms[-1].engine, seed)


def answered(tasks: Sequence[EvaluationTask]) -> list[EvaluationTask]:
    """The tasks whose rows hold an answer to judge."""
    return [task for task in tasks if task.reference.strip()]


def rows_suite(
    rows: Sequence[RowLikelihood], planned: Sequence[EvaluationTask], engine: str, seed: int
) -> Suite:
    """The suite of the rows that both arms judged."""
    lost = len(planned) - len(rows)
    return Suite(
        name="likelihood",
        title=TITLE,
        n=len(planned),
        clusters=len({task.cluster for task in planned}),
        note=f"{lost} of {len(planned)} rows could not be judged by both" if lost else "",
        likelihood=summarised(rows, engine, seed),
    )


def summarised(rows: Sequence[RowLikelihood], engine: str, seed: int) -> Likelihood:
    """Means over rows with their intervals; clusters of equal prompts are drawn together."""
    labels = [row.cluster for row in rows]

    base, tuned, difference = (
        bootstrap_mean(values, seed=seed, clusters=labels)
        for values in (
            [row.base for row in rows],
            [row.tuned for row in rows],
            [row.tuned - row.base for row in rows],
        )
    )
    return Likelihood(
        method=f"{engine}, the first {TOKENS} tokens of each answer, without its end",
        tokens_limit=TOKENS,
        base=base,
        tuned=tuned,
        difference=difference,
        rows=tuple(rows),
    )


def _mean(nats: ReferenceLikelihood) -> float:
    return sum(nats.values) / len(nats.values)


def _nats(
    arm: Arm,
    tasks: Sequence[EvaluationTask],
    store: AnswerRecord,
    open_engine: OpenEngine,
    report: Reporter,
) -> list[ReferenceLikelihood]:
    """One arm's nats for each task: those on record as they are, the rest asked now."""
    keys = [
        content_id(
            "nats", arm.engine, arm.sha256, task.id, task.reference, str(TOKENS), describe_machine()
        )
        for task in tasks
    ]
    left = [(key, task) for key, task in zip(keys, tasks, strict=True) if not _stored(store, key)]
    if left:
        with open_engine(arm) as engine:
            _ask(engine, arm, left, store, report)
    return [
        _stored(store, key) or ReferenceLikelihood(error=f"{arm.id}: not measured") for key in keys
    ]


def _stored(store: AnswerRecord, key: str) -> ReferenceLikelihood | None:
    line = store.line(key)
    return line.nats if line else None


def _ask(
    engine: Engine,
    arm: Arm,
    left: Sequence[tuple[str, EvaluationTask]],
    store: AnswerRecord,
    report: Reporter,
) -> None:
    name = f"likelihood by {arm.id}"
    start = time.perf_counter()
    errors = 0
    for done, (key, task) in enumerate(left, start=1):
        nats = _one(engine, task)
        errors += bool(nats.error)
        store.write(AnswerLine(key, nats=nats))
        mean_s = (time.perf_counter() - start) / done
        report(Progress(name, done, len(left), "rows", f"{mean_s:.1f} s each",
                        mean_s * (len(left) - done)))  # fmt: skip
    report(ProgressEnded(name, f"{len(left)} answers judged by {arm.id}, {errors} errors"))
    if errors:
        report(Caution(f"{errors} of {len(left)} answers could not be judged by {arm.id}"))


def _one(engine: Engine, task: EvaluationTask) -> ReferenceLikelihood:
    if not isinstance(engine, Likelihoods):
        return ReferenceLikelihood(error=f"{engine.name} gives no probabilities")
    said = (*task.messages, Message("assistant", task.reference))
    try:
        return ReferenceLikelihood(tuple(engine.answer_nats(said, limit=TOKENS, tools=task.tools)))
    except (DataRefused, UpstreamError) as error:
        return ReferenceLikelihood(error=error.message)
