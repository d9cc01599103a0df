"""One line of the user's log as it is written, and its conversion to and from an Interaction.

Only the keys that this project uses are typed; others (`agent.capabilities`, …) are ignored.
docs/data-format.md describes the format for users.
"""

import datetime
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from journeyman.data.log_turns import (
    LoggedCall,
    LoggedTool,
    LoggedTurn,
    to_calls,
    to_logged_calls,
    to_logged_tools,
    to_message,
    to_tools,
    to_turn,
)
from journeyman.files import content_id
from journeyman.records import Check, Interaction

SUCCESS = "success"
FAILURE = "failure"

# The year 5138 in seconds, and 1973 in milliseconds.
_LARGEST_SECONDS = 1e11


class LoggedTask(Struct, frozen=True, omit_defaults=True):
    """The task."""

    description: str
    task_id: str | None = None


class Agent(Struct, frozen=True, omit_defaults=True):
    """The agent that got the task."""

    role: str


class Config(Struct, frozen=True, omit_defaults=True):
    """The settings of the model call."""

    max_tokens: int | None = None


class Llm(Struct, frozen=True, omit_defaults=True):
    """The model that answered."""

    provider: str | None = None
    model: str | None = None
    config: Config | None = None


class Execution(Struct, frozen=True, omit_defaults=True):
    """The result. `output` may be null, or missing if there is a status.

    `tools` are those that were on offer.
    """

    output: str | UnsetType | None = UNSET
    status: str | None = None
    duration_ms: Annotated[float, Meta(ge=0)] | None = None
    input_messages: tuple[LoggedTurn, ...] | None = None
    finish_reason: str | None = None
    tool_calls: tuple[LoggedCall, ...] | None = None
    tools: tuple[LoggedTool, ...] | None = None


class Context(Struct, frozen=True, omit_defaults=True):
    """Where the interaction comes from; `source` names the package or program.

    Interactions of one `conversation` share their first turns and stay in one split.
    """

    source: str | None = None
    conversation: str | None = None
    repository: str | None = None


class LogRow(Struct, frozen=True, omit_defaults=True):
    """One interaction as the log has it."""

    task: LoggedTask
    agent: Agent
    execution: Execution
    id: str | int | None = None
    llm: Llm | None = None
    context: Context | None = None
    checks: tuple[Check, ...] = ()
    timestamp: object = None


def content_of(row: LogRow) -> str:
    """A hash of the row without its id and time: equal for equal content."""
    bare = msgspec.structs.replace(row, id=None, timestamp=None)
    return content_id(msgspec.json.encode(bare).decode())


def seconds_of(timestamp: object) -> float | None:
    """Seconds since 1970 of an ISO 8601 text or of a number (a large one is in milliseconds).

    A text without a time zone counts as UTC. Anything else is None: a row is never refused for it.
    """
    if isinstance(timestamp, int | float) and not isinstance(timestamp, bool):
        seconds = timestamp if abs(timestamp) <= _LARGEST_SECONDS else timestamp // 1000
        return float(seconds) if abs(seconds) <= _LARGEST_SECONDS else None
    if not isinstance(timestamp, str):
        return None
    try:
        moment = datetime.datetime.fromisoformat(timestamp.strip())
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp()


def to_interaction(row: LogRow, *, row_id: str, line: int, source: str) -> Interaction:
    """The record of a row. `source` is used if the row does not name one."""
    execution, llm, context = row.execution, row.llm or Llm(), row.context or Context()
    answer = None if execution.output is UNSET else execution.output
    named = [part for part in (llm.provider, llm.model) if part]
    duration_ms = execution.duration_ms
    max_tokens = llm.config.max_tokens if llm.config else None
    return Interaction(
        id=row_id,
        line=line,
        task=row.task.description,
        agent=row.agent.role.strip().casefold(),
        answer=answer,
        status=(execution.status or (FAILURE if answer is None else SUCCESS)).strip().casefold(),
        sent=tuple(map(to_message, execution.input_messages or ())),
        task_id=row.task.task_id,
        source=context.source or source,
        producer="/".join(named) or None,
        duration_s=None if duration_ms is None else duration_ms / 1000,
        finish_reason=execution.finish_reason,
        # Some programs write 0 or -1 for "no limit".
        max_tokens=max_tokens if max_tokens and max_tokens > 0 else None,
        checks=row.checks,
        tool_calls=to_calls(execution.tool_calls),
        conversation=context.conversation,
        repository=context.repository,
        logged_at_s=seconds_of(row.timestamp),
        offered=to_tools(execution.tools),
    )


def to_row(interaction: Interaction) -> LogRow:
    """The row that `to_interaction` reads back as the same record, except for its line."""
    provider, _, model = (interaction.producer or "").partition("/")
    seconds = interaction.duration_s
    context = Context(interaction.source or None, interaction.conversation, interaction.repository)
    config = Config(max_tokens=interaction.max_tokens) if interaction.max_tokens else None
    return LogRow(
        id=interaction.id,
        task=LoggedTask(interaction.task, interaction.task_id),
        agent=Agent(interaction.agent),
        llm=Llm(provider or None, model or None, config) if provider or config else None,
        execution=Execution(
            output=interaction.answer,
            status=interaction.status,
            duration_ms=None if seconds is None else round(seconds * 1000, 3),
            input_messages=tuple(map(to_turn, interaction.sent)) or None,
            finish_reason=interaction.finish_reason,
            tool_calls=to_logged_calls(interaction.tool_calls),
            tools=to_logged_tools(interaction.tools),
        ),
        context=context if context != Context() else None,
        checks=interaction.checks,
        timestamp=interaction.logged_at_s,
    )
