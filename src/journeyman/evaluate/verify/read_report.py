"""The evaluation that a result file holds, of this schema or of the one before."""

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from journeyman.errors import IntegrityError, UsageError
from journeyman.evaluate.records.evaluation import SCHEMA, Evaluation
from journeyman.evaluate.records.scores import Item

SCHEMA_BEFORE = "evaluation/2"

Json = dict[str, Any]


class _Header(Struct):
    schema: str


def read_report(path: Path) -> Evaluation:
    """The evaluation in a file. One of the schema before is converted but keeps its schema's name.

    Raises UsageError if there is no file, and IntegrityError if it holds no evaluation.
    """
    if not path.is_file():
        raise UsageError(f"`{path}` is not a file", hint="name the JSON that `evaluate` wrote")
    data = path.read_bytes()
    try:
        schema = msgspec.json.decode(data, type=_Header).schema
        if schema == SCHEMA:
            return msgspec.json.decode(data, type=Evaluation)
        if schema == SCHEMA_BEFORE:
            return _converted(msgspec.json.decode(data, type=Json))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(
            f"`{path}` is not an evaluation, or it is damaged: {error}", hint="evaluate again"
        ) from error
    raise IntegrityError(
        f"`{path}` has schema `{schema}`, this version reads `{SCHEMA}` and `{SCHEMA_BEFORE}`",
        hint="verify it with the version that wrote it, or evaluate again",
    )


def _converted(report: Json) -> Evaluation:
    """A report of the schema before, in which answers were not in an `item` of their own."""
    suites = _records(report, "suites")
    for holder in (report, *suites):
        holder["items"] = _with_items(_records(holder, "items"))
    timings = _with_items(_records(report, "timings"))
    return msgspec.convert(report | {"suites": suites, "timings": timings}, Evaluation)


def _records(holder: Json, name: str) -> list[Json]:
    return msgspec.convert(holder.get(name, []), list[Json])


def _with_items(records: list[Json]) -> list[Json]:
    fields = set(Item.__struct_fields__)
    return [
        {name: value for name, value in one.items() if name not in fields}
        | {"item": {name: value for name, value in one.items() if name in fields}}
        for one in records
    ]
