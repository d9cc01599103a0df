"""Runs a journeyman command in this Python if journeyman is installed in it, else in `venv/`.

Standard library only: this must run in any Python 3 before anything is installed.
"""

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run_command(command, defaults=()):
    """Run `journeyman COMMAND` with the arguments of this script, then the unset defaults."""
    arguments = sys.argv[1:]
    for flag, value in defaults:
        given = any(word == flag or word.startswith(flag + "=") for word in arguments)
        if not given:
            arguments = [flag, value, *arguments]
    if importlib.util.find_spec("journeyman") is not None:
        from journeyman.cli import main

        main([command, *arguments])
    _restart_in_venv()


def _restart_in_venv():
    python = ROOT / "venv" / "bin" / "python3"
    entered = os.environ.get("JOURNEYMAN_ENTERED_VENV") == "1"
    if python.exists() and not entered:
        os.environ["JOURNEYMAN_ENTERED_VENV"] = "1"
        os.execv(python, [str(python), *sys.argv])
    sys.stderr.write(
        f"error: journeyman is not installed in this Python (`{sys.executable}`)\n"
        f"hint: run `make setup` in `{ROOT}`, then this command again\n"
    )
    raise SystemExit(4)
