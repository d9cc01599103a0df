"""`journeyman evaluate`."""

from typing import Annotated

from cyclopts import Parameter

from journeyman.console import Console
from journeyman.settings import EvaluateSettings


def evaluate(
    settings: Annotated[EvaluateSettings, Parameter(name="*")] = EvaluateSettings(),
) -> int:
    """Compare base and tuned model on held-out tasks and give a verdict."""
    from journeyman.evaluate.stage import evaluate as evaluate_models
    from journeyman.evaluate.verdict.verdict import EXIT_CODES

    with Console() as console:
        result = evaluate_models(settings, console.report)
        console.data(str(settings.output))
    return EXIT_CODES[result.verdict.label] if settings.exit_code == "verdict" else 0
