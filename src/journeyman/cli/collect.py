"""`journeyman collect`: interactions from other places."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from journeyman.console import Console
from journeyman.settings import CollectLogSettings, CollectPythonSettings

app = App(name="collect", help="From logs or documented Python packages to interactions.")


@app.command
def log(
    files: Annotated[list[Path], Parameter(help="Logs; `journeyman collect formats` lists them.")],
    /,
    *,
    settings: Annotated[CollectLogSettings, Parameter(name="*")] = CollectLogSettings(),
) -> None:
    """From logs of other programs to interactions in this project's format."""
    from journeyman.collect.log import collect_log

    with Console() as console:
        collected = collect_log(files, settings, console.report)
        console.data(str(collected.path))


@app.command
def formats() -> None:
    """List the formats that `journeyman collect log` reads."""
    from journeyman.collect.formats.detect import formats_table

    with Console() as console:
        console.table(formats_table())


@app.command
def python(
    packages: Annotated[list[str], Parameter(help="Installed packages, by import name.")],
    /,
    *,
    settings: Annotated[CollectPythonSettings, Parameter(name="*")] = CollectPythonSettings(),
) -> None:
    """From documented functions of installed packages to interactions with doctest checks."""
    from journeyman.collect.python.package import collect_python

    with Console() as console:
        collected = collect_python(packages, settings, console.report)
        console.data(str(collected.path))
