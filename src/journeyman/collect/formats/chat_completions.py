"""Logs of an OpenAI-compatible chat interface: requests with `messages`, responses with `choices`.

Every choice is an interaction. `journeyman.collect.reading.exchanges` says where both may stand.
"""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from journeyman.collect.reading.calls import ModelCall, interaction, offered_in
from journeyman.collect.reading.exchanges import (
    ExchangeSide,
    conversation_in,
    duration_s,
    failed,
    request_in,
    response_in,
    text_in,
    typed,
)
from journeyman.collect.reading.format import Faulty, Format, Item, JsonObject, by_row, by_type
from journeyman.collect.reading.openai_turns import OpenAITurn, message_of, messages_of
from journeyman.data.log_turns import LoggedTool

NAME = "chat-completions"


class CompletionRequest(Struct, frozen=True):
    """What was asked."""

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
    """What it took."""

    completion_tokens: int | None = None


class CompletionResponse(Struct, frozen=True):
    """What came back."""

    choices: tuple[CompletionChoice, ...]
    model: str | None = None
    usage: CompletionUsage | None = None


def _items(row: dict[str, object], line: int, agent: str) -> Iterator[Item]:
    asked = request_in(row)
    if asked is None:
        raise Faulty("object missing required field `messages` - at `$.request`")
    request = typed(asked, CompletionRequest)
    call = ModelCall(
        line=line,
        format=NAME,
        agent=agent,
        sent=messages_of(request.messages, f"{asked.where}.messages"),
        answer=None,
        provider=text_in(row, "provider", "custom_llm_provider"),
        model=request.model,
        conversation=conversation_in(row, asked.fields),
        duration_s=duration_s(row),
        max_tokens=request.max_completion_tokens or request.max_tokens,
        offered=offered_in(request.tools or request.functions, f"{asked.where}.tools"),
    )
    answered = response_in(row, "choices")
    if answered is not None:
        yield from _answers(call, answered)
    elif failed(row):
        yield interaction(call)
    else:
        raise Faulty("object missing required field `choices` - at `$.response`")


def _answers(call: ModelCall, answered: ExchangeSide) -> Iterator[Item]:
    response = typed(answered, CompletionResponse)
    if not response.choices:
        raise Faulty(f"the list is empty - at `{answered.where}.choices`")
    tokens = response.usage.completion_tokens if response.usage else None
    for place, choice in enumerate(response.choices):
        answer = message_of(choice.message, f"{answered.where}.choices[{place}].message")
        if answer.role != "assistant":
            raise Faulty(f"the answer's role is `{answer.role}` - at `{answered.where}.choices`")
        yield interaction(
            replace(
                call,
                answer=answer,
                model=response.model or call.model,
                finish_reason=choice.finish_reason,
                # The tokens of several choices are counted together.
                answer_tokens=tokens if len(response.choices) == 1 else None,
            )
        )


def _against(row: JsonObject) -> str:
    if request_in(row) is None:
        return "no request with `messages`"
    return "" if response_in(row, "choices") or failed(row) else "no response with `choices`"


FORMAT = Format(
    name=NAME,
    what="logs of an OpenAI-compatible interface (request, response with choices)",
    misfit=by_row(_against),
    read=by_type(dict[str, object], _items),
)
