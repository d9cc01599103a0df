"""What an earlier run left in the output folder: finished, unfinished, in the way, or debris."""

import shutil
from pathlib import Path

from msgspec.structs import replace

from journeyman.errors import UsageError
from journeyman.events import Caution, Note, Reporter
from journeyman.runs import damaged_outputs, read_manifest
from journeyman.settings import TrainSettings
from journeyman.train.checkpoint.read import (
    PREFIX,
    QUARANTINE,
    Checkpoint,
    newest_good,
    quarantine,
    read_checkpoint,
)
from journeyman.train.checkpoint.replay import PREFIX as REPLAY
from journeyman.train.checkpoint.result import CONFIG, FINAL, TrainingResult, read_final
from journeyman.train.identity import Identity, require_same
from journeyman.train.monitor.log_file import LOG
from journeyman.train.monitor.status import STATUS
from journeyman.train.out_of_memory import START
from journeyman.train.state import with_change

_OF_A_RUN = (
    f"{PREFIX}*",
    FINAL,
    QUARANTINE,
    "logs",
    LOG,
    CONFIG,
    "losses.png",
    f"{REPLAY}*",
    STATUS,
    START,
)
_WAYS_OUT = "name another --output-dir, or use --fresh to move the earlier run aside"


def clear_debris(folder: Path) -> None:
    """Delete what a killed run had not finished writing. The folder must be owned."""
    for pattern in _OF_A_RUN:
        for path in folder.glob(f".tmp-{pattern.rstrip('*')}*"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def move_aside(folder: Path) -> Path | None:
    """Move everything that is of a run into `earlier-N/`; None where there is nothing."""
    found = [path for pattern in _OF_A_RUN for path in folder.glob(pattern)]
    if not found:
        return None
    target = _next_earlier(folder)
    for path in found:
        path.rename(target / path.name)
    return target


def _next_earlier(folder: Path) -> Path:
    number = 1
    while (folder / f"earlier-{number}").exists():
        number += 1
    target = folder / f"earlier-{number}"
    target.mkdir()
    return target


def finished(
    settings: TrainSettings, identity: Identity, report: Reporter
) -> TrainingResult | None:
    """The result of the same run where it is finished and undamaged.

    Raises UsageError (other run, foreign folder); a damaged one goes to quarantine. With accepted
    changes it is not the result any more; it is replaced when the run has gone on to its end.
    """
    folder = settings.output_dir / FINAL
    if not folder.exists():
        return None
    manifest = read_manifest(folder)
    final = read_final(folder)
    if manifest is None or final is None:
        raise UsageError(f"`{folder}` is there and is not of this program", hint=_WAYS_OUT)
    accepted = settings.accept_change
    if require_same(final.identity, identity, where=str(folder), accepted=accepted):
        return None
    damaged = damaged_outputs(folder, manifest)
    if damaged:
        names = ", ".join(f"`{name}`" for name in damaged)
        moved = quarantine(folder)
        report(Caution(f"`{folder}` is damaged ({names}); it was moved to `{moved}`"))
        return None
    report(
        Note(f"`{folder}` is finished, with the same settings, data and base; --fresh redoes it")
    )
    return TrainingResult(folder, final)


def starting_point(
    settings: TrainSettings, identity: Identity, report: Reporter
) -> Checkpoint | None:
    """The checkpoint to go on from, verified and of the same run; None for a new run."""
    found = newest_good(settings.output_dir, report)
    if found is not None:
        found = _same_run(found, settings, identity, report)
    if settings.resume is None:
        return found
    named = _same_run(read_checkpoint(settings.resume), settings, identity, report)
    if found is not None and found.state.place > named.state.place:
        # Steps are exact, so both lead to the same adapter; and a command that was stopped and is
        # given again must not fall back to where it started.
        report(Note(f"`{found.folder}` is of the same run and later than `{settings.resume}`"))
        return found
    return named


def _same_run(
    found: Checkpoint, settings: TrainSettings, identity: Identity, report: Reporter
) -> Checkpoint:
    """The checkpoint as one of this run, accepted changes in its lineage. Raises UsageError."""
    where, there = str(found.folder), found.state.identity
    changes = require_same(there, identity, where=where, accepted=settings.accept_change)
    if not changes:
        return found
    named = "; ".join(f"`{x.field}` `{x.before}`, now `{x.after}`" for x in changes)
    report(Caution(f"accepted since step {found.state.step}, and kept in the lineage: {named}"))
    return Checkpoint(found.folder, replace(with_change(found.state, *changes), identity=identity))


def require_steps_left(found: Checkpoint | None, steps: int) -> None:
    """Refuse a changed run that is shorter than what was trained already. Raises UsageError."""
    if found is not None and found.state.step > steps:
        raise UsageError(
            f"`{found.folder}` is at step {found.state.step}, and the run has {steps} steps now",
            hint="raise --epochs or --max-steps, or use --fresh to start over",
        )
