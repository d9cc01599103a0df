"""`journeyman evaluate`: base and tuned model on held-out tasks, in turns, and the verdict.

First the plan, then all answers (each on disk as it comes), then the scores, then the result. If a
gate fails that makes every answer worthless (contamination, another file than ships), no model is
asked and the result says so.
"""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from msgspec import Struct
from msgspec.structs import replace

from journeyman.errors import Interrupted
from journeyman.evaluate.asking.answers import (
    AnswerRecord,
    blocks,
    collect_answers,
    open_record,
    warm_blocks,
    warm_timings,
)
from journeyman.evaluate.asking.models import (
    ModelsUnderTest,
    OpenEngine,
    commands_of,
    engine_opener,
    models_under_test,
    require_unchanged,
)
from journeyman.evaluate.asking.plan import PlanWithTasks, complete_plan, make_plan, write_plan
from journeyman.evaluate.asking.test_set_uses import record_use, use_key
from journeyman.evaluate.measuring.baseline import read_baseline
from journeyman.evaluate.measuring.check_trust import counted_tasks, try_checks
from journeyman.evaluate.records.evaluation import Arm, Environment, Evaluation
from journeyman.evaluate.records.measurements import Timing
from journeyman.evaluate.records.scores import Item
from journeyman.evaluate.records.suites import SuiteName
from journeyman.evaluate.report.page import page
from journeyman.evaluate.report.terminal import tables, verdict_lines
from journeyman.evaluate.scoring.ladder import find_checker, score_all
from journeyman.evaluate.suites.choose import choose_suites, suite_plans, suites_to_ask
from journeyman.evaluate.suites.measure import (
    SuiteMeasurements,
    mean_answer_s,
    measure_suites,
    suite_results,
)
from journeyman.evaluate.suites.suite_tasks import SuiteTasks
from journeyman.evaluate.verdict.conclude import Findings, conclude
from journeyman.evaluate.verdict.validity import gates_before_answers
from journeyman.evaluate.verify.rescore import rescore
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
"""Longest answer that llama-bench writes: its throughput changes little after that."""


class Measurements(Struct, frozen=True):
    """What the models did: answers, the warm workload, other suites, llama-bench's rates."""

    items: list[Item]
    timings: list[Timing]
    suites: SuiteMeasurements
    rates: Mapping[str, BenchRates]


def evaluate(
    settings: EvaluateSettings, report: Reporter = ignore, *, open_engine: OpenEngine | None = None
) -> Evaluation:
    """Evaluate, write the result file and the page beside it, and give the result.

    open_engine: makes the engine of a model; by default llama.cpp's server or torch. If it is
    interrupted it raises Interrupted, and the same call continues with the answers on disk.
    """
    if settings.rescore:
        report(StageStarted("evaluate", f"scoring the answers of `{settings.output}` again"))
        return _write(settings.output, rescore(settings, report), report)
    plan = make_plan(settings)
    report(StageStarted("evaluate", f"{plan.plan.tasks} tasks of `{settings.test_data}`"))
    if _is_invalid(plan):
        return _write(settings.output, _without_answers(settings, plan), report)
    models = models_under_test(settings, report)
    if _is_invalid(plan, models.arms):
        return _write(settings.output, _without_answers(settings, plan, models.arms), report)
    names = choose_suites(settings)
    suites = suites_to_ask(names, settings)
    plan = _fix_plan(plan, models, names, suites, settings=settings, report=report)
    opener = open_engine or engine_opener(models, settings, report)
    load = _measure_load(report)
    partial = settings.output.with_suffix(".items.jsonl")
    with open_record(partial, report) as store:
        try:
            items, timings = _ask(plan, models, store, opener, report)
            other = measure_suites(
                names, suites, plan, models, store=store, open_engine=opener, report=report
            )
            rates = {} if open_engine else _bench_rates(models, items, settings, report)
            require_unchanged(models.arms)
        except KeyboardInterrupt as error:
            raise Interrupted(
                f"stopped; the answers so far are in `{partial}`",
                hint="the same command continues from here",
            ) from error
        measured = Measurements(items, timings, other, rates)
        result = _conclude(settings, plan, models.arms, measured, load=load, report=report)
        _write(settings.output, result, report)
        store.remove()
    return result


def _is_invalid(plan: PlanWithTasks, arms: Sequence[Arm] = ()) -> bool:
    """Whether a gate fails before the first answer."""
    return any(gate.ok is False for gate in gates_before_answers(plan.leak, arms, plan.tasks))


def _fix_plan(
    plan: PlanWithTasks,
    models: ModelsUnderTest,
    names: Sequence[SuiteName],
    suites: Sequence[SuiteTasks],
    *,
    settings: EvaluateSettings,
    report: Reporter,
) -> PlanWithTasks:
    """The plan with all that is known before the first answer, written and hashed."""
    whole = complete_plan(
        replace(plan.plan, suites=suite_plans(names, suites)),
        models.arms,
        plan.tasks,
        warm_tasks=settings.warm_tasks,
        commands=commands_of(models.arms, settings),
    )
    sha256 = write_plan(settings.output, whole)
    report(Note(f"plan `{sha256[:12]}` is fixed; test-set use {whole.look} of these rows"))
    return replace(plan, plan=whole)


def _ask(
    plan: PlanWithTasks,
    models: ModelsUnderTest,
    store: AnswerRecord,
    opener: OpenEngine,
    report: Reporter,
) -> tuple[list[Item], list[Timing]]:
    """Every answer, cold, with the models in turns; then the warm workload."""
    items = [
        item
        for block in blocks(models.arms, plan.tasks)
        for item in collect_answers(
            block.arm, block.tasks, plan.plan, store=store, open_engine=opener, report=report
        )
    ]
    again = [task for task in plan.tasks if task.id in plan.plan.warm_tasks]
    timings = [
        timing
        for block in (warm_blocks(models.arms, again) if again else [])
        for timing in warm_timings(block, plan.plan, store=store, open_engine=opener, report=report)
    ]
    return items, timings


def _bench_rates(
    models: ModelsUnderTest, items: Sequence[Item], settings: EvaluateSettings, report: Reporter
) -> dict[str, BenchRates]:
    """The throughput of the tuned GGUF by llama-bench, at the lengths of its answers."""
    tuned = models.tuned
    answers = [item.answer for item in items if item.arm == tuned.id]
    lengths = [(a.prompt_tokens, a.answer_tokens) for a in answers]
    known = [(p, n) for p, n in lengths if p and n]
    if tuned.engine != "llama.cpp" or not known:
        return {}
    report(Note(f"{tuned.id}: running llama-bench, to predict the latency"))
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
                f"the machine is busy (load {load:.1f} on {cores} cores): latencies will be too "
                "long",
                hint="stop other work and evaluate again to get latencies that count",
            )
        )
    return load


def _write(output: Path, result: Evaluation, report: Reporter) -> Evaluation:
    """Write and report. The result comes last, so if it is there, the page is there, too."""
    page_path = output.with_suffix(".html")
    write_text(page_path, page(result))
    write_json(output, result)
    if result.items:
        key = use_key(result.plan, [arm.arm for arm in result.arms])
        sha256 = next(arm.arm.sha256 for arm in result.arms if arm.arm.id == "tuned")
        label = result.verdict.label
        record_use(result.plan.test_sha256, key, model_sha256=sha256, label=label)
    for table in tables(result):
        report(table)
    for line in verdict_lines(result):
        report(Note(line))
    report(Note(f"result: `{output}`, page: `{page_path}`"))
    return result


def _conclude(
    settings: EvaluateSettings,
    plan: PlanWithTasks,
    arms: Sequence[Arm],
    measured: Measurements,
    *,
    load: float | None,
    report: Reporter,
) -> Evaluation:
    """Run the checks, score the answers of all models, and draw the verdict."""
    other_tasks = [task for suite in measured.suites.suites for task in suite.tasks]
    checker = find_checker((*plan.tasks, *other_tasks), report, profile=settings.sandbox)
    tried = try_checks(plan.tasks, checker.run, report)
    scored = score_all(measured.items, counted_tasks(plan.tasks, tried), checker.run, report)
    suites = suite_results(
        measured.suites,
        [arm.id for arm in arms],
        checker.run,
        report,
        answer_s=mean_answer_s(measured.items),
        alpha=plan.plan.alpha,
    )
    return conclude(
        Findings(
            plan=plan.plan,
            environment=_environment(load, checker.self_test),
            leak=plan.leak,
            tasks=plan.tasks,
            arms=tuple(arms),
            items=tuple(scored),
            timings=tuple(measured.timings),
            rates=measured.rates,
            canaries=tried,
            suites=suites,
            baseline=read_baseline(settings.test_data.parent),
        )
    )


def _without_answers(
    settings: EvaluateSettings, plan: PlanWithTasks, arms: Sequence[Arm] = ()
) -> Evaluation:
    """The result if a gate fails before the first answer: a verdict that says why."""
    return conclude(
        Findings(
            plan=plan.plan,
            environment=_environment(None, None),
            leak=plan.leak,
            tasks=plan.tasks,
            arms=tuple(arms),
            baseline=read_baseline(settings.test_data.parent),
        )
    )


def _environment(load: float | None, self_test: SelfTest | None) -> Environment:
    """This machine, now. self_test: of the sandbox, None if there was no code to run."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    held = self_test is not None and self_test.held
    sandbox = self_test.profile if self_test is not None and held else "none"
    cores = usable_processors()
    return Environment(describe_machine(), versions(), load, sandbox, now, cores, self_test)
