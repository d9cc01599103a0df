"""`journeyman demo`."""

from typing import Annotated

from cyclopts import Parameter

from journeyman.console import Console
from journeyman.settings import DemoSettings


def demo(settings: Annotated[DemoSettings, Parameter(name="*")] = DemoSettings()) -> None:
    """From documented functions to a verdict on an embedded model, in minutes."""
    from journeyman.pipeline import demo as act

    with Console() as console:
        act(settings, console.report)
        console.data(str(settings.folder))
