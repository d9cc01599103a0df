"""`journeyman prepare`."""

from typing import Annotated

from cyclopts import Parameter

from journeyman.console import Console
from journeyman.settings import PrepareSettings


def prepare(settings: Annotated[PrepareSettings, Parameter(name="*")] = PrepareSettings()) -> None:
    """Turn a log of interactions into train, val and test splits."""
    from journeyman.prepare.stage import prepare as prepare_dataset

    with Console() as console:
        prepared = prepare_dataset(settings, console.report)
        console.data(str(prepared.folder))
