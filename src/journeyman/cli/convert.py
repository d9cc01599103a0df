"""`journeyman convert`."""

from typing import Annotated

from cyclopts import Parameter

from journeyman.console import Console
from journeyman.settings import ConvertSettings


def convert(settings: Annotated[ConvertSettings, Parameter(name="*")] = ConvertSettings()) -> None:
    """Merge an adapter into its base model, quantise it to GGUF and check the result."""
    from journeyman.convert.stage import convert as convert_adapter

    with Console() as console:
        converted = convert_adapter(settings, console.report)
        console.data(str(converted.gguf.path))
