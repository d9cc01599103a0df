"""Cheaper runs over the same data, with their times by the same measurements."""

from collections.abc import Callable, Iterator

from journeyman.train.forecast.base_model import known_shape, smaller_siblings
from journeyman.train.forecast.records import Alternative
from journeyman.train.forecast.run import IntendedRun, changed, operations, total_work
from journeyman.train.forecast.shape import ModelShape, shape_of

_WORTH = 0.95
_LENGTH_SHARE = 0.9
_SHOWN_SIBLINGS = 2


def cheaper(
    run: IntendedRun,
    shape: ModelShape,
    total_s: float,
    *,
    total_of: Callable[[IntendedRun], float],
) -> Iterator[Alternative]:
    """What takes at most 95 % of the run's time. total_of: seconds of a changed run."""
    for flags, what, other in _changes(run):
        seconds = total_of(other)
        if seconds < _WORTH * total_s:
            yield Alternative(flags, what, seconds)
    yield from _smaller_models(run, shape, total_s)


def _changes(run: IntendedRun) -> Iterator[tuple[str, str, IntendedRun]]:
    settings = run.settings
    if settings.max_steps is None:
        for epochs in (settings.epochs - 1, 1.0):
            other = changed(run, epochs=epochs) if 1 <= epochs < settings.epochs else None
            if other is not None:
                yield f"--epochs {epochs:g}", "each row is seen less often", other
            if settings.epochs <= 2:
                break
    most = _length_for(run)
    shorter = changed(run, max_tokens=most)
    if shorter is not None and len(shorter.train.used) < len(run.train.used):
        fewer = len(run.train.used) - len(shorter.train.used)
        yield f"--max-tokens {most}", f"{fewer} longer rows are left out", shorter
    for size in (1, 2, 4):
        if size != settings.batch_size:
            accumulation = (settings.accumulation or 1) * settings.batch_size // size
            other = changed(run, batch_size=size, accumulation=max(1, accumulation))
            if other is not None:
                yield f"--batch-size {size}", "other micro-batches, the same steps", other


def _length_for(run: IntendedRun) -> int:
    lengths = sorted(len(row.ids) for row in run.train.used)
    return lengths[int(_LENGTH_SHARE * (len(lengths) - 1))]


def _smaller_models(run: IntendedRun, shape: ModelShape, total_s: float) -> Iterator[Alternative]:
    """Smaller models of the family, by operations: at the same rate as the base."""
    work = total_work(one for step in run.work() for one in step)
    for name in smaller_siblings(run.settings.base)[:_SHOWN_SIBLINGS]:
        small = shape_of(known_shape(name).config)
        share = operations(small, work) / operations(shape, work)
        yield Alternative(f"--base {name}", "a smaller model, by operations", share * total_s)
