"""`journeyman train`.

One of several processes of `journeyman train --processes N`; not meant to be run by hand.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
from cyclopts import Parameter

from journeyman.cli import guarded
from journeyman.console import Console
from journeyman.errors import Interrupted, UsageError
from journeyman.events import Note, ignore
from journeyman.settings import Preset, TrainSettings


def train(
    settings: Annotated[TrainSettings, Parameter(name="*")] = TrainSettings(),
    *,
    config: Annotated[
        Path | None,
        Parameter(help="JSON file with defaults, as training/configs/lora_config.json."),
    ] = None,
    preset: Annotated[
        Preset,
        Parameter(help="Defaults as given, or those that the evidence recommends."),
    ] = "given",
    watch: Annotated[
        Path | None,
        Parameter(help="Follow the run in this folder instead, from another terminal."),
    ] = None,
    replay: Annotated[
        Path | None,
        Parameter(help="Compute a step again that had no finite loss: a replay-step-N folder."),
    ] = None,
) -> int | None:
    """From a dataset and a base model to a LoRA adapter."""
    del config, preset  # `journeyman.cli.presets` has read them, before the flags were parsed
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
        return _together(settings)
    act(settings)
    return None


def act(settings: TrainSettings) -> None:
    """Train in this process; of several processes only the first one speaks."""
    from journeyman.train.parallel.group import PeerLost, environment_rank
    from journeyman.train.stage import train as trained_by

    is_first = environment_rank() == 0
    with Console() as console:
        try:
            trained = trained_by(settings, console.report if is_first else ignore)
        except Interrupted as error:
            if is_first or isinstance(error, PeerLost):
                raise
            sys.exit(error.exit_code)  # process 0 says it
        if is_first:
            console.data(str(trained.final_model))


def _together(settings: TrainSettings) -> int:
    """Train in as many processes as were asked for, each on its own processors."""
    from journeyman.train.check_settings import require_usable
    from journeyman.train.parallel.affinity import assign_cpus
    from journeyman.train.parallel.group import environment_size
    from journeyman.train.parallel.launch import launch

    if environment_size() > 1:
        raise UsageError(
            "`--processes` was given to a process that torchrun has started",
            hint="leave out one of them",
        )
    require_usable(settings)
    found = assign_cpus(settings.processes)
    with Console() as console:
        console.report(Note(found.reason))
    return launch(command(replace(settings, processes=1)), found)


def _replay(folder: Path, console: Console) -> None:
    from journeyman.train.checkpoint.rerun import rerun

    found = rerun(folder, console.report)
    console.table(found.table())
    console.data(found.verdict())


def command(settings: TrainSettings) -> list[str]:
    """The command line of such a process."""
    text = msgspec.json.encode(settings, enc_hook=str).decode()
    return [sys.executable, "-m", __name__, text]


def main() -> NoReturn:
    """Train with the settings in the first argument."""
    settings = msgspec.json.decode(
        sys.argv[1], type=TrainSettings, dec_hook=lambda kind, value: kind(value)
    )
    sys.exit(guarded(lambda: act(settings), ("train",)))


if __name__ == "__main__":
    main()
