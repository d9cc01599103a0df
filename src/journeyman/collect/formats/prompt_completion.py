"""Rows with `prompt` and `completion` (or `response`), each as text or as a list of turns."""

from collections.abc import Iterator

from msgspec import Struct

from journeyman.collect.reading.json_rows import JsonObject
from journeyman.collect.reading.log_format import Format, match_rows, read_rows
from journeyman.collect.reading.model_call import ModelCall
from journeyman.collect.reading.openai_turns import OpenAITurn, messages_of
from journeyman.collect.reading.row_result import BrokenRow, UnusableRow
from journeyman.records import Message, Role

NAME = "prompt-completion"
Side = str | tuple[OpenAITurn, ...]


class PromptCompletionRow(Struct, frozen=True):
    """One prompt and its completion."""

    prompt: Side
    completion: Side | None = None
    response: Side | None = None
    model: str | None = None


def _calls(row: PromptCompletionRow) -> Iterator[ModelCall]:
    completion = row.response if row.completion is None else row.completion
    if completion is None:
        raise BrokenRow("object missing required field `completion`")
    answers = _messages(completion, "assistant", "$.completion")
    if len(answers) != 1:
        raise UnusableRow(f"its completion has {len(answers)} turns, not one")
    if answers[0].role != "assistant":
        raise BrokenRow(f"the completion's role is `{answers[0].role}` - at `$.completion[0].role`")
    yield ModelCall(
        sent=_messages(row.prompt, "user", "$.prompt"), answer=answers[0], model=row.model
    )


def _messages(side: Side, role: Role, where: str) -> tuple[Message, ...]:
    return (Message(role, side),) if isinstance(side, str) else messages_of(side, where)


def _mismatch(row: JsonObject) -> str:
    if "prompt" not in row:
        return "no `prompt`"
    return "" if "completion" in row or "response" in row else "no `completion`"


FORMAT = Format(
    name=NAME,
    description="prompt and completion rows (text or turns)",
    match=match_rows(_mismatch),
    read=read_rows(NAME, PromptCompletionRow, _calls),
)
