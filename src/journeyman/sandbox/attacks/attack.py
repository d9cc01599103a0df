"""One attack, and how it has to end."""

import textwrap
from typing import Literal

from msgspec import Struct

Group = Literal["files", "network", "kernel", "processes", "bombs", "endless", "floods", "lies"]

_PRELUDE = """
import ctypes, os, signal, socket, subprocess, sys, time
def libc():
    return ctypes.CDLL(None)
def attack():
    try:
        return body() or "refused"
    except (OSError, ValueError, MemoryError, AttributeError):
        return "refused"
def body():
"""


class Attack(Struct, frozen=True):
    """Code that is run as an answer would be.

    Held where `attack()` gives `refused`, or the run ends in one of `ends`; a lie is held where its
    check does not pass. `limits` are set lower than usual. `short`: part of the short self test.
    """

    group: Group
    name: str
    code: str
    ends: tuple[str, ...] = ()
    timeout_s: float = 5.0
    limits: dict[str, int] = {}
    short: bool = False


def refused(group: Group, bodies: dict[str, str], *, short: tuple[str, ...] = ()) -> list[Attack]:
    """Attacks from the bodies of functions: an error, or nothing given, is refused."""
    return [
        Attack(group, name, _PRELUDE + textwrap.indent(body, "    "), short=name in short)
        for name, body in bodies.items()
    ]
