"""Logs of Anthropic's Messages interface: a request with `messages`, a response with blocks.

`stop_reason` `max_tokens` is a cut-off answer. Thinking is left away.
"""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from journeyman.collect.reading.anthropic_turns import (
    AnthropicTurn,
    Content,
    answer_of,
    messages_of,
    system_of,
)
from journeyman.collect.reading.calls import ModelCall, interaction, offered_in
from journeyman.collect.reading.exchanges import (
    conversation_in,
    duration_s,
    failed,
    request_in,
    response_in,
    typed,
)
from journeyman.collect.reading.format import Faulty, Format, Item, JsonObject, by_row, by_type
from journeyman.data.log_turns import LoggedTool

NAME = "anthropic-messages"


class MessagesRequest(Struct, frozen=True):
    """What was asked."""

    messages: tuple[AnthropicTurn, ...]
    system: Content | None = None
    model: str | None = None
    max_tokens: int | None = None
    tools: tuple[LoggedTool, ...] | None = None


class MessagesUsage(Struct, frozen=True):
    """What it took."""

    output_tokens: int | None = None


class MessagesResponse(Struct, frozen=True):
    """What came back."""

    content: Content
    stop_reason: str | None
    model: str | None = None
    usage: MessagesUsage | None = None


def _items(row: dict[str, object], line: int, agent: str) -> Iterator[Item]:
    asked = request_in(row)
    if asked is None:
        raise Faulty("object missing required field `messages` - at `$.request`")
    request = typed(asked, MessagesRequest)
    call = ModelCall(
        line=line,
        format=NAME,
        agent=agent,
        sent=(
            *system_of(request.system),
            *messages_of(request.messages, f"{asked.where}.messages"),
        ),
        answer=None,
        provider="anthropic",
        model=request.model,
        conversation=conversation_in(row, asked.fields),
        duration_s=duration_s(row),
        max_tokens=request.max_tokens,
        offered=offered_in(request.tools, f"{asked.where}.tools"),
    )
    answered = response_in(row, "stop_reason")
    if answered is not None:
        response = typed(answered, MessagesResponse)
        yield interaction(
            replace(
                call,
                answer=answer_of(response.content, f"{answered.where}.content"),
                model=response.model or call.model,
                finish_reason=response.stop_reason,
                answer_tokens=response.usage.output_tokens if response.usage else None,
            )
        )
    elif failed(row):
        yield interaction(call)
    else:
        raise Faulty("object missing required field `stop_reason` - at `$.response`")


def _against(row: JsonObject) -> str:
    if request_in(row) is None:
        return "no request with `messages`"
    found = response_in(row, "stop_reason") or failed(row)
    return "" if found else "no response with `stop_reason`"


FORMAT = Format(
    name=NAME,
    what="logs of Anthropic's Messages interface (request, response with content blocks)",
    misfit=by_row(_against),
    read=by_type(dict[str, object], _items),
)
