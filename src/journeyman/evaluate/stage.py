"""`journeyman evaluate`: base and tuned model on held-out tasks, one after the other; the verdict.

The plan first, then all answers (each on disk as it comes), then the scores, then the result. What
makes every answer worthless (a leak, another file than ships) is a result too: nothing is asked.

From answers to the result: code is run, scores are given, and the conclusion drawn.
"""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from msgspec.structs import replace

from journeyman.errors import Interrupted
from journeyman.evaluate.asking.answers import (
    AnswerRecord,
    answers_of,
    blocks,
    record,
    warm_blocks,
    warm_timings,
)
from journeyman.evaluate.asking.models import (
    ModelsUnderTest,
    OpenEngine,
    commands_of,
    compared,
    engine_opener,
    require_unchanged,
)
from journeyman.evaluate.asking.plan import PlanWithTasks, fixed, planned, write_plan
from journeyman.evaluate.asking.test_set_uses import look_key, record_look
from journeyman.evaluate.measuring.baseline import read_baseline
from journeyman.evaluate.measuring.check_trust import try_canaries
from journeyman.evaluate.records.evaluation import Arm, Environment, Evaluation
from journeyman.evaluate.records.measurements import Timing
from journeyman.evaluate.records.scores import Item
from journeyman.evaluate.records.suites import SuitePlan
from journeyman.evaluate.report.page import page
from journeyman.evaluate.report.terminal import tables, verdict_lines
from journeyman.evaluate.scoring.ladder import find_checker, score_all
from journeyman.evaluate.suites.choose import asked_suites, chosen, planned_suites
from journeyman.evaluate.suites.measure import SuiteMeasurements, mean_answer_s, measure, results
from journeyman.evaluate.verdict.conclude import Findings, concluded
from journeyman.evaluate.verdict.validity import gates_before
from journeyman.evaluate.verify.rescore import rescored
from journeyman.events import Caution, Note, Reporter, StageStarted, ignore
from journeyman.files import write_json, write_text
from journeyman.llama_cpp import find_tools
from journeyman.llama_cpp.bench import BenchRates, bench
from journeyman.machine.load import BUSY_LOAD_SHARE, load_average
from journeyman.machine.processor import describe_machine, usable_processors
from journeyman.runs import versions
from journeyman.sandbox.selftest import SelfTest
from journeyman.settings import EvaluateSettings

BENCH_TOKENS = 128
"""Longest answer that llama-bench writes: its rate does not change much after that."""


def evaluate(
    settings: EvaluateSettings, report: Reporter = ignore, *, open_engine: OpenEngine | None = None
) -> Evaluation:
    """Evaluate, write the result file and the page beside it, and give the result.

    open_engine: makes the engine of an arm; by default llama.cpp's server or torch. Stopped in the
    middle it raises Interrupted, and the same call goes on with the answers that are on disk.
    """
    if settings.rescore:
        report(StageStarted("evaluate", f"scoring the answers of `{settings.output}` again"))
        return _written(settings.output, rescored(settings, report), report)
    plan = planned(settings)
    report(StageStarted("evaluate", f"{plan.plan.tasks} tasks of `{settings.test_data}`"))
    if any(gate.ok is False for gate in gates_before(plan.leak, (), plan.tasks)):
        return _written(settings.output, unasked(settings, plan), report)
    found = compared(settings, report)
    if any(gate.ok is False for gate in gates_before(plan.leak, found.arms, plan.tasks)):
        return _written(settings.output, unasked(settings, plan, found.arms), report)
    names = chosen(settings)
    asked = asked_suites(names, settings)
    plan = _fixed(plan, found, settings, planned_suites(names, asked), report)
    opener = open_engine or engine_opener(found, settings, report)
    load_average = _measure_load(report)
    partial = settings.output.with_suffix(".items.jsonl")
    with record(partial, report) as store:
        try:
            items, timings = _measured(plan, found, store, opener, report)
            suites = measure(
                names, asked, plan, found, store=store, open_engine=opener, report=report
            )
            rates = {} if open_engine else _rates(found, items, settings, report)
            require_unchanged(found.arms)
        except KeyboardInterrupt as error:
            raise Interrupted(
                f"stopped; the answers so far are in `{partial}`",
                hint="the same command goes on from here",
            ) from error
        result = assembled(
            settings,
            plan,
            found.arms,
            items,
            timings=timings,
            rates=rates,
            suites=suites,
            load_average=load_average,
            report=report,
        )
        _written(settings.output, result, report)
        store.remove()
    return result


def _fixed(
    plan: PlanWithTasks,
    found: ModelsUnderTest,
    settings: EvaluateSettings,
    suites: tuple[SuitePlan, ...],
    report: Reporter,
) -> PlanWithTasks:
    """The plan with all that is known before the first answer, written and hashed."""
    whole = fixed(
        replace(plan.plan, suites=suites),
        found.arms,
        plan.tasks,
        warm_tasks=settings.warm_tasks,
        commands=commands_of(found.arms, settings),
    )
    sha256 = write_plan(settings.output, whole)
    report(Note(f"plan `{sha256[:12]}` is fixed: look {whole.look} at these test rows"))
    return replace(plan, plan=whole)


def _measured(
    plan: PlanWithTasks,
    found: ModelsUnderTest,
    store: AnswerRecord,
    opener: OpenEngine,
    report: Reporter,
) -> tuple[list[Item], list[Timing]]:
    """Every answer, cold, with the arms in turns; then the warm workload."""
    items = [
        item
        for block in blocks(found.arms, plan.tasks)
        for item in answers_of(
            block.arm, block.tasks, plan.plan, store=store, open_engine=opener, report=report
        )
    ]
    again = [task for task in plan.tasks if task.id in plan.plan.warm_tasks]
    timings = [
        timing
        for block in (warm_blocks(found.arms, again) if again else [])
        for timing in warm_timings(block, plan.plan, store=store, open_engine=opener, report=report)
    ]
    return items, timings


def _rates(
    found: ModelsUnderTest, items: Sequence[Item], settings: EvaluateSettings, report: Reporter
) -> dict[str, BenchRates]:
    """What llama-bench says of the tuned GGUF, at the lengths that its answers had."""
    tuned = found.tuned
    answers = [item.answer for item in items if item.arm == tuned.id]
    lengths = [(a.prompt_tokens, a.answer_tokens) for a in answers]
    known = [(p, n) for p, n in lengths if p and n]
    if tuned.engine != "llama.cpp" or not known:
        return {}
    report(Note(f"{tuned.id}: llama-bench, for a prediction beside the measurement"))
    rates = bench(
        find_tools(report),
        Path(tuned.path),
        prompt_tokens=round(fmean(p for p, _ in known)),
        answer_tokens=min(BENCH_TOKENS, round(fmean(n for _, n in known))),
        threads=settings.threads,
    )
    return {tuned.id: rates}


def _measure_load(report: Reporter) -> float | None:
    """The machine's load before the first request; None if the system does not say."""
    load, cores = load_average(), usable_processors()
    if load is not None and load > BUSY_LOAD_SHARE * cores:
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
    if result.items:
        key = look_key(result.plan, [arm.arm for arm in result.arms])
        sha256 = next(arm.arm.sha256 for arm in result.arms if arm.arm.id == "tuned")
        label = result.verdict.label
        record_look(result.plan.test_sha256, key, model_sha256=sha256, label=label)
    for table in tables(result):
        report(table)
    for line in verdict_lines(result):
        report(Note(line))
    report(Note(f"result: `{output}`, page: `{beside}`"))
    return result


def assembled(
    settings: EvaluateSettings,
    plan: PlanWithTasks,
    arms: Sequence[Arm],
    items: Sequence[Item],
    *,
    timings: Sequence[Timing],
    rates: Mapping[str, BenchRates],
    suites: SuiteMeasurements,
    load_average: float | None,
    report: Reporter,
) -> Evaluation:
    """Scores, rates and the verdict from the answers of all arms."""
    asked = [task for suite in suites.asked for task in suite.tasks]
    checker = find_checker((*plan.tasks, *asked), report, profile=settings.sandbox)
    check_code = checker.run
    canaries = try_canaries(plan.tasks, check_code, report)
    scored = score_all(items, canaries.counted(plan.tasks), check_code, report)
    return concluded(
        Findings(
            plan=plan.plan,
            environment=environment(load_average, checker.self_test),
            leak=plan.leak,
            tasks=plan.tasks,
            arms=tuple(arms),
            items=tuple(scored),
            timings=tuple(timings),
            rates=rates,
            canaries=canaries.tried,
            suites=results(
                suites,
                [arm.id for arm in arms],
                check_code,
                report,
                answer_s=mean_answer_s(items),
                alpha=plan.plan.alpha,
            ),
            baseline=read_baseline(settings.test_data.parent),
        )
    )


def unasked(
    settings: EvaluateSettings, plan: PlanWithTasks, arms: Sequence[Arm] = ()
) -> Evaluation:
    """The result where a gate fails before the first answer: none, and a verdict that says why."""
    return concluded(
        Findings(
            plan=plan.plan,
            environment=environment(None, None),
            leak=plan.leak,
            tasks=plan.tasks,
            arms=tuple(arms),
            baseline=read_baseline(settings.test_data.parent),
        )
    )


def environment(load_average: float | None, self_test: SelfTest | None) -> Environment:
    """Where this is measured, now. self_test: of the sandbox, None where no code was to be run."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    cores = usable_processors()
    held = self_test is not None and self_test.held
    sandbox = self_test.profile if self_test is not None and held else "none"
    return Environment(describe_machine(), versions(), load_average, sandbox, now, cores, self_test)
