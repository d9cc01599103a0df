"""`journeyman evaluate`."""

from typing import Annotated

from cyclopts import Parameter

from journeyman.console import Console
from journeyman.settings import EvaluateSettings


def evaluate(
    settings: Annotated[EvaluateSettings, Parameter(name="*")] = EvaluateSettings(),
) -> int:
    """Base and tuned model on held-out tasks, and the verdict."""
    from journeyman.evaluate.stage import evaluate as act
    from journeyman.evaluate.verdict.verdict import EXIT_CODES

    with Console() as console:
        result = act(settings, console.report)
        console.data(str(settings.output))
    return EXIT_CODES[result.verdict.label] if settings.exit_code == "verdict" else 0
