"""Hands a script over to journeyman, in this Python where it is installed, else in `venv/`.

Standard library only: it must run under any Python 3 before anything is installed.
"""

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def hand_over(command, defaults=()):
    """Run `journeyman COMMAND` with this script's arguments; each default only where not given."""
    arguments = sys.argv[1:]
    for flag, value in defaults:
        given = any(word == flag or word.startswith(flag + "=") for word in arguments)
        if not given:
            arguments = [flag, value, *arguments]
    if importlib.util.find_spec("journeyman") is not None:
        from journeyman.cli import main

        main([command, *arguments])
    _enter_venv()


def _enter_venv():
    python = ROOT / "venv" / "bin" / "python3"
    entered = os.environ.get("JOURNEYMAN_ENTERED_VENV") == "1"
    if python.exists() and not entered:
        os.environ["JOURNEYMAN_ENTERED_VENV"] = "1"
        os.execv(python, [str(python), *sys.argv])
    sys.stderr.write(
        f"error: journeyman is not installed for this Python ({sys.executable})\n"
        f"hint: run `make setup` in {ROOT}, then this command again\n"
    )
    raise SystemExit(4)
