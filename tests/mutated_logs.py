"""Logs with damaged bytes, and what a reader of another kind says of each of their lines."""

import contextlib
import json
import random
from collections.abc import Mapping
from pathlib import Path

from journeyman.collect.detect import detect
from journeyman.data.interactions import read_interactions
from journeyman.errors import JourneymanError
from journeyman.records import Interaction
from tests.logs import log_row

TOKENS = (
    *(b"\x00", b"\xef\xbb\xbf", b"\xff\xfe", b"\xe2\x80\xa8", b"\xc3", b"\r\n", b"\n", b"\r"),
    *(b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"-0", b"\\ud800", b"\\u0000", b"\\u001b"),
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"[" * 70, b"{}\n"),
    *(b'"output": "another",', b'"role": "x",', b'"task": {"description": "twin"},', b" "),
)
"""What is put between the bytes: the traps of JSON, and keys that then stand twice."""


def rich_log() -> bytes:
    """Six lines of the user's format; between them they have every optional field."""
    sent = [
        {"role": "system", "content": 'You are a "coder".\nBe brief.'},
        {"role": "user", "content": "Add \\ and / and \u00e9 \U0001f600."},
    ]
    call = {"id": "c1", "name": "read", "arguments": {"path": "a.py"}}
    rows = [
        log_row(),
        log_row(id="a1", execution__input_messages=sent, execution__finish_reason="stop"),
        log_row(execution__output=None, execution__status="failure"),
        log_row(execution__output="```python\nx = 1\n```\n", execution__duration_ms=1500.5),
        log_row(execution__output="", execution__tool_calls=[call], agent__role=" Tester "),
        log_row(timestamp="2025-10-01T12:00:00Z", context={"conversation": "c"}, unknown=[1, {}]),
    ]
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The same bytes after one to three damages."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data) + 1)
        end = at + chance.choice((1, 1, 2, 8, 60))
        match chance.randrange(6):
            case 0:
                data = data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]
            case 1:
                data = data[:at] + data[end:]
            case 2:
                data = data[:end] + data[at:]
            case 3:
                data = data[:at]
            case _:
                data = data[:at] + chance.choice(TOKENS) + data[at:]
    return data


def check_read(path: Path, data: bytes) -> str:
    """Read a log and hold each row against the file's own bytes. Gives what became of the file.

    Every line with anything on it must give one row or one fault, in order, and every row what
    Python's own strict reader says.
    """
    path.write_bytes(data)
    try:
        found = list(read_interactions(path))
    except JourneymanError:
        return "refused"
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    spoken = [number for number, line in enumerate(lines, start=1) if line.strip(b" \t\r\n")]
    assert [one.line for one in found] == spoken
    rows = [one for one in found if isinstance(one, Interaction)]
    for row in rows:
        _check_row(row, _strict(lines[row.line - 1]))
    return "read whole" if len(rows) == len(found) else "read in part"


def _check_row(row: Interaction, value: Mapping[str, dict[str, object]]) -> None:
    execution = value["execution"]
    assert row.task == value["task"]["description"]
    assert row.agent == str(value["agent"]["role"]).strip().casefold()
    assert row.answer == execution.get("output")
    assert row.finish_reason == execution.get("finish_reason")
    turns = execution.get("input_messages") or []
    assert isinstance(turns, list)
    assert [one.content for one in row.sent] == [turn.get("content") or "" for turn in turns]


def _strict(line: bytes) -> dict[str, dict[str, object]]:
    """Python's reader, without what it allows beyond JSON; raises where that stands there."""
    found: dict[str, dict[str, object]] = json.loads(
        line.decode("utf-8"),
        object_pairs_hook=_once,
        parse_constant=_never,
        # Integers of more than 4300 digits are refused by Python, not by JSON.
        parse_int=str,
    )
    return found


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    assert len({name for name, _ in pairs}) == len(pairs), pairs
    return dict(pairs)


def _never(text: str) -> float:
    raise AssertionError(text)


def import_any(path: Path, data: bytes) -> str:
    """Read a file of any format as `collect log` does. Only the user's errors may come of it."""
    path.write_bytes(data)
    with contextlib.suppress(JourneymanError):
        items = [item for row in detect(path).read(path, "coder") for item in row]
        return "read" if items else "empty"
    return "refused"
