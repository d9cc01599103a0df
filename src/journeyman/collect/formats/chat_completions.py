"""Logs of an OpenAI-compatible chat API: requests with `messages`, responses with `choices`.

Every choice is an interaction. `collect/reading/request_response.py` knows where a log keeps both.
"""

from collections.abc import Iterator
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from journeyman.collect.reading.log_format import Format, match_rows, read_rows
from journeyman.collect.reading.model_call import ModelCall, tools_from
from journeyman.collect.reading.openai_turns import OpenAITurn, message_of, messages_of
from journeyman.collect.reading.request_response import (
    ExchangeSide,
    conversation_in,
    duration_s,
    exchange_in,
    mismatch_of_exchange,
    text_in,
)
from journeyman.collect.reading.row_result import BrokenRow
from journeyman.data.log_turns import LoggedTool

NAME = "chat-completions"
RESPONSE_KEY = "choices"


class CompletionRequest(Struct, frozen=True):
    """The request."""

    messages: tuple[OpenAITurn, ...]
    model: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: tuple[LoggedTool, ...] | None = None
    functions: tuple[LoggedTool, ...] | None = None


class CompletionChoice(Struct, frozen=True):
    """One of the answers."""

    message: OpenAITurn
    finish_reason: str | None = None


class CompletionUsage(Struct, frozen=True):
    """The token counts of a response."""

    completion_tokens: int | None = None


class CompletionResponse(Struct, frozen=True):
    """The response."""

    choices: tuple[CompletionChoice, ...]
    model: str | None = None
    usage: CompletionUsage | None = None


def _calls(row: dict[str, object]) -> Iterator[ModelCall]:
    exchange = exchange_in(row, RESPONSE_KEY)
    where = exchange.request.where
    request = exchange.request.decode(CompletionRequest)
    call = ModelCall(
        sent=messages_of(request.messages, f"{where}.messages"),
        answer=None,
        provider=text_in(row, "provider", "custom_llm_provider"),
        model=request.model,
        conversation=conversation_in(row, exchange.request.fields),
        duration_s=duration_s(row),
        max_tokens=request.max_completion_tokens or request.max_tokens,
        offered=tools_from(request.tools or request.functions, f"{where}.tools"),
    )
    if exchange.response is None:
        yield call
    else:
        yield from _answered(call, exchange.response)


def _answered(call: ModelCall, side: ExchangeSide) -> Iterator[ModelCall]:
    """The call with each of its answers."""
    response = side.decode(CompletionResponse)
    if not response.choices:
        raise BrokenRow(f"the list is empty - at `{side.where}.choices`")
    tokens = response.usage.completion_tokens if response.usage else None
    for place, choice in enumerate(response.choices):
        answer = message_of(choice.message, f"{side.where}.choices[{place}].message")
        if answer.role != "assistant":
            raise BrokenRow(f"the answer's role is `{answer.role}` - at `{side.where}.choices`")
        yield replace(
            call,
            answer=answer,
            model=response.model or call.model,
            finish_reason=choice.finish_reason,
            # The tokens of several choices are counted together.
            answer_tokens=tokens if len(response.choices) == 1 else None,
        )


FORMAT = Format(
    name=NAME,
    description="logs of an OpenAI-compatible API (request, response with choices)",
    match=match_rows(partial(mismatch_of_exchange, response_key=RESPONSE_KEY)),
    read=read_rows(NAME, dict[str, object], _calls),
)
