"""`journeyman demo`."""

from typing import Annotated

from cyclopts import Parameter

from journeyman.console import Console
from journeyman.settings import DemoSettings


def demo(settings: Annotated[DemoSettings, Parameter(name="*")] = DemoSettings()) -> None:
    """Run all stages on a small built-in model, in minutes."""
    from journeyman.pipeline import demo as run_demo

    with Console() as console:
        run_demo(settings, console.report)
        console.data(str(settings.folder))
