"""A forecast for people: a table, what is wrong with the run, and cheaper runs."""

from collections.abc import Iterator, Sequence

from journeyman.events import Caution, Event, Note, Table
from journeyman.formatting import byte_size, count, duration
from journeyman.train.forecast.records import AnswerTimeForecast, Finding, Forecast, TimeForecast


def forecast_events(plan: Forecast, *, without: Sequence[str] = ()) -> Iterator[Event]:
    """The whole forecast. without: ids of findings that were reported before."""
    yield summary(plan)
    yield from remarks(plan, without=without)
    if plan.alternatives:
        yield cheaper_runs(plan)


def summary(plan: Forecast) -> Table:
    """Precision, tokens, steps, time, memory, disk and the time of an answer, a line each."""
    rows = [
        ("base", f"{plan.base}, {count(plan.parameters)} parameters"),
        ("adapter", f"{count(plan.adapter_parameters)} parameters"),
        ("precision", f"{plan.precision}, engine {plan.engine}{_machine(plan)}"),
        ("tokens", _tokens(plan)),
        ("seed recipe", _seed(plan)),
        ("steps", _steps(plan)),
    ]
    if plan.hours is not None:
        rows += [("time", _time(plan.hours)), ("", _time_parts(plan.hours))]
    rows += [("memory", _memory(plan)), ("", _memory_parts(plan)), ("disk", _disk(plan))]
    if plan.serving is not None:
        rows.append(("answer time", _answer_time(plan.serving)))
    return Table("the plan", ("what", "how much"), tuple(rows))


def remarks(plan: Forecast, *, without: Sequence[str] = ()) -> Iterator[Event]:
    """The findings as warnings, and advice as notes."""
    for one in plan.findings:
        if one.id not in without:
            yield _remark(one)


def _remark(one: Finding) -> Event:
    if one.level == "advice":
        return Note(f"advice: {one.text}: {one.hint}")
    return Caution(one.text, hint=one.hint)


def cheaper_runs(plan: Forecast) -> Table:
    """The runs that would take less time."""
    rows = [(one.flags, duration(one.total_s), one.what) for one in plan.alternatives]
    return Table("cheaper runs", ("change", "time", "what it means"), tuple(rows))


def _machine(plan: Forecast) -> str:
    machine = plan.machine
    if machine is None:
        return ""
    return (
        f"; {machine.threads} threads, matrix products {machine.product_rate / 1e9:.0f} GFLOP/s, "
        f"memory {machine.memory_rate / 1e9:.0f} GB/s"
    )


def _tokens(plan: Forecast) -> str:
    one = plan.tokens
    about = "" if one.exact else "about "
    return (
        f"{about}{one.real:,} real of {one.computed:,} computed ({one.real_share:.1%}), "
        f"{one.trained:,} trained; {one.rows} rows, the longest {one.longest}; {one.val_rows} "
        "validation rows"
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
        f"{one.steps} of {one.rows_a_step} rows; {one.warmup} of warm-up, {one.checkpoints} "
        f"checkpoints, {one.validations} validations"
    )


def _time(hours: TimeForecast) -> str:
    return (
        f"{duration(hours.total_s)} ({duration(hours.low_s)} to {duration(hours.high_s)}); "
        f"{hours.real_tokens_per_s:.0f} real tokens/s, first step {duration(hours.first_step_s)}"
    )


def _time_parts(hours: TimeForecast) -> str:
    start_and_end_s = hours.start_s + hours.end_s
    return (
        f"steps {duration(hours.steps_s)}, validation {duration(hours.validation_s)}, checkpoints "
        f"{duration(hours.checkpoints_s)}, start and end {duration(start_and_end_s)}"
    )


def _memory(plan: Forecast) -> str:
    one = plan.memory
    return (
        f"{byte_size(one.peak_bytes)} at the peak; {byte_size(one.available_bytes)} free of "
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
    download = f"download {byte_size(one.download_bytes)}, " if one.download_bytes else ""
    return (
        f"{download}checkpoints {byte_size(one.checkpoints_bytes)}, "
        f"final model {byte_size(one.final_bytes)}; then `convert` needs "
        f"{byte_size(one.merged_bytes)} for a while and {byte_size(one.gguf_bytes)} for GGUF; "
        f"{byte_size(one.free_bytes)} free"
    )


def _answer_time(one: AnswerTimeForecast) -> str:
    verdict = "within" if one.can_be_met else "beyond"
    return (
        f"{one.answer_s:.1f} s at best in {one.quantization} ({one.answer_tokens:.0f} tokens at "
        f"{one.tokens_per_s:.0f} tokens/s, and {one.prompt_s:.1f} s for the prompt): {verdict} the "
        f"goal of {one.goal_s:g} s"
    )
