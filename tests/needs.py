"""Reasons to skip a test, and what is said of them in the end.

A reason is either a property of the machine (`this machine has no AVX2`), which nothing installs,
or something missing, with the command that brings it. With `JOURNEYMAN_NO_SKIPS=1`, as in
`.ci/run`, a skip of the second kind fails the session.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable

import pytest

PACKAGES = "sudo make packages"
LLAMA_CPP = "make test"
_THIS_MACHINE = "this machine "
_COMMAND = re.compile(r"`([^`]+)` installs it$")
_FORBIDDEN = "JOURNEYMAN_NO_SKIPS"


def this_machine(has: str) -> str:
    """The reason of a test that this machine cannot run: it `has no GPU`, `has no real log`."""
    return f"{_THIS_MACHINE}{has}"


def missing(what: str, command: str = PACKAGES) -> str:
    """The reason of a test that could run here, with the command that installs what it needs."""
    return f"{what} is missing: `{command}` installs it"


def reason_of(report: pytest.TestReport) -> str:
    """Why a test was skipped."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def forbidden(reasons: Iterable[str]) -> list[str]:
    """The reasons that fail the session: under JOURNEYMAN_NO_SKIPS, those that can be mended."""
    if os.environ.get(_FORBIDDEN) != "1":
        return []
    return sorted({reason for reason in reasons if not reason.startswith(_THIS_MACHINE)})


def summary(reasons: Iterable[str]) -> list[str]:
    """What was skipped, how often, and the one command that brings all that can be had."""
    counts = Counter(reasons)
    lines = [f"{count:>5}  {reason}" for reason, count in counts.most_common()]
    found = (match[1] for reason in counts if (match := _COMMAND.search(reason)))
    commands = " && ".join(sorted(set(found), reverse=True))
    return [*lines, f"to run them: `{commands}`"] if commands else lines
