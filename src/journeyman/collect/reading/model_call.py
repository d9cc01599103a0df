"""One model call as a log records it, and the Interaction that it becomes.

An Interaction has checked turns, one word for why the answer ended, and an id made of its content.
"""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import UNSET, Struct, UnsetType

from journeyman.collect.reading.row_result import BrokenRow, UnusableRow
from journeyman.data.log_turns import LoggedTool, fault_of_tools, to_tools
from journeyman.data.strict_json import control_in, words
from journeyman.files import LINE_LIMIT_BYTES, content_id
from journeyman.records import Interaction, Message, Tool

SUCCESS = "success"
FAILURE = "failure"
_FINISH_REASONS = {
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


class RowSource(Struct, frozen=True):
    """Where a row is from: its line, the log's format, and the agent role if it names none."""

    line: int
    format: str
    agent: str


class ModelCall(Struct, frozen=True, kw_only=True):
    """One call of a model. `answer` is None if the call failed.

    `answer_tokens` reveals a truncated answer if no finish reason was logged. `agent` is a role
    that the row names. `offered` are the tools that the model could call (`tools_from`).
    """

    sent: tuple[Message, ...]
    answer: Message | None
    agent: str | None = None
    provider: str | None = None
    model: str | None = None
    conversation: str | None = None
    duration_s: float | None = None
    finish_reason: str | None = None
    max_tokens: int | None = None
    answer_tokens: int | None = None
    offered: tuple[Tool, ...] | UnsetType = UNSET


def interaction_of(call: ModelCall, source: RowSource) -> Interaction:
    """The Interaction of a call. Its id is made of all its content except the line.

    Raises BrokenRow if no model could have been sent these turns, UnusableRow if they cannot be
    written as text.
    """
    _check_roles(call.sent)
    _check_text((*call.sent, call.answer) if call.answer else call.sent)
    limit = call.max_tokens if call.max_tokens and call.max_tokens > 0 else None
    interaction = Interaction(
        id="",
        line=0,
        task=_task(call.sent),
        agent=(call.agent or source.agent).strip().casefold(),
        answer=call.answer.content if call.answer else None,
        status=SUCCESS if call.answer else FAILURE,
        sent=call.sent,
        source=f"{source.format}:{call.provider or 'unknown'}",
        producer="/".join(part for part in (call.provider, call.model) if part) or None,
        duration_s=_whole_microseconds(call.duration_s),
        finish_reason=_finish_reason(call, limit),
        max_tokens=limit,
        tool_calls=call.answer.tool_calls if call.answer else (),
        conversation=call.conversation or _first_turns_id(call.sent),
        offered=call.offered,
    )
    data = msgspec.json.encode(interaction)
    # The line in the file has the same texts and a few more field names.
    if len(data) > LINE_LIMIT_BYTES - 4096:
        raise UnusableRow(f"longer than {LINE_LIMIT_BYTES // 1024**2} MiB with all earlier turns")
    return msgspec.structs.replace(interaction, id=content_id(data.decode()), line=source.line)


def tools_from(
    tools: Sequence[LoggedTool] | str | None, where: str
) -> tuple[Tool, ...] | UnsetType:
    """The tools that a row offers to the model. `where` is their JSON path, for error messages.

    Some datasets store a list of unlike objects as JSON text, so text is decoded first.
    """
    if isinstance(tools, str):
        try:
            tools = msgspec.json.decode(tools or "[]", type=tuple[LoggedTool, ...])
        except (msgspec.DecodeError, RecursionError) as error:
            raise BrokenRow(f"{words(error)} - in the text at `{where}`") from error
    fault = fault_of_tools(tools)
    if fault:
        raise BrokenRow(f"{fault} - at `{where}`")
    return to_tools(tools)


def final_answers(turns: Sequence[Message]) -> Iterator[int]:
    """Indices of the assistant turns that end a user's request: the last, or before a user turn."""
    asked = False
    for place, turn in enumerate(turns):
        asked = asked or turn.role == "user"
        last = place + 1 == len(turns) or turns[place + 1].role == "user"
        if turn.role == "assistant" and asked and last:
            yield place


def row_id(data: object) -> str:
    """A conversation id for a row without one: equal content, equal id."""
    return f"row-{content_id(msgspec.json.encode(data).decode())}"


def _check_roles(sent: Sequence[Message]) -> None:
    roles = [turn.role for turn in sent]
    if "user" not in roles:
        raise BrokenRow("there is no `user` turn")
    if "system" in roles[1:]:
        place = roles.index("system", 1)
        raise BrokenRow(f"turn {place + 1} is a `system` turn; only the first turn can be one")


def _check_text(turns: Sequence[Message]) -> None:
    for place, turn in enumerate(turns, start=1):
        control = control_in(turn.content)
        if control:
            raise UnusableRow(f"turn {place} (`{turn.role}`) has the control character `{control}`")


def _task(sent: Sequence[Message]) -> str:
    text = next(turn.content for turn in reversed(sent) if turn.role == "user")
    if not text.strip():
        raise BrokenRow("the last `user` turn is blank")
    return text


def _finish_reason(call: ModelCall, limit: int | None) -> str | None:
    logged = (call.finish_reason or "").strip().casefold()
    if logged:
        return _FINISH_REASONS.get(logged, logged)
    cut = limit is not None and call.answer_tokens is not None and call.answer_tokens >= limit
    return "length" if cut else None


def _whole_microseconds(seconds: float | None) -> float | None:
    """Seconds rounded to microseconds, the precision of a written log; None if negative."""
    if seconds is None or seconds < 0:
        return None
    return round(seconds * 1000, 3) / 1000


def _first_turns_id(sent: Sequence[Message]) -> str:
    """A conversation id for a log without one: calls with the same first turns share it.

    All turns would not do: they grow with every call.
    """
    end = next(place for place, turn in enumerate(sent) if turn.role == "user")
    return f"turns-{content_id(*(turn.content for turn in sent[: end + 1]))}"
