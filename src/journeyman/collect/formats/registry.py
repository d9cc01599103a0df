"""Every log format that can be read. To add one, write its module and put its `FORMAT` here."""

from journeyman.collect.formats import (
    alpaca,
    anthropic_messages,
    chat_completions,
    claude_code,
    journeyman_log,
    llm_sqlite,
    openai_chat,
    otel_genai,
    prompt_completion,
    sharegpt,
)
from journeyman.collect.reading.log_format import Format
from journeyman.errors import UsageError
from journeyman.events import Table

FORMATS: tuple[Format, ...] = (
    journeyman_log.FORMAT,
    openai_chat.FORMAT,
    chat_completions.FORMAT,
    anthropic_messages.FORMAT,
    sharegpt.FORMAT,
    alpaca.FORMAT,
    prompt_completion.FORMAT,
    claude_code.FORMAT,
    llm_sqlite.FORMAT,
    otel_genai.FORMAT,
)


def format_named(name: str) -> Format:
    """The format with a name. Raises UsageError if there is none."""
    found = next((one for one in FORMATS if one.name == name), None)
    if found is None:
        names = ", ".join(f"`{one.name}`" for one in FORMATS)
        raise UsageError(
            f"unknown format `{name}`; known are {names}", hint="see `journeyman collect formats`"
        )
    return found


def formats_table() -> Table:
    """Name and description of every format."""
    rows = tuple((one.name, one.description) for one in FORMATS)
    return Table("", ("format", "description"), rows)
