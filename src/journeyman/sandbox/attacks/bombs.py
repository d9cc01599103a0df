"""Attacks that exhaust resources. Each must end with an expected failure within its time limit."""

import textwrap

from journeyman.sandbox.attacks.attack import Attack, refused

MIB = 1024 * 1024

_FILL = """
written = n = 0
while True:
    with open('{folder}/%d' % n, 'wb') as stream:
        for _ in range(8):
            written += stream.write(bytes(1024 * 1024))
            if written > 300 * 1024 * 1024: return 'wrote 300 MiB'
    n += 1
"""
_EACH_HOLDS = """
import os, time
for _ in range(4):
    if not os.fork():
        x = b'x' * (64 * 1024 * 1024)
        time.sleep(30)
time.sleep(30)
"""


def _stopped(
    group: str, ends: tuple[str, ...], timeout_s: float, codes: dict[str, str]
) -> list[Attack]:
    """Attacks that must be stopped, each with one of the failures in `ends`."""
    return [
        Attack(group, name, textwrap.dedent(code), ends, timeout_s)  # type: ignore[arg-type]
        for name, code in codes.items()
    ]


BOMBS: list[Attack] = [
    *refused(
        "bombs",
        {
            "forks": (
                "n = 0\ntry:\n    for n in range(200):\n        if not os.fork(): signal.pause()\n"
                "except OSError: return '' if n < 64 else n\nreturn n"
            ),
            "starts threads": (
                "import threading\nheld = threading.Event()\nn = 0\ntry:\n"
                "    for n in range(200): threading.Thread(target=held.wait, daemon=True).start()\n"
                "except RuntimeError: return '' if n < 64 else n\nreturn n"
            ),
            "opens files": "for n in range(200): os.dup(0)\nreturn n",
            "writes one large file": "open('x', 'wb').write(bytes(17 << 20))\nreturn 'written'",
            "maps memory": "import mmap\nmmap.mmap(-1, 2 << 30)\nreturn 'mapped'",
            "takes memory": "return len(bytearray(2 << 30))",
        },
        short=("forks", "takes memory"),
    ),
    *(
        Attack(a.group, a.name, a.code, ends=("output",), timeout_s=10.0)
        for a in refused(
            "bombs",
            {
                "fills its folder": _FILL.replace("{folder}", "."),
                "fills /tmp": _FILL.replace("{folder}", "/tmp"),  # noqa: S108
                "fills /dev/shm": _FILL.replace("{folder}", "/dev/shm"),  # noqa: S108
            },
        )
    ),
    Attack(
        "bombs",
        "takes memory in many processes",
        _EACH_HOLDS,
        ends=("memory",),
        timeout_s=20.0,
        limits={"total_memory_bytes": 160 * MIB},
    ),
    *_stopped("bombs", ("error",), 5.0, {"recurses": "def f(): f()\nf()"}),
    *_stopped(
        "bombs",
        ("exit", "memory", "timeout", "error"),
        2.0,
        {
            "overflows the stack": (
                "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(x): return [f(x)]\nf(1)"
            )
        },
    ),
]

ENDLESS: list[Attack] = _stopped(
    "endless",
    ("timeout", "memory"),
    1.0,
    {
        "loops": "while True: pass",
        "sleeps": "import time\ntime.sleep(60)",
        "loops in C": "import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
        "computes a large power": "x = 10 ** 10 ** 9",
        "loops and ignores signals": (
            "import signal\nfor n in (1, 2, 14, 15): signal.signal(n, signal.SIG_IGN)\n"
            "while True: pass"
        ),
        "waits for input that never comes": "import os\nr, w = os.pipe()\nos.read(r, 1)",
        "stops itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    },
) + _stopped(
    "endless",
    ("timeout", "output"),
    1.0,
    {"makes files": "n = 0\nwhile True:\n    open(f'{n}', 'w').close()\n    n += 1"},
)

FLOODS: list[Attack] = _stopped(
    "floods",
    ("output", "timeout"),
    2.0,
    {
        "prints lines": "while True: print('x' * 1000)",
        "prints without a newline": "while True: print('x' * 1000, end='')",
        "writes past the capture": "import os\nwhile True: os.write(1, b'x' * 1000)",
        "writes errors": "import os\nwhile True: os.write(2, b'\\n')",
        "writes bytes that are not text": (
            "import os\nwhile True: os.write(1, b'\\xff\\x1b[2J</script>')"
        ),
        "floods the result": (
            "import os\nwhile True:\n    for n in range(3, 64):\n"
            "        try: os.write(n, b'x' * 65536)\n        except OSError: pass"
        ),
    },
)
FLOODS[-1] = Attack(
    "floods", FLOODS[-1].name, FLOODS[-1].code, ("output", "sandbox", "timeout"), 2.0
)
