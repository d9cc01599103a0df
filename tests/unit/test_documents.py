"""What the pages say is what the commands do."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from journeyman.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_command_reference_is_up_to_date() -> None:
    # In a process of its own: the parser names itself after the program that runs it.
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "make_commands.py", "--show"],
        capture_output=True,
        text=True,
        check=True,
    )
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert page == done.stdout, "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_flag_that_a_page_names_exists(page: Path) -> None:
    reference = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    for command, rest in re.findall(r"`?journeyman ([a-z-]+)((?: [^`\n]*)?)", text):
        if command in COMMANDS:
            unknown = [x for x in re.findall(r"(--[a-z-]+)", rest) if x not in reference]
            assert unknown == [], f"{page.name}: journeyman {command}"
