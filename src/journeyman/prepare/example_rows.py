"""A used row as the dataset has it: rendered by the template, its secrets out if that is asked for.

Nothing but the row decides it, so it makes no difference which process does it.
"""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Struct

from journeyman.data.role_prompts import messages_for
from journeyman.errors import DataRefused
from journeyman.prepare.chat_template import Renderer
from journeyman.prepare.rules.registry import SECRET
from journeyman.prepare.rules.secrets import redacted
from journeyman.records import Example, Interaction, Message, Tool
from journeyman.settings import Prompts

_DECODER = msgspec.msgpack.Decoder(Interaction)
_ENCODER = msgspec.json.Encoder()


class Rendering(Struct, frozen=True):
    """What all rows have in common. `redacts`: secrets are taken out, not only found.

    `scan`: those that detect-secrets finds, too.
    """

    renderer: Renderer
    prompts: Prompts
    redacts: bool
    scan: bool = False


class RowToRender(Struct, frozen=True):
    """A row to render: an Interaction as MessagePack, and what was decided about it."""

    interaction: bytes
    line: int
    group: str
    rules: tuple[str, ...]
    masked: bool


class RenderedExample(Struct, frozen=True):
    """An Example as one line of JSON, and how many secrets were taken out of it.

    `refused` says why the template refuses the row, with the `hint`; else it is empty.
    """

    data: bytes = b""
    redacted: int = 0
    refused: str = ""
    hint: str = ""

    def require(self) -> None:
        """Raise DataRefused where the template refuses the row."""
        if self.refused:
            raise DataRefused(self.refused, hint=self.hint)


def rendered(row: RowToRender, how: Rendering) -> RenderedExample:
    """The line of the dataset that a row becomes."""
    try:
        example, count = _example(row, _DECODER.decode(row.interaction), how)
    except DataRefused as error:
        return RenderedExample(refused=f"line {row.line}: {error.message}", hint=error.hint or "")
    return RenderedExample(_ENCODER.encode(example) + b"\n", count)


def _example(row: RowToRender, interaction: Interaction, how: Rendering) -> tuple[Example, int]:
    messages, count = messages_for(interaction, how.prompts), 0
    tools = interaction.tools
    if how.redacts and SECRET in row.rules:
        messages, tools, count = _redacted(messages, tools, scan=how.scan)
    example = Example(
        id=interaction.id,
        messages=messages,
        text=how.renderer.text(messages, tools),
        agent=interaction.agent,
        task_id=interaction.task_id,
        status=interaction.status,
        source=interaction.source,
        group=row.group,
        findings=row.rules,
        trains_end=not row.masked,
        duration_s=interaction.duration_s,
        checks=interaction.checks,
        offered=tools or UNSET,
    )
    return example, count


def _redacted(
    messages: Sequence[Message], tools: Sequence[Tool], *, scan: bool
) -> tuple[tuple[Message, ...], tuple[Tool, ...], int]:
    """Messages and tools without their secrets, and how many there were; arguments of calls too."""
    total = 0

    def hidden(text: str) -> str:
        nonlocal total
        text, counts = redacted(text, scan=scan)
        total += sum(counts.values())
        return text

    cleaned = tuple(
        msgspec.structs.replace(
            message,
            content=hidden(message.content),
            tool_calls=tuple(
                msgspec.structs.replace(call, arguments=hidden(call.arguments))
                for call in message.tool_calls
            ),
        )
        for message in messages
    )
    offered = tuple(
        Tool(tool.name, hidden(tool.description), hidden(tool.parameters)) for tool in tools
    )
    return cleaned, offered, total
