"""The tools that were on offer in a GenAI span, in each way that they are written.

Now: `gen_ai.tool.definitions`, in the span or in its event. And the numbered attributes of
OpenLLMetry, `llm.request.functions.0.name`.
"""

import re

from msgspec import UnsetType

from journeyman.collect.formats.otel_parts import read_value
from journeyman.collect.formats.otel_spans import Attributes, OtelSpan
from journeyman.collect.formats.otel_turns import DETAILS
from journeyman.collect.formats.turns import offered_in
from journeyman.data.logged_tool import LoggedTool
from journeyman.records import Tool

DEFINITIONS = "gen_ai.tool.definitions"
_NUMBERED = re.compile(r"llm\.request\.functions\.(\d{1,5})\.(name|description|parameters)")


def offered_by(span: OtelSpan) -> tuple[Tool, ...] | UnsetType:
    """The tools of a span in the first way that gives any."""
    details = [attributes for name, attributes in span.events if name == DETAILS]
    for attributes in (span.attributes, *details):
        if DEFINITIONS in attributes:
            logged = read_value(attributes[DEFINITIONS], tuple[LoggedTool, ...], "tool.definitions")
            return offered_in(logged, DEFINITIONS)
    return offered_in(_numbered(span.attributes), "llm.request.functions")


def _numbered(attributes: Attributes) -> tuple[LoggedTool, ...]:
    found: dict[int, dict[str, object]] = {}
    for name, value in attributes.items():
        match = _NUMBERED.fullmatch(name)
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = value
    listed = [fields for _, fields in sorted(found.items())]
    return read_value(listed, tuple[LoggedTool, ...], "request.functions")
