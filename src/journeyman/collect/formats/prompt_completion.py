"""Prompt and completion rows, as texts or as lists of turns; `response` may be the second name."""

from collections.abc import Iterator

from msgspec import Struct

from journeyman.collect.reading.calls import ModelCall, interaction
from journeyman.collect.reading.format import (
    Faulty,
    Format,
    Item,
    JsonObject,
    Unusable,
    by_row,
    by_type,
)
from journeyman.collect.reading.openai_turns import OpenAITurn, messages_of
from journeyman.records import Message, Role

NAME = "prompt-completion"
Side = str | tuple[OpenAITurn, ...]


class PromptCompletionRow(Struct, frozen=True):
    """One prompt and what follows it."""

    prompt: Side
    completion: Side | None = None
    response: Side | None = None
    model: str | None = None


def _items(row: PromptCompletionRow, line: int, agent: str) -> Iterator[Item]:
    completion = row.response if row.completion is None else row.completion
    if completion is None:
        raise Faulty("object missing required field `completion`")
    answers = _messages(completion, "assistant", "$.completion")
    if len(answers) != 1:
        raise Unusable(f"its completion has {len(answers)} turns, not one")
    if answers[0].role != "assistant":
        raise Faulty(f"the completion's role is `{answers[0].role}` - at `$.completion[0].role`")
    yield interaction(
        ModelCall(
            line=line,
            format=NAME,
            agent=agent,
            sent=_messages(row.prompt, "user", "$.prompt"),
            answer=answers[0],
            model=row.model,
        )
    )


def _messages(side: Side, role: Role, where: str) -> tuple[Message, ...]:
    return (Message(role, side),) if isinstance(side, str) else messages_of(side, where)


def _against(row: JsonObject) -> str:
    if "prompt" not in row:
        return "no `prompt`"
    return "" if "completion" in row or "response" in row else "no `completion`"


FORMAT = Format(
    name=NAME,
    what="prompt and completion rows (texts or turns)",
    misfit=by_row(_against),
    read=by_type(PromptCompletionRow, _items),
)
