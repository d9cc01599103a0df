"""`journeyman doctor`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from journeyman.console import Console
from journeyman.errors import DataRefused
from journeyman.settings import DoctorSettings


def doctor(
    file: Path,
    settings: Annotated[DoctorSettings, Parameter(name="*")] = DoctorSettings(),
) -> int:
    """Report what is wrong with a log and what would happen to each row.

    Exits with 0 if nothing is wrong, with 3 if a line is unusable or a finding is an error.

    Parameters
    ----------
    file
        Log of interactions.
    """
    from journeyman.prepare.doctor import examine_log, is_clean

    with Console() as console:
        examination = examine_log(file, settings, console.report)
        return 0 if is_clean(examination) else DataRefused.exit_code
