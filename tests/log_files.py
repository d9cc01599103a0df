"""Small logs in every format that is read, written by hand from the formats' documentation."""

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from journeyman.collect.formats.registry import format_named
from journeyman.collect.reading.row_result import RowResult, SkippedLogRow
from journeyman.files import LineFault
from journeyman.records import Interaction

FOLDER = Path(__file__).parent / "fixtures" / "formats"

FILES = {
    "journeyman.jsonl": "journeyman",
    "openai-chat.jsonl": "openai-chat",
    "chat-completions.jsonl": "chat-completions",
    "anthropic-messages.jsonl": "anthropic-messages",
    "sharegpt.json": "sharegpt",
    "alpaca.json": "alpaca",
    "prompt-completion.jsonl": "prompt-completion",
    "claude-code.jsonl": "claude-code",
    "llm-responses.sql": "llm-sqlite",
    "llm-turns.sql": "llm-sqlite",
    "otel-genai.jsonl": "otel-genai",
}
"""Each file's format."""


def log_file(name: str, folder: Path) -> Path:
    """The file of a name; SQL becomes a database in `folder`."""
    path = FOLDER / name
    return database(folder, path.read_text(encoding="utf-8")) if path.suffix == ".sql" else path


def database(folder: Path, sql: str) -> Path:
    """A new SQLite file of some statements."""
    path = folder / "logs.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(sql)
    return path


def items_of(path: Path, name: str, agent: str = "coder") -> list[RowResult]:
    """All items of a file, read in the format of a name."""
    return [item for row in format_named(name).read(path, agent) for item in row]


def interactions_of(path: Path, name: str) -> list[Interaction]:
    """The interactions of a file without faults."""
    items = items_of(path, name)
    assert not [item for item in items if isinstance(item, LineFault)]
    return [item for item in items if isinstance(item, Interaction)]


def only_item(folder: Path, name: str, line: str) -> RowResult:
    """What becomes of one row."""
    path = folder / "one.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    (item,) = items_of(path, name)
    return item


def reason_of(item: RowResult) -> str:
    """Why a row gives no interaction."""
    assert isinstance(item, LineFault | SkippedLogRow)
    return item.reason


def turns_of(item: Interaction) -> Sequence[tuple[str, str]]:
    """Role and content of what was sent."""
    return [(message.role, message.content) for message in item.sent]
