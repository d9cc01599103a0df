"""One attack, and how it must end."""

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
    """Code that runs like an answer.

    It is held if `attack()` returns `refused` or the run ends with one of the failures in `ends`; a
    lie is held if its check fails. `limits` replace the usual ones. `short`: part of the short
    self-test.
    """

    group: Group
    name: str
    code: str
    ends: tuple[str, ...] = ()
    timeout_s: float = 5.0
    limits: dict[str, int] = {}
    short: bool = False


def refused(group: Group, bodies: dict[str, str], *, short: tuple[str, ...] = ()) -> list[Attack]:
    """Attacks made of function bodies. One that raises or returns nothing was refused."""
    return [
        Attack(group, name, _PRELUDE + textwrap.indent(body, "    "), short=name in short)
        for name, body in bodies.items()
    ]
