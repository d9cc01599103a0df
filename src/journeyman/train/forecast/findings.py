"""Mistakes that show before a run, each with what it costs and what to do instead.

The forerunner lost 14 hours to five of them: warm-up, checkpoints and validations beyond the last
step, padding, and a base model that is not the one served. A finding is a `stop` only if this
machine cannot do the run; everything else is for the user to decide.
"""

import math
from collections.abc import Iterator

from journeyman.settings import TrainSettings
from journeyman.train.forecast.records import (
    AnswerTimeForecast,
    DiskForecast,
    Finding,
    Forecast,
    MemoryForecast,
    Steps,
    Tokens,
)

_LEAST_REAL_SHARE = 0.9
_MOST_WARMUP_SHARE = 0.34
_ENOUGH_STEPS = 100
# Shorter answers are not worth a hint.
_LEAST_ANSWER_TOKENS = 20
_ATTENTION = frozenset(("q_proj", "k_proj", "v_proj", "o_proj"))


def findings_of(plan: Forecast, settings: TrainSettings) -> Iterator[Finding]:
    """Every finding from the forecast's own numbers; what stops the run comes first."""
    yield from _of_memory(plan.memory, settings)
    yield from _of_disk(plan.disk, settings)
    yield from _of_steps(plan.steps, settings)
    yield from _of_tokens(plan.tokens, plan.steps)
    if plan.serving is not None:
        yield from _of_answer_time(plan.serving)
    yield from _of_adapter(settings)
    yield from _of_training(plan, settings)


def _of_steps(steps: Steps, settings: TrainSettings) -> Iterator[Finding]:
    """Warm-up, checkpoints and validations that do not fit into the run."""
    if steps.warmup >= steps.steps:
        yield Finding(
            "warmup-beyond-run",
            "warning",
            f"the warm-up takes all {steps.steps} steps, so the learning rate never reaches "
            f"{settings.lr:g}",
            "lower --warmup-share to 0.1, or train more steps",
        )
    elif steps.warmup > _MOST_WARMUP_SHARE * steps.steps:
        yield Finding(
            "warmup-long",
            "warning",
            f"the warm-up takes {steps.warmup} of {steps.steps} steps",
            "lower --warmup-share to 0.1",
        )
    if settings.save_steps > steps.steps:
        yield Finding(
            "save-beyond-run",
            "warning",
            f"`--save-steps {settings.save_steps}` is more than the run's {steps.steps} steps: "
            "nothing is saved before the end, and a crash loses everything",
            "leave --save-steps at 1",
        )
    if settings.eval_steps is not None and settings.eval_steps > steps.steps:
        yield Finding(
            "eval-beyond-run",
            "warning",
            f"`--eval-steps {settings.eval_steps}` is more than the run's {steps.steps} steps: "
            "only the base model and the result are validated",
            "leave --eval-steps out to validate once an epoch",
        )
    if steps.steps < _ENOUGH_STEPS:
        yield Finding(
            "few-steps",
            "advice",
            f"{steps.steps} steps are few; {_ENOUGH_STEPS} or more are recommended",
            "use `--preset recommended` (8 rows a step), or more epochs",
        )


def _of_tokens(tokens: Tokens, steps: Steps) -> Iterator[Finding]:
    """Padding, rows left out, no validation rows, estimated tokens, too few rows for a step."""
    if tokens.real_share < _LEAST_REAL_SHARE:
        yield Finding(
            "padding",
            "warning",
            f"{1 - tokens.real_share:.0%} of the computed tokens are padding, because rows of "
            "different length share a micro-batch",
            "lower --batch-size; the accumulation follows if --accumulation is not given",
        )
    if tokens.left_out:
        yield Finding(
            "left-out",
            "warning",
            f"{tokens.left_out} rows are left out: longer than --max-tokens, or no token to train",
            "raise --max-tokens; no answer is ever cut",
        )
    if not tokens.val_rows:
        yield Finding(
            "no-validation",
            "warning",
            "there are no validation rows, so nothing will show whether training helps or overfits",
            "give `prepare` more interactions, or a larger --val-share",
        )
    if not tokens.exact:
        yield Finding(
            "tokens-estimated",
            "warning",
            "tokens are estimated from characters, because the base's tokenizer is not here",
            "give --base a folder with the model, or run `plan` with network access",
        )
    if steps.rows_a_step > tokens.rows:
        yield Finding(
            "step-beyond-rows",
            "warning",
            f"a step takes {steps.rows_a_step} rows, but there are only {tokens.rows}: each epoch "
            "is one step",
            "lower --accumulation",
        )


def _of_adapter(settings: TrainSettings) -> Iterator[Finding]:
    """Targets and scaling that published results advise against; see docs/training.md."""
    if set(settings.lora_targets) <= _ATTENTION:
        yield Finding(
            "attention-only",
            "advice",
            "the adapter is on attention layers only, which is worse than all linear layers even "
            "at equal size (LoRA Without Regret, Thinking Machines 2025)",
            "use `--preset recommended`, which adapts all seven",
        )
    scale = settings.lora_alpha / settings.lora_r
    if not 1 <= scale <= 4:
        yield Finding(
            "alpha",
            "advice",
            f"alpha / r is {scale:g}, which scales the adapter's update; 1 to 4 are usual, and the "
            "evidence starts from 2 (r 16, alpha 32)",
            "set --lora-alpha to twice --lora-r, or adjust --lr as well",
        )


def _of_training(plan: Forecast, settings: TrainSettings) -> Iterator[Finding]:
    """Learning rate, dropout, adapter size and epochs, by the same results."""
    if not 1e-4 <= settings.lr <= 5e-4:
        yield Finding(
            "learning-rate",
            "advice",
            f"the learning rate {settings.lr:g} is unusual for LoRA: known trainers use 1e-4 to "
            "3e-4, and 4e-4 is worth a try",
            "try --lr 2e-4",
        )
    if settings.lora_dropout > 0:
        yield Finding(
            "dropout",
            "advice",
            f"dropout {settings.lora_dropout:g} costs time in every adapted layer and has shown no "
            "gain over few epochs",
            "try --lora-dropout 0",
        )
    trained = plan.tokens.trained_an_epoch
    if plan.adapter_parameters < trained:
        yield Finding(
            "small-adapter",
            "advice",
            f"the adapter has {plan.adapter_parameters:,} parameters for {trained:,} answer tokens "
            "an epoch; it should have more than one a token",
            "raise --lora-r, or adapt more layers",
        )
    if not math.isclose(settings.epochs, round(settings.epochs)) or settings.epochs > 5:
        yield Finding(
            "epochs",
            "advice",
            f"{settings.epochs:g} epochs: beyond 3, small datasets are mostly memorised "
            "(overfitting)",
            "watch the validation loss, and stop early when it rises",
        )


def _of_memory(memory: MemoryForecast, settings: TrainSettings) -> Iterator[Finding]:
    """A run that needs more memory than the machine has, or than is free."""
    peak, limit = memory.peak_bytes / 2**30, memory.limit_bytes / 2**30
    hint = _memory_hint(memory, settings)
    if memory.peak_bytes > memory.limit_bytes:
        yield Finding(
            "memory",
            "stop",
            f"the run needs {peak:.1f} GiB of memory, but {memory.limited_by} is {limit:.1f} GiB",
            hint,
        )
    elif memory.peak_bytes > memory.available_bytes:
        yield Finding(
            "memory-in-use",
            "warning",
            f"the run needs {peak:.1f} GiB of memory, but only "
            f"{memory.available_bytes / 2**30:.1f} GiB are free now",
            f"close other programs, or {hint}",
        )


def _of_disk(disk: DiskForecast, settings: TrainSettings) -> Iterator[Finding]:
    """A run, or the conversion of its result, that writes more than is free."""
    free = disk.free_bytes / 2**30
    if disk.training_bytes > disk.free_bytes:
        yield Finding(
            "disk",
            "stop",
            f"the run writes {disk.training_bytes / 2**30:.1f} GiB, but only {free:.1f} GiB are "
            f"free for `{settings.output_dir}`",
            "free some space, or use an --output-dir on another disk",
        )
    elif disk.training_bytes + disk.merged_bytes + disk.gguf_bytes > disk.free_bytes:
        yield Finding(
            "disk-convert",
            "warning",
            f"training fits, but converting its result needs "
            f"{(disk.merged_bytes + disk.gguf_bytes) / 2**30:.1f} GiB of the {free:.1f} GiB free",
            "free some space before `convert`, or let it write to another disk",
        )


def _memory_hint(memory: MemoryForecast, settings: TrainSettings) -> str:
    if memory.weights_bytes > memory.limit_bytes:
        return f"use a smaller --base: its weights alone are {memory.weights_bytes / 2**30:.1f} GiB"
    if settings.batch_size > 1:
        return "use --batch-size 1"
    return "lower --max-tokens, or use a smaller --base"


def _of_answer_time(one: AnswerTimeForecast) -> Iterator[Finding]:
    """A goal that no program can meet on this machine with answers as long as the dataset's."""
    if one.can_be_met:
        return
    shorter = f"train on answers of at most {one.fitting_tokens} tokens, or "
    yield Finding(
        "serving-goal",
        "warning",
        f"this model cannot answer in {one.goal_s:g} s on this machine: {one.answer_tokens:.0f} "
        f"tokens take {one.answer_s:.0f} s at best, because {one.model_bytes / 1e9:.1f} GB "
        f"({one.quantization}) are read for each token ({one.tokens_per_s:.1f} tokens/s)",
        f"{shorter if one.fitting_tokens >= _LEAST_ANSWER_TOKENS else ''}use a smaller --base",
    )
