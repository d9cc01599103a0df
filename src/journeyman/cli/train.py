"""`journeyman train`.

`python -m journeyman.cli.train SETTINGS` is one process of a data-parallel run
(`journeyman train --processes N`) and is not meant to be run by hand.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
from cyclopts import Parameter

from journeyman.cli import exit_code_of
from journeyman.cli.presets import ConfigFlag, PresetFlag
from journeyman.console import Console
from journeyman.errors import Interrupted, UsageError
from journeyman.events import Note, ignore
from journeyman.settings import TrainSettings


def train(
    settings: Annotated[TrainSettings, Parameter(name="*")] = TrainSettings(),
    *,
    config: ConfigFlag = None,
    preset: PresetFlag = "given",
    watch: Annotated[
        Path | None,
        Parameter(help="Do not train; show the progress of the run in this folder."),
    ] = None,
    replay: Annotated[
        Path | None,
        Parameter(help="Do not train; repeat a step without a finite loss (folder replay-step-N)."),
    ] = None,
) -> int | None:
    """Train a LoRA adapter for a base model on a dataset."""
    del config, preset  # already read by `journeyman.cli.presets`
    if watch is not None:
        from journeyman.cli.watch import watch as follow

        with Console() as console:
            follow(watch, console)
        return None
    if replay is not None:
        with Console() as console:
            _replay(replay, console)
        return None
    if settings.processes != 1:
        return _train_in_parallel(settings)
    train_here(settings)
    return None


def train_here(settings: TrainSettings) -> None:
    """Train in this process. In a data-parallel run only rank 0 reports."""
    from journeyman.train.parallel.group import PeerLost, environment_rank
    from journeyman.train.stage import train as run_stage

    is_first = environment_rank() == 0
    with Console() as console:
        try:
            trained = run_stage(settings, console.report if is_first else ignore)
        except Interrupted as error:
            if is_first or isinstance(error, PeerLost):
                raise
            sys.exit(error.exit_code)  # rank 0 prints the error
        if is_first:
            console.data(str(trained.final_model))


def _train_in_parallel(settings: TrainSettings) -> int:
    """Train in `--processes` processes, each on its own cores, and return the exit code."""
    from journeyman.train.check_settings import require_usable
    from journeyman.train.parallel.affinity import assign_cpus
    from journeyman.train.parallel.group import environment_size
    from journeyman.train.parallel.launch import launch

    if environment_size() > 1:
        raise UsageError(
            "`--processes` cannot be used in a process that torchrun started",
            hint="leave out `--processes`, or start the run without torchrun",
        )
    require_usable(settings)
    processes = assign_cpus(settings.processes)
    with Console() as console:
        console.report(Note(processes.reason))
    return launch(_command(replace(settings, processes=1)), processes)


def _replay(folder: Path, console: Console) -> None:
    from journeyman.train.checkpoint.rerun import rerun

    result = rerun(folder, console.report)
    console.table(result.table())
    console.data(result.verdict())


def _command(settings: TrainSettings) -> list[str]:
    """The command line of one process of a data-parallel run."""
    text = msgspec.json.encode(settings, enc_hook=str).decode()
    return [sys.executable, "-m", __name__, text]


def main() -> NoReturn:
    """Train with the settings in the first argument."""
    settings = msgspec.json.decode(
        sys.argv[1], type=TrainSettings, dec_hook=lambda kind, value: kind(value)
    )
    sys.exit(exit_code_of(lambda: train_here(settings), ("train",)))


if __name__ == "__main__":
    main()
