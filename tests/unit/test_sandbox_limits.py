"""What a candidate may use up: each bomb ends in its own word, in time, and the host goes on."""

import textwrap

import pytest

from journeyman.sandbox.checks import run_check
from tests.sandboxes import DOUBLES, RIGHT, check, said, sandbox

MIB = 1024 * 1024

COUNTED = {
    "processes": """
        import os, signal
        def attack():
            children = []
            try:
                for _ in range(200):
                    child = os.fork()
                    if not child:
                        signal.pause()
                    children.append(child)
            except OSError:
                return 'refused' if len(children) < 32 else len(children)
    """,
    "threads": """
        import threading
        def attack():
            held = threading.Event()
            try:
                for n in range(200):
                    threading.Thread(target=held.wait, daemon=True).start()
            except RuntimeError:
                return 'refused' if n < 32 else n
    """,
    "open files": """
        import os
        def attack():
            try:
                files = [os.open('/dev/null', os.O_RDONLY) for _ in range(200)]
            except OSError:
                return 'refused'
    """,
    "one file": """
        def attack():
            try:
                open('/work/x', 'wb').write(bytes(17 * 1024 * 1024))
            except OSError:
                return 'refused'
    """,
}
FILLED = """
    import os
    def attack():
        written = 0
        try:
            for n in range(40):
                with open(f'{folder}/{{n}}', 'wb') as stream:
                    written += stream.write(bytes(8 * 1024 * 1024))
        except OSError:
            return 'refused' if written <= 64 * 1024 * 1024 else written
"""
ENDLESS = {
    "a loop": "while True: pass",
    "a sleep": "import time\ntime.sleep(60)",
    "a loop in C": "import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
    "a large power": "x = 10 ** 10 ** 9",
    "a loop that ignores signals": (
        "import signal\nfor n in (1, 2, 14, 15): signal.signal(n, signal.SIG_IGN)\nwhile True: pass"
    ),
    "files without end": "n = 0\nwhile True:\n    open(f'/work/{n}', 'w').close()\n    n += 1",
    "a wait for input that never comes": "import os\nr, w = os.pipe()\nos.read(r, 1)",
}
FLOODS = {
    "lines": "while True: print('x' * 1000)",
    "past the capture": "import os\nwhile True: os.write(1, b'x' * 1000)",
    "errors": "import os\nwhile True: os.write(2, b'\\n')",
    "bytes that are no text": "import os\nwhile True: os.write(1, b'\\xff\\x1b[2J</script>')",
}


@pytest.mark.parametrize("code", COUNTED.values(), ids=COUNTED)
def test_a_bomb_is_bounded(code: str) -> None:
    result = said(textwrap.dedent(code))
    assert result.passed, result


@pytest.mark.parametrize("folder", ["/work", "/tmp", "/dev/shm"])
def test_a_scratch_folder_cannot_be_filled_beyond_its_size(folder: str) -> None:
    result = said(textwrap.dedent(FILLED).format(folder=folder))
    assert result.passed, result


@pytest.mark.parametrize("code", ENDLESS.values(), ids=ENDLESS)
def test_an_endless_answer_is_a_timeout(code: str) -> None:
    result = check(code, timeout_s=1.0)
    assert (result.passed, result.failure) in {(False, "timeout"), (False, "memory")}


def test_a_flood_outside_of_the_capture_ends_as_output_and_keeps_no_more_than_the_cap() -> None:
    for code in FLOODS.values():
        result = check(code, timeout_s=2.0)
        assert result.failure in {"output", "timeout"}
        assert len(result.detail) < 1000


def test_too_much_memory_in_one_process_is_memory() -> None:
    assert check("x = bytearray(2 * 1024 ** 3)").failure == "memory"


def test_too_much_memory_in_all_processes_together_is_memory() -> None:
    code = """
        import os, time
        for _ in range(4):
            if not os.fork():
                x = b'x' * (64 * 1024 * 1024)
                time.sleep(30)
        time.sleep(30)
    """
    small = sandbox(total_memory_bytes=160 * MIB)
    result = run_check(small, textwrap.dedent(code), DOUBLES, timeout_s=20)
    assert result.failure == "memory"


def test_a_deep_recursion_is_an_error() -> None:
    result = check("def f(): f()\nf()\n")
    assert (result.failure, "RecursionError" in result.detail) == ("error", True)


def test_a_stack_that_overflows_does_not_pass() -> None:
    code = "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(x): return [f(x)]\nmap(f, f(1))"
    assert check(code, timeout_s=2.0).failure in {"exit", "memory", "timeout", "error"}


def test_a_message_with_terminal_commands_is_made_harmless() -> None:
    detail = check("raise ValueError('\\x1b[2J\\n\\x07 </script>')").detail
    assert detail.isprintable()
    assert "ValueError" in detail


def test_a_right_answer_still_passes_after_all_this() -> None:
    assert check(RIGHT).passed
