"""Logs of Anthropic's Messages API: a request with `messages`, a response with content blocks.

`stop_reason` `max_tokens` means that the answer was cut off. Thinking is not kept.
"""

from collections.abc import Iterator
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from journeyman.collect.reading.anthropic_turns import (
    AnthropicTurn,
    Content,
    answer_of,
    messages_of,
    system_of,
)
from journeyman.collect.reading.log_format import Format, match_rows, read_rows
from journeyman.collect.reading.model_call import ModelCall, tools_from
from journeyman.collect.reading.request_response import (
    conversation_in,
    duration_s,
    exchange_in,
    mismatch_of_exchange,
)
from journeyman.data.log_turns import LoggedTool

NAME = "anthropic-messages"
RESPONSE_KEY = "stop_reason"


class MessagesRequest(Struct, frozen=True):
    """The request."""

    messages: tuple[AnthropicTurn, ...]
    system: Content | None = None
    model: str | None = None
    max_tokens: int | None = None
    tools: tuple[LoggedTool, ...] | None = None


class MessagesUsage(Struct, frozen=True):
    """The token counts of a response."""

    output_tokens: int | None = None


class MessagesResponse(Struct, frozen=True):
    """The response."""

    content: Content
    stop_reason: str | None
    model: str | None = None
    usage: MessagesUsage | None = None


def _calls(row: dict[str, object]) -> Iterator[ModelCall]:
    exchange = exchange_in(row, RESPONSE_KEY)
    where = exchange.request.where
    request = exchange.request.decode(MessagesRequest)
    call = ModelCall(
        sent=(*system_of(request.system), *messages_of(request.messages, f"{where}.messages")),
        answer=None,
        provider="anthropic",
        model=request.model,
        conversation=conversation_in(row, exchange.request.fields),
        duration_s=duration_s(row),
        max_tokens=request.max_tokens,
        offered=tools_from(request.tools, f"{where}.tools"),
    )
    if exchange.response is None:
        yield call
        return
    response = exchange.response.decode(MessagesResponse)
    yield replace(
        call,
        answer=answer_of(response.content, f"{exchange.response.where}.content"),
        model=response.model or call.model,
        finish_reason=response.stop_reason,
        answer_tokens=response.usage.output_tokens if response.usage else None,
    )


FORMAT = Format(
    name=NAME,
    description="logs of Anthropic's Messages API (request, response with content blocks)",
    match=match_rows(partial(mismatch_of_exchange, response_key=RESPONSE_KEY)),
    read=read_rows(NAME, dict[str, object], _calls),
)
