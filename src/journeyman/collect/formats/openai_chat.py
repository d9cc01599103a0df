"""OpenAI's chat fine-tuning format: `{"messages": [...], "tools": [...]}`, one row a line.

An answer with `weight` 0 is context and not learned. `functions` is the older name of `tools`.
"""

from collections.abc import Iterator

from msgspec import Struct

from journeyman.collect.reading.calls import (
    ModelCall,
    final_answers,
    interaction,
    offered_in,
    row_name,
)
from journeyman.collect.reading.format import Format, Item, JsonObject, Unusable, by_row, by_type
from journeyman.collect.reading.openai_turns import OpenAITurn, messages_of
from journeyman.data.log_turns import LoggedTool

NAME = "openai-chat"


class OpenAIChatRow(Struct, frozen=True):
    """One row."""

    messages: tuple[OpenAITurn, ...]
    tools: tuple[LoggedTool, ...] | str | None = None
    functions: tuple[LoggedTool, ...] | None = None


def _items(chat: OpenAIChatRow, line: int, agent: str) -> Iterator[Item]:
    turns = messages_of(chat.messages, "$.messages")
    ends = [place for place in final_answers(turns) if chat.messages[place].weight != 0]
    if not ends:
        raise Unusable("no assistant's turn to learn follows a user's turn")
    offered = offered_in(chat.tools or chat.functions, "$.tools")
    for place in ends:
        yield interaction(
            ModelCall(
                line=line,
                format=NAME,
                agent=agent,
                sent=turns[:place],
                answer=turns[place],
                conversation=row_name(turns),
                offered=offered,
            )
        )


def _against(row: JsonObject) -> str:
    if not isinstance(row.get("messages"), list):
        return "no list `messages`"
    more = [name for name in ("choices", "response", "response_body", "output") if name in row]
    return f"`{more[0]}` stands beside `messages`" if more else ""


FORMAT = Format(
    name=NAME,
    what="OpenAI chat fine-tuning rows (messages, tools, weight)",
    misfit=by_row(_against),
    read=by_type(OpenAIChatRow, _items),
)
