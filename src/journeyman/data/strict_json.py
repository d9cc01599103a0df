"""Rows of strict JSON as typed values, and why a row is none.

A lenient reader would let NaN, twin keys and 1e999 pass; the words here name what is wrong.
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


class _Found(ValueError):
    """What is wrong, in words for the user."""


def decoded(row: NumberedLine, decoder: msgspec.json.Decoder[T]) -> T | LineFault:
    """The value of a row, checked against its type, or what is wrong and in which field."""
    try:
        value = decoder.decode(row.data)
    except msgspec.ValidationError as error:
        return LineFault(row.line, fault_in(row.data) or words(error))
    except msgspec.DecodeError as error:
        reason = fault_in(row.data) or surrogate_in(row.data)
        return LineFault(row.line, reason or f"no JSON: {words(error)}")
    reason = fault_in(row.data)
    return LineFault(row.line, reason) if reason else value


def at_the_tail(fault: LineFault) -> LineFault:
    """The fault of a file's last line that has no line end: torn, where half a line reads so."""
    if not fault.reason.startswith(("no JSON", "not UTF-8", "half", "holds a NUL")):
        return fault
    reason = "half-written: the file ends in the middle of this line"
    return LineFault(fault.line, reason, torn=True)


def words(error: Exception) -> str:
    """A decoder's message as part of a sentence."""
    return _lower(str(error))


def control_in(text: str) -> str | None:
    """The first control character that no text should hold, as it is written (`\\x1b`), or None."""
    # Most texts hold none, and taking out what is allowed says so the soonest.
    if not text.encode("utf-8", "replace").translate(None, _ALLOWED):
        return None
    return f"\\x{ord(min(_CONTROLS.findall(text))):02x}"


def fault_in(data: bytes) -> str | None:
    """What is wrong with one JSON text, or None: syntax, NaN, 1e999, a key that stands twice.

    data: UTF-8, nested no deeper than `journeyman.files.NESTING_LIMIT`. Half of a surrogate pair
    passes here (Python's reader takes it) and is found by `surrogate_in`.
    """
    try:
        _READER.decode(data.decode(json.detect_encoding(data), "surrogatepass"))
    except _Found as found:
        return str(found)
    except json.JSONDecodeError as error:
        return f"no JSON: {_lower(error.msg)} at byte {_byte_at(data, error.pos)}"
    return None


def surrogate_in(data: bytes) -> str | None:
    """The words for a `\\ud800` without its other half, where a strict reader stumbled over one."""
    found = _SURROGATE.search(data)
    return f"holds half of a surrogate pair near `{found[0].decode()}`" if found else None


def _byte_at(data: bytes, position: int) -> int:
    return len(data.decode("utf-8")[:position].encode("utf-8"))


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise _Found(f"the key `{twin}` stands twice in one object")
    return found


def _refuse_constant(text: str) -> float:
    raise _Found(f"`{text}` is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Found(f"the number `{text}` is too large")
    return value


_READER = json.JSONDecoder(
    object_pairs_hook=_no_twins,
    parse_constant=_refuse_constant,
    parse_float=_finite,
    # Python refuses integers of more than 4300 digits; no field here is one.
    parse_int=str,
)
