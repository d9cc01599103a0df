"""`journeyman verify`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from journeyman.console import Console
from journeyman.settings import VerifySettings


def verify(
    result: Path,
    settings: Annotated[VerifySettings, Parameter(name="*")] = VerifySettings(),
) -> int:
    """Recompute every number of an evaluation from its report.

    Exits with 0 for DEPLOY, 10 for ITERATE, 11 for ABORT and 12 for INVALID. A report with a number
    that does not follow from its stored answers is INVALID.

    Parameters
    ----------
    result
        Result file (JSON) of `journeyman evaluate`.
    """
    from journeyman.evaluate.verdict.verdict import EXIT_CODES
    from journeyman.evaluate.verify.verify import verify as verify_report

    with Console() as console:
        verdict = verify_report(result, settings, console.report)
        console.data(verdict.label)
    return EXIT_CODES[verdict.label]
