"""Cheaper runs over the same data, with their times by the same measurements."""

from collections.abc import Callable, Iterator

from journeyman.train.forecast.base_model import known_shape, smaller_siblings
from journeyman.train.forecast.records import Alternative
from journeyman.train.forecast.run import IntendedRun, operations, with_settings
from journeyman.train.forecast.shape import ModelShape, shape_of

# A run is worth naming if it takes at most this share of the time.
_WORTH = 0.95
# The shorter limit on tokens keeps this share of the rows.
_KEPT_ROWS_SHARE = 0.9
_SHOWN_SIBLINGS = 2


def cheaper_runs(
    run: IntendedRun,
    shape: ModelShape,
    total_s: float,
    *,
    total_of: Callable[[IntendedRun], float],
) -> Iterator[Alternative]:
    """Runs that take at most 95 % of the time. total_of: seconds of a changed run."""
    for flags, what, other in _changed_runs(run):
        seconds = total_of(other)
        if seconds < _WORTH * total_s:
            yield Alternative(flags, what, seconds)
    yield from _smaller_models(run, shape, total_s)


def _changed_runs(run: IntendedRun) -> Iterator[tuple[str, str, IntendedRun]]:
    """Flags, what they mean, and the run with them."""
    settings = run.settings
    if settings.max_steps is None:
        for epochs in (settings.epochs - 1, 1.0):
            other = with_settings(run, epochs=epochs) if 1 <= epochs < settings.epochs else None
            if other is not None:
                yield f"--epochs {epochs:g}", "fewer passes over the rows", other
            if settings.epochs <= 2:
                break
    max_tokens = _shorter_limit(run)
    shorter = with_settings(run, max_tokens=max_tokens)
    if shorter is not None and len(shorter.rows) < len(run.rows):
        fewer = len(run.rows) - len(shorter.rows)
        yield f"--max-tokens {max_tokens}", f"{fewer} longer rows are left out", shorter
    for size in (1, 2, 4):
        if size != settings.batch_size:
            accumulation = (settings.accumulation or 1) * settings.batch_size // size
            other = with_settings(run, batch_size=size, accumulation=max(1, accumulation))
            if other is not None:
                yield f"--batch-size {size}", "other micro-batches, the same steps", other


def _shorter_limit(run: IntendedRun) -> int:
    lengths = sorted(len(row.ids) for row in run.rows)
    return lengths[int(_KEPT_ROWS_SHARE * (len(lengths) - 1))]


def _smaller_models(run: IntendedRun, shape: ModelShape, total_s: float) -> Iterator[Alternative]:
    """Smaller models of the family, at the same operations a second as the base model."""
    work = run.total_work()
    for name in smaller_siblings(run.settings.base)[:_SHOWN_SIBLINGS]:
        small = shape_of(known_shape(name).config)
        share = operations(small, work) / operations(shape, work)
        yield Alternative(f"--base {name}", "a smaller model, by operations", share * total_s)
