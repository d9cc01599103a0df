"""`journeyman collect`: interactions from other places."""

from typing import Annotated

from cyclopts import App, Parameter

from journeyman.console import Console
from journeyman.settings import CollectPythonSettings

app = App(name="collect", help="From documented Python packages to interactions.")


@app.command
def python(
    packages: Annotated[list[str], Parameter(help="Installed packages, by import name.")],
    /,
    *,
    settings: Annotated[CollectPythonSettings, Parameter(name="*")] = CollectPythonSettings(),
) -> None:
    """From documented functions of installed packages to interactions with doctest checks."""
    from journeyman.collect.python_package import collect_python

    with Console() as console:
        collected = collect_python(packages, settings, console.report)
        console.data(str(collected.path))
