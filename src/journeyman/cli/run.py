"""`journeyman run`."""

from typing import Annotated

from cyclopts import Parameter

from journeyman.console import Console
from journeyman.settings import RunSettings


def run(settings: Annotated[RunSettings, Parameter(name="*")]) -> None:
    """All stages in order; only those whose inputs changed."""
    from journeyman.pipeline import run as act

    with Console() as console:
        act(settings, console.report)
        console.data(str(settings.folder))
