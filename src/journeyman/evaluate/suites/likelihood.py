"""Log-likelihood of the reference answers under the base and the tuned model, paired row by row.

From the engine that answers: llama.cpp's server for a GGUF (the very file that ships), torch for an
adapter. The first tokens of each answer count, its end does not; each token is predicted from the
prompt and the answer's beginning. It has power if pass rates have none, and measures how well the
log's answers are imitated, right or wrong.
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
"""A server gives one token at a time, so only the beginning of a long answer counts."""
TITLE = "likelihood of the reference answers"


def likelihood_suite(
    arms: Sequence[Arm],
    tasks: Sequence[EvaluationTask],
    seed: int,
    *,
    store: AnswerRecord,
    open_engine: OpenEngine,
    report: Reporter,
) -> Suite:
    """Nats per token of every reference answer under both models, and their difference."""
    planned = with_reference(tasks)
    if len(arms) < 2 or not planned:
        reason = "there is no base model to compare with" if planned else "no row holds an answer"
        return Suite(name="likelihood", title=TITLE, not_measured=reason)
    by_arm = [_nats(arm, planned, store, open_engine, report) for arm in arms]
    rows = [
        RowLikelihood(task.id, task.cluster, len(base.values), _mean(base), _mean(tuned))
        for task, base, tuned in zip(planned, *by_arm, strict=True)
        if base.values and len(base.values) == len(tuned.values)
    ]
    if not rows:
        errors = (one.error for nats in by_arm for one in nats if one.error)
        reason = next(errors, "no tokens")
        return Suite(name="likelihood", title=TITLE, not_measured=reason, n=len(planned))
    return likelihood_of_rows(rows, planned, arms[-1].engine, seed)


def with_reference(tasks: Sequence[EvaluationTask]) -> list[EvaluationTask]:
    """The tasks that have a reference answer."""
    return [task for task in tasks if task.reference.strip()]


def likelihood_of_rows(
    rows: Sequence[RowLikelihood], planned: Sequence[EvaluationTask], engine: str, seed: int
) -> Suite:
    """The suite's result, from the rows that have a likelihood under both models."""
    lost = len(planned) - len(rows)
    return Suite(
        name="likelihood",
        title=TITLE,
        n=len(planned),
        clusters=len({task.cluster for task in planned}),
        note=f"{lost} of {len(planned)} rows have no likelihood under both models" if lost else "",
        likelihood=_means(rows, engine, seed),
    )


def _means(rows: Sequence[RowLikelihood], engine: str, seed: int) -> Likelihood:
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
    """One model's nats for each task: from the partial file if it is there, otherwise asked now."""
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
        nats = _reference_likelihood(engine, task)
        errors += bool(nats.error)
        store.write(AnswerLine(key, nats=nats))
        mean_s = (time.perf_counter() - start) / done
        report(Progress(name, done, len(left), "rows", f"{mean_s:.1f} s each",
                        mean_s * (len(left) - done)))  # fmt: skip
    report(ProgressEnded(name, f"{name}: {len(left)} answers, {errors} errors"))
    if errors:
        report(Caution(f"{errors} of {len(left)} answers have no likelihood by {arm.id}"))


def _reference_likelihood(engine: Engine, task: EvaluationTask) -> ReferenceLikelihood:
    if not isinstance(engine, Likelihoods):
        return ReferenceLikelihood(error=f"{engine.name} gives no probabilities")
    talk = (*task.messages, Message("assistant", task.reference))
    try:
        return ReferenceLikelihood(tuple(engine.answer_nats(talk, limit=TOKENS, tools=task.tools)))
    except (DataRefused, UpstreamError) as error:
        return ReferenceLikelihood(error=error.message)
