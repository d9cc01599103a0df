"""`journeyman prepare`."""

from typing import Annotated

from cyclopts import Parameter

from journeyman.console import Console
from journeyman.settings import PrepareSettings


def prepare(settings: Annotated[PrepareSettings, Parameter(name="*")] = PrepareSettings()) -> None:
    """From a log of interactions to train, val and test splits."""
    from journeyman.prepare.stage import prepare as act

    with Console() as console:
        prepared = act(settings, console.report)
        console.data(str(prepared.folder))
