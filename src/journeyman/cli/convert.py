"""`journeyman convert`."""

from typing import Annotated

from cyclopts import Parameter

from journeyman.console import Console
from journeyman.settings import ConvertSettings


def convert(settings: Annotated[ConvertSettings, Parameter(name="*")] = ConvertSettings()) -> None:
    """From an adapter to a merged, checked and quantised GGUF."""
    from journeyman.convert.stage import convert as act

    with Console() as console:
        converted = act(settings, console.report)
        console.data(str(converted.gguf.path))
