"""Decode rows of strict JSON to typed values, or say what is wrong with a row.

A lenient reader accepts NaN, duplicate keys and 1e999. msgspec refuses NaN, and 1e999 in known
fields, but not duplicate keys; Python's reader finds all three and names them.
"""

import json
import math
import re
from typing import TypeVar

import msgspec

from journeyman.files import LineFault, NumberedLine

T = TypeVar("T")

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f]")
_ALLOWED = bytes(byte for byte in range(256) if not _CONTROLS.match(chr(byte)))
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class _Fault(ValueError):
    """A fault in a row, in words for the user."""


def decoded(row: NumberedLine, decoder: msgspec.json.Decoder[T]) -> T | LineFault:
    """The value of a row, checked against its type, or the fault with its field."""
    try:
        value = decoder.decode(row.data)
    except msgspec.ValidationError as error:
        return LineFault(row.line, fault_in(row.data) or words(error))
    except msgspec.DecodeError as error:
        reason = fault_in(row.data) or surrogate_in(row.data)
        return LineFault(row.line, reason or f"not JSON: {words(error)}")
    reason = fault_in(row.data)
    return LineFault(row.line, reason) if reason else value


def at_the_tail(fault: LineFault) -> LineFault:
    """The fault of a last line without a line end: torn, if half a line could have this fault."""
    if not fault.reason.startswith(("not JSON", "not UTF-8", "half", "holds a NUL")):
        return fault
    reason = "half-written: the file ends in the middle of this line"
    return LineFault(fault.line, reason, torn=True)


def words(error: Exception) -> str:
    """A decoder's message in lower case, to be part of a sentence."""
    return _lower(str(error))


def control_in(text: str) -> str | None:
    """The first control character that a text should not contain, as `\\x1b`, or None."""
    # Most texts have none, and removing all allowed bytes is the fastest way to see it.
    if not text.encode("utf-8", "replace").translate(None, _ALLOWED):
        return None
    return f"\\x{ord(min(_CONTROLS.findall(text))):02x}"


def fault_in(data: bytes) -> str | None:
    """The fault of one JSON text, or None: syntax, NaN, 1e999, a duplicate key.

    data: UTF-8, nested at most `journeyman.files.NESTING_LIMIT` deep. Half of a surrogate pair is
    not a fault here (Python's reader accepts it); `surrogate_in` finds it.
    """
    try:
        _READER.decode(data.decode(json.detect_encoding(data), "surrogatepass"))
    except _Fault as found:
        return str(found)
    except json.JSONDecodeError as error:
        return f"not JSON: {_lower(error.msg)} at byte {_byte_at(data, error.pos)}"
    return None


def surrogate_in(data: bytes) -> str | None:
    """The fault of a `\\ud800` without its other half, or None."""
    found = _SURROGATE.search(data)
    return f"contains half of a surrogate pair near `{found[0].decode()}`" if found else None


def _byte_at(data: bytes, position: int) -> int:
    return len(data.decode("utf-8")[:position].encode("utf-8"))


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        duplicate = next(name for name in names if names.count(name) > 1)
        raise _Fault(f"the key `{duplicate}` occurs twice in one object")
    return found


def _refuse_constant(text: str) -> float:
    raise _Fault(f"`{text}` is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Fault(f"the number `{text}` is too large")
    return value


_READER = json.JSONDecoder(
    object_pairs_hook=_no_duplicates,
    parse_constant=_refuse_constant,
    parse_float=_finite,
    # Python refuses integers of more than 4300 digits; no field needs the value.
    parse_int=str,
)
