"""The sums of a run that need no machine: tokens, the seed recipe's tokens, steps."""

from journeyman.train.plan.records import Steps, Tokens
from journeyman.train.plan.run import IntendedRun
from journeyman.train.plan.shape import ModelShape
from journeyman.train.plan.work import is_padded, operations, seed_work, total_work
from journeyman.train.schedule import warmup_steps


def tokens_of(run: IntendedRun, shape: ModelShape) -> Tokens:
    """What the run computes, beside what the seed recipe would for the same rows and epochs."""
    rows = run.train.used
    ours = total_work(work for step in run.work(padded=is_padded(run.settings)) for work in step)
    seed = seed_work(rows[index] for step in run.steps for index in step.rows)
    return Tokens(
        rows=len(rows),
        val_rows=len(run.val.used),
        left_out=len(run.train.left_out),
        exact=run.exact,
        longest=max(len(row.ids) for row in rows),
        real=ours.real,
        computed=ours.computed,
        trained=ours.trained,
        trained_an_epoch=sum(row.trained_tokens for row in rows),
        real_share=ours.real / ours.computed,
        seed_computed=seed.computed,
        seed_real_share=seed.real / seed.computed,
        operation_share=operations(shape, ours) / operations(shape, seed),
    )


def steps_of(run: IntendedRun) -> Steps:
    """Steps, and what is due among them."""
    settings = run.settings
    assert settings.accumulation is not None  # resolved
    return Steps(
        steps=len(run.steps),
        rows_a_step=settings.batch_size * settings.accumulation,
        warmup=warmup_steps(len(run.steps), settings.warmup_share),
        checkpoints=run.checkpoints,
        validations=run.validations,
    )


def adapter_parameters(run: IntendedRun, shape: ModelShape) -> int:
    """Of the run's adapter."""
    settings = run.settings
    return shape.adapter_parameters(rank=settings.lora_r, targets=settings.lora_targets)
