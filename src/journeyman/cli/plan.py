"""`journeyman plan`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from journeyman.console import Console
from journeyman.errors import MachineError
from journeyman.settings import Preset, TrainSettings


def plan(
    settings: Annotated[TrainSettings, Parameter(name="*")] = TrainSettings(),
    *,
    serve_base: Annotated[
        str | None, Parameter(help="The model that you serve, to compare with the base.")
    ] = None,
    answer_s: Annotated[float, Parameter(help="Goal for one answer in seconds.")] = 12.0,
    json: Annotated[
        bool, Parameter(negative=(), help="Write the plan as JSON instead of a table.")
    ] = False,
    config: Annotated[
        Path | None,
        Parameter(help="JSON file with defaults, as training/configs/lora_config.json."),
    ] = None,
    preset: Annotated[
        Preset,
        Parameter(help="Defaults as given, or those that the evidence recommends."),
    ] = "given",
) -> int:
    """What `train` would take on this machine, and the mistakes that can be seen before it.

    Takes the flags of `train`. Ends with 0, and with 4 where the run cannot be done here.
    """
    del config, preset  # `journeyman.cli.presets` has read them, before the flags were parsed
    import msgspec

    from journeyman.train.forecast.stage import plan as act
    from journeyman.train.forecast.tables import cheaper_runs, remarks, summary

    with Console() as console:
        made = act(settings, console.report, serve_base=serve_base, goal_s=answer_s)
        if json:
            console.data(msgspec.json.format(msgspec.json.encode(made)).decode())
        else:
            console.table(summary(made))
        for event in remarks(made):
            console.report(event)
        if made.alternatives and not json:
            console.table(cheaper_runs(made))
        return 0 if made.can_run else MachineError.exit_code
