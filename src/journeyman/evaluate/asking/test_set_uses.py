"""How often models were judged by the same test rows: every further use has its price.

The ledger is `LOOKS/SHA256.jsonl`, one line per use, named by the test file's sha256. LOOKS is
`$JOURNEYMAN_LOOKS`, otherwise a folder in the cache. Lines are only ever appended. Judging the same
models in the same way again shows nothing new and is the same use.
Not covered: test rows that a person has read, or that were used on another machine.
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
    """One model that was judged: the key of the use, the weights' sha256, and the verdict."""

    key: str
    model_sha256: str
    label: str
    created_utc: str


def uses_folder() -> Path:
    """The folder of the ledgers."""
    given = os.environ.get("JOURNEYMAN_LOOKS")
    return Path(given).expanduser() if given else cache_folder() / "looks"


def use_key(plan: EvaluationPlan, arms: Sequence[Arm]) -> str:
    """Equal for equal models that are measured on the same rows in the same way."""
    sha256s = (arm.sha256 for arm in arms)
    return content_id(plan.prompts_sha256, str(plan.max_tokens), *sha256s)


def use_number(test_sha256: str, key: str) -> int:
    """Which use of these rows this one is, from 1; a use that is in the ledger keeps its number."""
    keys = list(dict.fromkeys(use.key for use in _read(test_sha256)))
    return keys.index(key) + 1 if key in keys else len(keys) + 1


def record_use(test_sha256: str, key: str, *, model_sha256: str, label: str) -> None:
    """Append a use, unless it is in the ledger; it is on disk when this returns."""
    path = _path(test_sha256)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    line = msgspec.json.encode(TestSetUse(key, model_sha256, label, now)) + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if all(use.key != key for use in _read(test_sha256)):
                # One write of one line: the file gets all of it or nothing.
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
    except OSError as error:
        raise MachineError(
            f"cannot write `{path}`: {error.strerror or error}",
            hint="check the folder's permissions, or name another: JOURNEYMAN_LOOKS=FOLDER",
        ) from error


def _path(test_sha256: str) -> Path:
    return uses_folder() / f"{test_sha256}.jsonl"


def _read(test_sha256: str) -> list[TestSetUse]:
    path = _path(test_sha256)
    lines = read_records(path, TestSetUse) if path.is_file() else []
    return [use for use in lines if not isinstance(use, LineFault)]
