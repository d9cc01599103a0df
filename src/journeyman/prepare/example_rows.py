"""A row as the dataset has it: rendered by the chat template, its secrets redacted on request.

The result depends on the row alone, so any process may do it.
"""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Struct

from journeyman.data.role_prompts import messages_for
from journeyman.errors import DataRefused
from journeyman.prepare.chat_template import Renderer
from journeyman.prepare.row_findings import ExaminedLine
from journeyman.prepare.rules.registry import SECRET
from journeyman.prepare.rules.secrets import redacted
from journeyman.records import Example, Interaction, Message, Tool
from journeyman.settings import Prompts

_DECODER = msgspec.msgpack.Decoder(Interaction)
_ENCODER = msgspec.json.Encoder()


class Rendering(Struct, frozen=True):
    """What all rows have in common. `redacts`: secrets are replaced, not only reported.

    `scan`: also those that detect-secrets finds.
    """

    renderer: Renderer
    prompts: Prompts
    redacts: bool
    scan: bool = False


def rendered(interaction: bytes, row: ExaminedLine, how: Rendering) -> tuple[bytes, int]:
    """The line of the dataset for a row, and how many secrets in it were redacted.

    interaction: as MessagePack. Raises DataRefused with the line's number if the template refuses
    the row.
    """
    try:
        example, count = _example(_DECODER.decode(interaction), row, how)
    except DataRefused as error:
        raise DataRefused(f"line {row.line}: {error.message}", hint=error.hint) from error
    return _ENCODER.encode(example) + b"\n", count


def _example(interaction: Interaction, row: ExaminedLine, how: Rendering) -> tuple[Example, int]:
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
        trains_end=row.action != "masked",
        duration_s=interaction.duration_s,
        checks=interaction.checks,
        offered=tools or UNSET,
    )
    return example, count


def _redacted(
    messages: Sequence[Message], tools: Sequence[Tool], *, scan: bool
) -> tuple[tuple[Message, ...], tuple[Tool, ...], int]:
    """Messages, tool calls and tools without their secrets, and how many secrets there were."""
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
