"""`journeyman evaluate`: base and tuned model on held-out tasks, one after the other; the verdict.

The plan first, then all answers (each on disk as it comes), then the scores, then the result. A
leak is a result too: nothing is generated and the verdict is INVALID.
"""

import os
from pathlib import Path

from journeyman.errors import Interrupted
from journeyman.evaluate.answers import answers_of, record
from journeyman.evaluate.arms import OpenEngine, compared, engine_opener
from journeyman.evaluate.interleave import blocks
from journeyman.evaluate.page import page
from journeyman.evaluate.plan import planned
from journeyman.evaluate.records import Evaluation
from journeyman.evaluate.result import assembled, leaked
from journeyman.evaluate.summary import tables, verdict_lines
from journeyman.events import Caution, Note, Reporter, StageStarted, ignore
from journeyman.files import write_json, write_text
from journeyman.settings import EvaluateSettings

BUSY_SHARE = 0.3


def evaluate(
    settings: EvaluateSettings, report: Reporter = ignore, *, open_engine: OpenEngine | None = None
) -> Evaluation:
    """Evaluate, write the result file and the page beside it, and give the result.

    open_engine: makes the engine of an arm; by default llama.cpp's server or torch. Stopped in the
    middle it raises Interrupted, and the same call goes on with the answers that are on disk.
    """
    plan = planned(settings)
    report(StageStarted("evaluate", f"{plan.plan.tasks} tasks of `{settings.test_data}`"))
    if plan.leak.tasks:
        return _written(settings.output, leaked(settings, plan), report)
    found = compared(settings, report)
    opener = open_engine or engine_opener(found, settings, report)
    load_average = _load_average(report)
    partial = settings.output.with_suffix(".items.jsonl")
    with record(partial, report) as store:
        try:
            items = [
                item
                for block in blocks(found.arms, plan.tasks)
                for item in answers_of(
                    block.arm,
                    block.tasks,
                    plan.plan,
                    store=store,
                    open_engine=opener,
                    report=report,
                )
            ]
        except KeyboardInterrupt as error:
            raise Interrupted(
                f"stopped; the answers so far are in `{partial}`",
                hint="the same command goes on from here",
            ) from error
        result = assembled(
            settings, plan, found.arms, items, load_average=load_average, report=report
        )
        _written(settings.output, result, report)
        store.remove()
    return result


def _load_average(report: Reporter) -> float | None:
    """What the machine was doing before the first request; None where the system does not say."""
    try:
        load = os.getloadavg()[0]
    except OSError:
        return None
    cores = len(os.sched_getaffinity(0))
    if load > BUSY_SHARE * cores:
        report(
            Caution(
                f"the machine is busy (load {load:.1f} on {cores} cores): times will be too long",
                hint="stop other work and evaluate again for times that can be relied on",
            )
        )
    return load


def _written(output: Path, result: Evaluation, report: Reporter) -> Evaluation:
    """Write and report. The page first and the result last: where the result is, the page is."""
    beside = output.with_suffix(".html")
    write_text(beside, page(result))
    write_json(output, result)
    for table in tables(result):
        report(table)
    for line in verdict_lines(result):
        report(Note(line))
    report(Note(f"result: `{output}`, page: `{beside}`"))
    return result
