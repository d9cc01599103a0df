"""From turns to an Interaction: the checks, the words for how an answer ended, and the id."""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import UNSET, Struct, UnsetType

from journeyman.collect.reading.format import Faulty, Unusable
from journeyman.data.log_turns import LoggedTool, fault_of_tools, to_tools
from journeyman.data.strict_json import control_in, words
from journeyman.files import LINE_LIMIT_BYTES, content_id
from journeyman.records import Interaction, Message, Tool

SUCCESS = "success"
FAILURE = "failure"
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "eos": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "tool_call": "tool_calls",
    "function_call": "tool_calls",
    "refusal": "content_filter",
    "safety": "content_filter",
}


class ModelCall(Struct, frozen=True, kw_only=True):
    """One call of a model as a log tells it. `answer` is None where the call failed.

    `answer_tokens` shows a cut-off answer where no finish reason was logged. `offered` are the
    tools that could be asked for (`offered_in`).
    """

    line: int
    format: str
    agent: str
    sent: tuple[Message, ...]
    answer: Message | None
    provider: str | None = None
    model: str | None = None
    conversation: str | None = None
    duration_s: float | None = None
    finish_reason: str | None = None
    max_tokens: int | None = None
    answer_tokens: int | None = None
    offered: tuple[Tool, ...] | UnsetType = UNSET


def interaction(call: ModelCall) -> Interaction:
    """The record of a call; its id is made of all its content but the line.

    Raises Faulty where its turns are none that could have been sent, Unusable where they cannot
    be written down as text.
    """
    _check(call.sent)
    _check_text((*call.sent, call.answer) if call.answer else call.sent)
    limit = call.max_tokens if call.max_tokens and call.max_tokens > 0 else None
    found = Interaction(
        id="",
        line=0,
        task=_task(call.sent),
        agent=call.agent.strip().casefold(),
        answer=call.answer.content if call.answer else None,
        status=SUCCESS if call.answer else FAILURE,
        sent=call.sent,
        source=f"{call.format}:{call.provider or 'unknown'}",
        producer="/".join(part for part in (call.provider, call.model) if part) or None,
        duration_s=_microseconds(call.duration_s),
        finish_reason=_finish(call, limit),
        max_tokens=limit,
        tool_calls=call.answer.tool_calls if call.answer else (),
        conversation=call.conversation or _first_turns(call.sent),
        offered=call.offered,
    )
    data = msgspec.json.encode(found)
    # The line in the file has the same texts and some more names of fields.
    if len(data) > LINE_LIMIT_BYTES - 4096:
        raise Unusable(f"longer than {LINE_LIMIT_BYTES // 1024**2} MiB with all turns before it")
    return msgspec.structs.replace(found, id=content_id(data.decode()), line=call.line)


def offered_in(
    tools: Sequence[LoggedTool] | str | None, where: str
) -> tuple[Tool, ...] | UnsetType:
    """The records of the tools on offer. `where` is their JSON path, for the words of a fault.

    Tables hold a list of unlike objects as its JSON text, so a text is read as such.
    """
    if isinstance(tools, str):
        try:
            tools = msgspec.json.decode(tools or "[]", type=tuple[LoggedTool, ...])
        except (msgspec.DecodeError, RecursionError) as error:
            raise Faulty(f"{words(error)} - in the text at `{where}`") from error
    fault = fault_of_tools(tools)
    if fault:
        raise Faulty(f"{fault} - at `{where}`")
    return to_tools(tools)


def final_answers(turns: Sequence[Message]) -> Iterator[int]:
    """The places of assistant's turns that end a user's request: the last, or before a user's."""
    asked = False
    for place, turn in enumerate(turns):
        asked = asked or turn.role == "user"
        last = place + 1 == len(turns) or turns[place + 1].role == "user"
        if turn.role == "assistant" and asked and last:
            yield place


def row_name(data: object) -> str:
    """A conversation's name for a row that has none: equal content, equal name."""
    return f"row-{content_id(msgspec.json.encode(data).decode())}"


def _check(sent: Sequence[Message]) -> None:
    roles = [turn.role for turn in sent]
    if "user" not in roles:
        raise Faulty("no `user` turn was sent")
    if "system" in roles[1:]:
        place = roles.index("system", 1)
        raise Faulty(f"turn {place + 1} is a `system` turn; only the first can be one")


def _check_text(turns: Sequence[Message]) -> None:
    for place, turn in enumerate(turns, start=1):
        found = control_in(turn.content)
        if found:
            raise Unusable(f"turn {place} (`{turn.role}`) holds the control character `{found}`")


def _task(sent: Sequence[Message]) -> str:
    text = next(turn.content for turn in reversed(sent) if turn.role == "user")
    if not text.strip():
        raise Faulty("the last `user` turn is blank")
    return text


def _finish(call: ModelCall, limit: int | None) -> str | None:
    word = (call.finish_reason or "").strip().casefold()
    if word:
        return _FINISH.get(word, word)
    cut = limit is not None and call.answer_tokens is not None and call.answer_tokens >= limit
    return "length" if cut else None


def _microseconds(seconds: float | None) -> float | None:
    """Seconds as a log's milliseconds with three decimals hold them; None if a clock jumped."""
    if seconds is None or seconds < 0:
        return None
    return round(seconds * 1000, 3) / 1000


def _first_turns(sent: Sequence[Message]) -> str:
    """The name of a conversation whose log has none: calls that begin alike share it.

    The whole list would not do: it grows with every call.
    """
    end = next(place for place, turn in enumerate(sent) if turn.role == "user")
    return f"turns-{content_id(*(turn.content for turn in sent[: end + 1]))}"
