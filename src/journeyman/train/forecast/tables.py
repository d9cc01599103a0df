"""A plan as a person reads it: a few tables, then what is wrong and what would be cheaper."""

from collections.abc import Iterator, Sequence

from journeyman.events import Caution, Event, Note, Table
from journeyman.formatting import byte_size, count, duration
from journeyman.train.forecast.records import AnswerTimeForecast, Finding, Forecast, TimeForecast


def told(plan: Forecast, *, without: Sequence[str] = ()) -> Iterator[Event]:
    """All of it: the table, warnings and advice, cheaper runs. without: findings told before."""
    yield summary(plan)
    yield from remarks(plan, without=without)
    if plan.alternatives:
        yield cheaper_runs(plan)


def summary(plan: Forecast) -> Table:
    """Time, memory, disk, tokens, steps and serving, one line each."""
    rows = [
        ("base", f"{plan.base}, {count(plan.parameters)} parameters"),
        ("adapter", f"{count(plan.adapter_parameters)} parameters"),
        ("arithmetic", f"{plan.precision}, engine {plan.engine}{_machine(plan)}"),
        ("tokens", _tokens(plan)),
        ("seed recipe", _seed(plan)),
        ("steps", _steps(plan)),
    ]
    if plan.hours is not None:
        rows += [("time", _time(plan.hours)), ("of it", _parts(plan.hours))]
    rows += [("memory", _memory(plan)), ("", _memory_parts(plan)), ("disk", _disk(plan))]
    if plan.serving is not None:
        rows.append(("an answer", _serving(plan.serving)))
    return Table("the plan", ("what", "how much"), tuple(rows))


def remarks(plan: Forecast, *, without: Sequence[str] = ()) -> Iterator[Event]:
    """Findings as warnings, advice as notes."""
    for one in plan.findings:
        if one.id not in without:
            yield _remark(one)


def _remark(one: Finding) -> Event:
    if one.level == "advice":
        return Note(f"advice: {one.text}: {one.hint}")
    return Caution(one.text, hint=one.hint)


def cheaper_runs(plan: Forecast) -> Table:
    """What would take less time."""
    rows = [(one.flags, duration(one.total_s), one.what) for one in plan.alternatives]
    return Table("cheaper", ("change", "time", "for"), tuple(rows))


def _machine(plan: Forecast) -> str:
    found = plan.machine
    if found is None:
        return ""
    return (
        f"; {found.threads} threads, products {found.product_rate / 1e9:.0f} GFLOP/s, "
        f"memory {found.memory_rate / 1e9:.0f} GB/s"
    )


def _tokens(plan: Forecast) -> str:
    one = plan.tokens
    about = "" if one.exact else "about "
    return (
        f"{about}{one.real:,} real of {one.computed:,} computed ({one.real_share:.1%}), "
        f"{one.trained:,} trained; {one.rows} rows, the longest {one.longest}; {one.val_rows} to "
        "validate"
    )


def _seed(plan: Forecast) -> str:
    one = plan.tokens
    return (
        f"{one.seed_computed:,} computed, {one.seed_real_share:.1%} of them real: "
        f"{1 / one.operation_share:.1f} times the operations of this run"
    )


def _steps(plan: Forecast) -> str:
    one = plan.steps
    return (
        f"{one.steps} of {one.rows_a_step} rows; {one.warmup} warm up, {one.checkpoints} "
        f"checkpoints, {one.validations} validations"
    )


def _time(hours: TimeForecast) -> str:
    return (
        f"{duration(hours.total_s)} ({duration(hours.low_s)} to {duration(hours.high_s)}); "
        f"{hours.real_tokens_per_s:.0f} real tokens/s, "
        f"the first step {duration(hours.first_step_s)}"
    )


def _parts(hours: TimeForecast) -> str:
    around = hours.start_s + hours.end_s
    return (
        f"steps {duration(hours.steps_s)}, validation {duration(hours.validation_s)}, checkpoints "
        f"{duration(hours.checkpoints_s)}, start and end {duration(around)}"
    )


def _memory(plan: Forecast) -> str:
    one = plan.memory
    return (
        f"{byte_size(one.peak_bytes)} at its peak; {byte_size(one.available_bytes)} free of "
        f"{byte_size(one.limit_bytes)} ({one.limited_by})"
    )


def _memory_parts(plan: Forecast) -> str:
    one = plan.memory
    return (
        f"weights {byte_size(one.weights_bytes)}, activations {byte_size(one.activation_bytes)}, "
        f"adapter and optimiser {byte_size(one.adapter_bytes)}, "
        f"buffers {byte_size(one.workspace_bytes)}, program {byte_size(one.program_bytes)}"
    )


def _disk(plan: Forecast) -> str:
    one = plan.disk
    fetched = f"download {byte_size(one.download_bytes)}, " if one.download_bytes else ""
    return (
        f"{fetched}checkpoints {byte_size(one.checkpoints_bytes)}, "
        f"final model {byte_size(one.final_bytes)}; "
        f"then merged {byte_size(one.merged_bytes)} for a while and "
        f"GGUF {byte_size(one.gguf_bytes)}; {byte_size(one.free_bytes)} free"
    )


def _serving(one: AnswerTimeForecast) -> str:
    verdict = "within" if one.can_be_met else "beyond"
    return (
        f"{one.answer_s:.1f} s at best in {one.quantization} ({one.answer_tokens:.0f} tokens at "
        f"{one.tokens_per_s:.0f}/s, the prompt {one.prompt_s:.1f} s): {verdict} the goal of "
        f"{one.goal_s:g} s"
    )
