"""`journeyman train`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from journeyman.console import Console
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
) -> None:
    """From a dataset and a base model to a LoRA adapter."""
    del config, preset  # `journeyman.cli.presets` has read them, before the flags were parsed
    if watch is not None:
        from journeyman.cli.watch import watch as follow

        with Console() as console:
            follow(watch, console)
        return
    from journeyman.train.stage import train as act

    with Console() as console:
        if replay is not None:
            _replay(replay, console)
            return
        trained = act(settings, console.report)
        console.data(str(trained.final_model))


def _replay(folder: Path, console: Console) -> None:
    from journeyman.train.rerun import rerun

    found = rerun(folder, console.report)
    console.table(found.table())
    console.data(found.verdict())
