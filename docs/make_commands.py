"""Writes docs/commands.md from the commands themselves, so that it can not drift from `--help`."""

import sys
from pathlib import Path

from journeyman.cli import application

PAGE = Path(__file__).parent / "commands.md"
INTRODUCTION = """<!-- Made by `make docs`; a test compares it with the commands. -->

"""


def commands() -> str:
    """Every command with its flags, their help and their defaults, as Markdown."""
    return INTRODUCTION + application([]).generate_docs(output_format="markdown").rstrip() + "\n"


if __name__ == "__main__":
    if "--show" in sys.argv:
        sys.stdout.write(commands())
    else:
        PAGE.write_text(commands(), encoding="utf-8")
