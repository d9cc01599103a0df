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
    """Every number of an evaluation, made again from what its result file stores.

    Ends with 0 for DEPLOY, 10 for ITERATE, 11 for ABORT and 12 for INVALID, which is also what a
    result is of which anything does not follow from its answers.

    Parameters
    ----------
    result
        Result file (JSON) of `journeyman evaluate`.
    """
    from journeyman.evaluate.verdict.verdict import EXIT_CODES
    from journeyman.evaluate.verify.verify import verify as act

    with Console() as console:
        found = act(result, settings, console.report)
        console.data(found.label)
    return EXIT_CODES[found.label]
