"""`journeyman plan`."""

from typing import Annotated

from cyclopts import Parameter

from journeyman.cli.presets import ConfigFlag, PresetFlag
from journeyman.console import Console
from journeyman.errors import MachineError
from journeyman.settings import TrainSettings


def plan(
    settings: Annotated[TrainSettings, Parameter(name="*")] = TrainSettings(),
    *,
    serve_base: Annotated[
        str | None, Parameter(help="Model that you serve now, to compare with the base model.")
    ] = None,
    answer_s: Annotated[
        float, Parameter(help="Longest acceptable time for one answer, in seconds.")
    ] = 12.0,
    json: Annotated[
        bool, Parameter(negative=(), help="Print the plan as JSON instead of a table.")
    ] = False,
    config: ConfigFlag = None,
    preset: PresetFlag = "given",
) -> int:
    """Forecast a training run on this machine and warn about mistakes.

    Takes the flags of `train`. Exits with 0, or with 4 if the run cannot be done on this machine.
    """
    del config, preset  # already read by `journeyman.cli.presets`
    import msgspec

    from journeyman.train.forecast.stage import plan as plan_run
    from journeyman.train.forecast.tables import cheaper_runs, remarks, summary

    with Console() as console:
        forecast = plan_run(settings, console.report, serve_base=serve_base, goal_s=answer_s)
        if json:
            console.data(msgspec.json.format(msgspec.json.encode(forecast)).decode())
        else:
            console.table(summary(forecast))
        for event in remarks(forecast):
            console.report(event)
        if forecast.alternatives and not json:
            console.table(cheaper_runs(forecast))
        return 0 if forecast.can_run else MachineError.exit_code
