"""`journeyman collect`: interactions from logs of other programs or from Python packages."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from journeyman.cli import COMMANDS
from journeyman.console import Console
from journeyman.settings import CollectLogSettings, CollectPythonSettings

app = App(name="collect", help=COMMANDS["collect"])


@app.command
def log(
    files: Annotated[list[Path], Parameter(help="Log files; see `journeyman collect formats`.")],
    /,
    *,
    settings: Annotated[CollectLogSettings, Parameter(name="*")] = CollectLogSettings(),
) -> None:
    """Collect interactions from logs of other programs."""
    from journeyman.collect.log import collect_log

    with Console() as console:
        collected = collect_log(files, settings, console.report)
        console.data(str(collected.path))


@app.command
def formats() -> None:
    """List the formats that `journeyman collect log` reads."""
    from journeyman.collect.formats.registry import formats_table

    with Console() as console:
        console.table(formats_table())


@app.command
def python(
    packages: Annotated[list[str], Parameter(help="Installed packages, by import name.")],
    /,
    *,
    settings: Annotated[CollectPythonSettings, Parameter(name="*")] = CollectPythonSettings(),
) -> None:
    """Collect documented functions of installed Python packages, with doctest checks."""
    from journeyman.collect.python.stage import collect_python

    with Console() as console:
        collected = collect_python(packages, settings, console.report)
        console.data(str(collected.path))
