"""How often models were judged by the same test rows: each look has its price.

The ledger is `LOOKS/SHA256.jsonl`, one line a look, keyed by the test file's bytes; LOOKS is
`$JOURNEYMAN_LOOKS`, else a folder in the cache. It is only ever appended to. Judging the same model
in the same way again shows nothing new and is the same look.
Not covered: test rows that were read by a person, or judged on another machine.
"""

import datetime
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman.errors import MachineError
from journeyman.evaluate.records.evaluation import Arm, EvaluationPlan
from journeyman.files import LineFault, content_id, read_records
from journeyman.runs import cache_folder


class TestSetUse(Struct, frozen=True):
    """A model that was judged: its weights' sha256, what identifies the look, and how it ended."""

    key: str
    model_sha256: str
    label: str
    created_utc: str


def looks_folder() -> Path:
    """Where the ledgers lie."""
    given = os.environ.get("JOURNEYMAN_LOOKS")
    return Path(given).expanduser() if given else cache_folder() / "looks"


def look_key(plan: EvaluationPlan, arms: Sequence[Arm]) -> str:
    """Equal for equal models that are measured on the same rows in the same way."""
    sha256s = (arm.sha256 for arm in arms)
    return content_id(plan.prompts_sha256, str(plan.max_tokens), *sha256s)


def look_number(test_sha256: str, key: str) -> int:
    """Which look at these rows this one is, from 1; one that was taken before keeps its number."""
    keys = list(dict.fromkeys(look.key for look in _read(test_sha256)))
    return keys.index(key) + 1 if key in keys else len(keys) + 1


def record_look(test_sha256: str, key: str, *, model_sha256: str, label: str) -> None:
    """Append a look, once; it is on the disk when this returns."""
    path = _path(test_sha256)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    line = msgspec.json.encode(TestSetUse(key, model_sha256, label, now)) + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if all(look.key != key for look in _read(test_sha256)):
                # One write of one line: it is there whole or not at all.
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
    except OSError as error:
        raise MachineError(
            f"cannot write `{path}`: {error.strerror or error}",
            hint="check the permissions of the folder, or name another: JOURNEYMAN_LOOKS=FOLDER",
        ) from error


def _path(test_sha256: str) -> Path:
    return looks_folder() / f"{test_sha256}.jsonl"


def _read(test_sha256: str) -> list[TestSetUse]:
    path = _path(test_sha256)
    found = read_records(path, TestSetUse) if path.is_file() else []
    return [look for look in found if not isinstance(look, LineFault)]
