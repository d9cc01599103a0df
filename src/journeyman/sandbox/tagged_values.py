"""Values from the sandbox as plain data, built from tags without running any code.

A value that is not plain data (an object, an iterator, something nested too deep) becomes
`Opaque`, which equals nothing, not even itself.
"""

from typing import cast

import msgspec

DEPTH = 24


class Opaque:
    """A value that is not plain data. No comparison with it is ever true."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<a {self.kind}, which is not plain data>"


class Malformed(Exception):
    """The bytes are not a tagged value."""


def value_of(data: msgspec.Raw) -> object:
    """The value of tagged JSON. Raises Malformed."""
    try:
        return _value(msgspec.json.decode(data), DEPTH)
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError, IndexError) as error:
        raise Malformed(str(error)) from error


def _value(item: object, depth: int) -> object:  # noqa: PLR0911 - one for each tag
    if not isinstance(item, list) or depth == 0:
        raise Malformed("not a tagged value")
    tag, *rest = cast("list[object]", item)
    match tag, rest:
        case "none", []:
            return None
        case "bool", [bool() as truth]:
            return truth
        case "other", [str() as kind]:
            return Opaque(kind[:80])
        case ("int" | "float" | "str" | "bytes") as name, [str() as text]:
            return _scalar(name, text)
    inner = depth - 1
    match tag:
        case "list":
            return [_value(part, inner) for part in rest]
        case "tuple":
            return tuple(_value(part, inner) for part in rest)
        case "set" | "frozenset":
            return frozenset(_value(part, inner) for part in rest)
        case "dict":
            return dict(_pair(part, inner) for part in rest)
    raise Malformed(f"unknown tag: {str(tag)[:40]}")


def _scalar(name: str, text: str) -> object:
    if name == "int":
        return int(text, 16)
    if name == "float":
        return float.fromhex(text)
    data = bytes.fromhex(text)
    return data if name == "bytes" else data.decode("utf-8", "surrogatepass")


def _pair(part: object, depth: int) -> tuple[object, object]:
    key, value = cast("list[object]", part)
    return _value(key, depth), _value(value, depth)
