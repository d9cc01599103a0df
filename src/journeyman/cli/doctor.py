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
    """What is wrong with a log, and what would become of each row; nothing is written.

    Ends with 0 where nothing is wrong, with 3 where a line cannot be used or an error was found.

    Parameters
    ----------
    file
        Log of interactions.
    """
    from journeyman.prepare.doctor import examine_log, is_clean

    with Console() as console:
        found = examine_log(file, settings, console.report)
        return 0 if is_clean(found) else DataRefused.exit_code
