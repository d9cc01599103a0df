"""Mistakes that can be seen before a run, each with what it costs and what to do instead.

The first five are those of the forerunner's 14 hours: warm-up, checkpoints and validations beyond
the last step, padding, and a base that is not the model that is served. `stop` is only what
cannot be done on this machine; all else is the user's to decide.
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

_REAL_SHARE = 0.9
_LATEST_WARMUP = 0.34
_FEW_STEPS = 100
_SHORT_ANSWER = 20
_ATTENTION = frozenset(("q_proj", "k_proj", "v_proj", "o_proj"))


def findings_of(plan: Forecast, settings: TrainSettings) -> Iterator[Finding]:
    """All that can be said from the plan's own numbers; what stops the run comes first."""
    yield from of_room(plan.memory, plan.disk, settings)
    yield from of_steps(settings, plan.steps)
    yield from of_tokens(plan.tokens, plan.steps)
    if plan.serving is not None:
        yield from of_serving(plan.serving)
    yield from of_adapter(plan, settings)


def of_steps(settings: TrainSettings, steps: Steps) -> Iterator[Finding]:
    """Warm-up, checkpoints and validations that do not fit into the run."""
    if steps.warmup >= steps.steps:
        yield Finding(
            "warmup-beyond-run",
            "warning",
            f"the warm-up takes all {steps.steps} steps: the learning rate never reaches "
            f"{settings.lr:g}",
            "lower --warmup-share to 0.1, or take more steps",
        )
    elif steps.warmup > _LATEST_WARMUP * steps.steps:
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
            f"`--save-steps {settings.save_steps}` is beyond the run's {steps.steps} steps: "
            "nothing is saved before its end, and a crash loses all",
            "leave --save-steps at 1",
        )
    if settings.eval_steps is not None and settings.eval_steps > steps.steps:
        yield Finding(
            "eval-beyond-run",
            "warning",
            f"`--eval-steps {settings.eval_steps}` is beyond the run's {steps.steps} steps: only "
            "base and result are validated",
            "leave --eval-steps out to validate once an epoch",
        )
    if steps.steps < _FEW_STEPS:
        yield Finding(
            "few-steps",
            "advice",
            f"{steps.steps} steps are few: 100 or more are advised",
            "`--preset recommended` takes 8 rows a step; or more epochs",
        )


def of_tokens(tokens: Tokens, steps: Steps) -> Iterator[Finding]:
    """Padding, rows left out, and nothing to validate with."""
    if tokens.real_share < _REAL_SHARE:
        yield Finding(
            "padding",
            "warning",
            f"{1 - tokens.real_share:.0%} of the computed tokens are padding: rows of unlike "
            "length meet in a micro-batch",
            "lower --batch-size and let the accumulation follow",
        )
    if tokens.left_out:
        yield Finding(
            "left-out",
            "warning",
            f"{tokens.left_out} rows are left out: longer than --max-tokens, or nothing to learn",
            "raise --max-tokens; no answer is ever cut",
        )
    if not tokens.val_rows:
        yield Finding(
            "no-validation",
            "warning",
            "there is no validation row: nothing will show whether training helps",
            "give `prepare` more interactions, or a larger --val-share",
        )
    if not tokens.exact:
        yield Finding(
            "tokens-estimated",
            "warning",
            "tokens are estimated from characters: the base's tokenizer is not here",
            "give --base a folder that holds the model, or run where there is a network",
        )
    if steps.rows_a_step > tokens.rows:
        yield Finding(
            "step-beyond-rows",
            "warning",
            f"a step is to have {steps.rows_a_step} rows and there are {tokens.rows}: each epoch "
            "is one step",
            "lower --accumulation",
        )


def of_adapter(plan: Forecast, settings: TrainSettings) -> Iterator[Finding]:
    """Shapes of adapters that published results advise against; see docs/training.md."""
    if set(settings.lora_targets) <= _ATTENTION:
        yield Finding(
            "attention-only",
            "advice",
            "the adapter is on attention layers alone: worse than on all linear layers even at "
            "equal size (LoRA Without Regret, Thinking Machines 2025)",
            "`--preset recommended` adapts all seven",
        )
    scale = settings.lora_alpha / settings.lora_r
    if not 1 <= scale <= 4:
        yield Finding(
            "alpha",
            "advice",
            f"alpha / r is {scale:g}: the update counts that many times; 1 to 4 are usual, and 2 "
            "(16 / 32) is what the evidence starts from",
            "set --lora-alpha to twice --lora-r, or change --lr with it",
        )
    if not 1e-4 <= settings.lr <= 5e-4:
        yield Finding(
            "learning-rate",
            "advice",
            f"the learning rate {settings.lr:g} is unusual for LoRA: known trainers ship 1e-4 to "
            "3e-4, and 4e-4 is worth a try",
            "try --lr 2e-4",
        )
    if settings.lora_dropout > 0:
        yield Finding(
            "dropout",
            "advice",
            f"dropout {settings.lora_dropout:g} costs time on every adapted layer, and no gain is "
            "shown on few epochs",
            "try --lora-dropout 0",
        )
    trained = plan.tokens.trained_an_epoch
    if plan.adapter_parameters < trained:
        yield Finding(
            "small-adapter",
            "advice",
            f"the adapter has {plan.adapter_parameters:,} parameters for {trained:,} answer tokens "
            "an epoch; it should have more than that",
            "raise --lora-r, or adapt more layers",
        )
    if not math.isclose(settings.epochs, round(settings.epochs)) or settings.epochs > 5:
        yield Finding(
            "epochs",
            "advice",
            f"{settings.epochs:g} epochs: beyond 3 small sets are mostly learned by heart",
            "watch the validation loss, and stop where it rises",
        )


def of_room(
    memory: MemoryForecast, disk: DiskForecast, settings: TrainSettings
) -> Iterator[Finding]:
    """What this machine cannot hold, and what it can only just hold."""
    peak, limit = memory.peak_bytes / 2**30, memory.limit_bytes / 2**30
    smaller = _way_to_less_memory(memory, settings)
    if memory.peak_bytes > memory.limit_bytes:
        yield Finding(
            "memory",
            "stop",
            f"the run needs {peak:.1f} GiB of memory, and {memory.limited_by} is {limit:.1f} GiB",
            smaller,
        )
    elif memory.peak_bytes > memory.available_bytes:
        yield Finding(
            "memory-in-use",
            "warning",
            f"the run needs {peak:.1f} GiB of memory, and {memory.available_bytes / 2**30:.1f} GiB "
            "are free now",
            f"end other programs, or {smaller}",
        )
    free = disk.free_bytes / 2**30
    if disk.training_bytes > disk.free_bytes:
        yield Finding(
            "disk",
            "stop",
            f"the run writes {disk.training_bytes / 2**30:.1f} GiB and {free:.1f} GiB are free "
            f"for `{settings.output_dir}`",
            "free some space, or name an --output-dir on another disk",
        )
    elif disk.training_bytes + disk.merged_bytes + disk.gguf_bytes > disk.free_bytes:
        yield Finding(
            "disk-convert",
            "warning",
            f"training fits, and converting its result needs "
            f"{(disk.merged_bytes + disk.gguf_bytes) / 2**30:.1f} GiB of {free:.1f} GiB free",
            "free some space before `convert`, or let it write to another disk",
        )


def _way_to_less_memory(memory: MemoryForecast, settings: TrainSettings) -> str:
    if memory.weights_bytes > memory.limit_bytes:
        return (
            f"take a smaller --base: its weights alone are {memory.weights_bytes / 2**30:.1f} GiB"
        )
    if settings.batch_size > 1:
        return "use --batch-size 1"
    return "lower --max-tokens, or take a smaller --base"


def of_serving(serving: AnswerTimeForecast) -> Iterator[Finding]:
    """A goal that no program can meet here with answers as long as these."""
    if serving.can_be_met:
        return
    shorter = f"train on answers of at most {serving.fitting_tokens} tokens, or "
    yield Finding(
        "serving-goal",
        "warning",
        f"an answer in {serving.goal_s:g} s cannot be had here from this model: reading "
        f"{serving.model_bytes / 1e9:.1f} GB ({serving.quantization}) for each of "
        f"{serving.answer_tokens:.0f} tokens takes {serving.answer_s:.0f} s at best",
        f"{shorter if serving.fitting_tokens >= _SHORT_ANSWER else ''}take a smaller --base",
    )
