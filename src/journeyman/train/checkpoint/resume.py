"""What an earlier run left in the output folder: a result, checkpoints, or temporary files."""

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

_RUN_FILES = (
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
_HINT = "use another --output-dir, or --fresh to move the earlier run out of the way"


def remove_temporary_files(folder: Path) -> None:
    """Delete what a killed run had not finished writing. The caller must own the folder."""
    for pattern in _RUN_FILES:
        for path in folder.glob(f".tmp-{pattern.rstrip('*')}*"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def move_aside(folder: Path) -> Path | None:
    """Move all files of a run into `earlier-N/`, which it gives; None if there are none."""
    paths = [path for pattern in _RUN_FILES for path in folder.glob(pattern)]
    if not paths:
        return None
    number = 1
    while (target := folder / f"earlier-{number}").exists():
        number += 1
    target.mkdir()
    for path in paths:
        path.rename(target / path.name)
    return target


def finished_result(
    settings: TrainSettings, identity: Identity, report: Reporter
) -> TrainingResult | None:
    """The result of the same run if it is finished and undamaged; a damaged one is quarantined.

    With accepted changes it does not count: it is replaced when the run has gone on to its end.
    Raises UsageError if the folder belongs to another run or another program.
    """
    folder = settings.output_dir / FINAL
    if not folder.exists():
        return None
    manifest = read_manifest(folder)
    final = read_final(folder)
    if manifest is None or final is None:
        raise UsageError(f"`{folder}` exists and was not written by this program", hint=_HINT)
    accepted = settings.accept_change
    if require_same(final.identity, identity, where=str(folder), accepted=accepted):
        return None
    damaged = damaged_outputs(folder, manifest)
    if damaged:
        names = ", ".join(f"`{name}`" for name in damaged)
        moved = quarantine(folder)
        report(Caution(f"`{folder}` is damaged ({names}) and was moved to `{moved}`"))
        return None
    report(
        Note(f"`{folder}` is finished, with the same settings, data and base; --fresh trains again")
    )
    return TrainingResult(folder, final)


def checkpoint_to_resume(
    settings: TrainSettings, identity: Identity, report: Reporter
) -> Checkpoint | None:
    """The good checkpoint of this run to go on from; None for a new run."""
    newest = newest_good(settings.output_dir, report)
    if newest is not None:
        newest = _of_same_run(newest, settings, identity, report)
    if settings.resume is None:
        return newest
    named = _of_same_run(read_checkpoint(settings.resume), settings, identity, report)
    if newest is not None and newest.state.position > named.state.position:
        # Both lead to the same adapter, because steps are exact; and a command that was stopped and
        # is run again must not go back to where it started.
        report(Note(f"going on from `{newest.folder}`, which is later than `{settings.resume}`"))
        return newest
    return named


def _of_same_run(
    checkpoint: Checkpoint, settings: TrainSettings, identity: Identity, report: Reporter
) -> Checkpoint:
    """The checkpoint, with accepted changes in its lineage. UsageError if it is of another run."""
    state = checkpoint.state
    where = str(checkpoint.folder)
    changes = require_same(state.identity, identity, where=where, accepted=settings.accept_change)
    if not changes:
        return checkpoint
    listed = "; ".join(f"`{x.field}` `{x.before}`, now `{x.after}`" for x in changes)
    report(Caution(f"changes accepted from step {state.step} on, kept in the lineage: {listed}"))
    return Checkpoint(checkpoint.folder, replace(with_change(state, *changes), identity=identity))


def require_steps_left(checkpoint: Checkpoint | None, steps: int) -> None:
    """Refuse a changed run that is shorter than what was already trained. Raises UsageError."""
    if checkpoint is not None and checkpoint.state.step > steps:
        raise UsageError(
            f"`{checkpoint.folder}` is at step {checkpoint.state.step}, but the run has only "
            f"{steps} steps now",
            hint="raise --epochs or --max-steps, or use --fresh to start over",
        )
