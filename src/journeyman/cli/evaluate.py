"""`journeyman evaluate`."""

from typing import Annotated

from cyclopts import Parameter

from journeyman.console import Console
from journeyman.settings import EvaluateSettings


def evaluate(
    settings: Annotated[EvaluateSettings, Parameter(name="*")] = EvaluateSettings(),
) -> None:
    """Base and tuned model on held-out tasks, and the verdict."""
    from journeyman.evaluate.stage import evaluate as act

    with Console() as console:
        act(settings, console.report)
        console.data(str(settings.output))
