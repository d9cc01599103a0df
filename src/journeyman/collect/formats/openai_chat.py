"""OpenAI's chat fine-tuning format: one `{"messages": [...], "tools": [...]}` per line.

An answer with `weight` 0 is context and not trained on. `functions` is the older name of `tools`.
"""

from collections.abc import Iterator

from msgspec import Struct

from journeyman.collect.reading.json_rows import JsonObject
from journeyman.collect.reading.log_format import Format, match_rows, read_rows
from journeyman.collect.reading.model_call import ModelCall, final_answers, row_id, tools_from
from journeyman.collect.reading.openai_turns import OpenAITurn, messages_of
from journeyman.collect.reading.row_result import UnusableRow
from journeyman.data.log_turns import LoggedTool

NAME = "openai-chat"


class OpenAIChatRow(Struct, frozen=True):
    """One row."""

    messages: tuple[OpenAITurn, ...]
    tools: tuple[LoggedTool, ...] | str | None = None
    functions: tuple[LoggedTool, ...] | None = None


def _calls(row: OpenAIChatRow) -> Iterator[ModelCall]:
    turns = messages_of(row.messages, "$.messages")
    answers = [place for place in final_answers(turns) if row.messages[place].weight != 0]
    if not answers:
        raise UnusableRow("no assistant turn to train on follows a user turn")
    offered = tools_from(row.tools or row.functions, "$.tools")
    for place in answers:
        yield ModelCall(
            sent=turns[:place], answer=turns[place], conversation=row_id(turns), offered=offered
        )


def _mismatch(row: JsonObject) -> str:
    if not isinstance(row.get("messages"), list):
        return "no list `messages`"
    others = [name for name in ("choices", "response", "response_body", "output") if name in row]
    return f"`{others[0]}` next to `messages`" if others else ""


FORMAT = Format(
    name=NAME,
    description="OpenAI chat fine-tuning rows (messages, tools, weight)",
    match=match_rows(_mismatch),
    read=read_rows(NAME, OpenAIChatRow, _calls),
)
