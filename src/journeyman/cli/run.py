"""`journeyman run`."""

from typing import Annotated

from cyclopts import Parameter

from journeyman.console import Console
from journeyman.settings import RunSettings


def run(settings: Annotated[RunSettings, Parameter(name="*")]) -> None:
    """Run all stages in order, except those whose inputs have not changed."""
    from journeyman.pipeline import run as run_pipeline

    with Console() as console:
        run_pipeline(settings, console.report)
        console.data(str(settings.folder))
