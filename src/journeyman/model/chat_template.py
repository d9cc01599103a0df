"""Rendering a conversation with a model's chat template in jinja2's sandbox, without a tokenizer.

A template is a program from a download: it runs in jinja2's immutable sandbox, with limits on its
loops and on its output. Covered: what Hugging Face templates use (`raise_exception`,
`strftime_now`, `tojson`, loop controls, `{% generation %}`), tools on offer, calls and results; a
template that leaves calls out is detected. Not covered: templates that need documents or pictures;
padding filters are limited only by memory.
"""

import datetime
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from journeyman.errors import DataRefused, IntegrityError
from journeyman.model.message_format import as_tool, as_turn, uses_tools
from journeyman.model.template_marks import mark_tool_texts
from journeyman.records import Message, Tool

CHATML = (
    "{% set has_system = messages and messages[0].role == 'system' %}"
    "{% if tools or not has_system %}"
    "<|im_start|>system\n"
    "{% if has_system %}{{ messages[0].content }}"
    "{% else %}You are Qwen, created by Alibaba Cloud. You are a helpful assistant.{% endif %}"
    "{% if tools %}"
    """{{ '\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"""
    """You are provided with function signatures within <tools></tools> XML tags:\n<tools>' }}"""
    "{% for tool in tools %}{{ '\n' }}{{ tool | tojson }}{% endfor %}"
    """{{ '\n</tools>\n\nFor each function call, return a json object with function name and """
    """arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n"""
    """{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>' }}"""
    "{% endif %}"
    "{{ '<|im_end|>\n' }}"
    "{% endif %}"
    "{% for message in (messages[1:] if tools and has_system else messages) %}"
    "{% set is_tool = message.role == 'tool' %}"
    "{% if not is_tool %}{{ '<|im_start|>' + message.role }}"
    "{% elif loop.previtem is not defined or loop.previtem.role != 'tool' %}"
    "{{ '<|im_start|>user' }}"
    "{% endif %}"
    "{% if is_tool %}{{ '\n<tool_response>\n' + message.content + '\n</tool_response>' }}"
    "{% elif message.content or not message.tool_calls %}{{ '\n' + message.content }}"
    "{% endif %}"
    "{% for call in message.tool_calls or [] %}"
    """{{ '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}"""
    "{{ call.function.arguments | tojson }}{{ '}\n</tool_call>' }}"
    "{% endfor %}"
    "{% if not is_tool or loop.nextitem is not defined or loop.nextitem.role != 'tool' %}"
    "{{ '<|im_end|>\n' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""ChatML as Qwen2.5 renders it, with its default system prompt and its tool format."""

LOOPS_LIMIT = 100_000
OUTPUT_LIMIT = 64 * 1024 * 1024
_NAMES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")


def render(
    template: str,
    messages: Sequence[Message],
    add_generation_prompt: bool = False,
    tools: Sequence[Tool] = (),
    **tokens: str,
) -> str:
    """The text of a conversation. `tokens` are the tokenizer's (`bos_token`, `eos_token`, …).

    `tools` are those on offer; a template without support for tools ignores them (`shows`).

    Raises DataRefused if the template refuses the messages, exceeds the limits, or leaves out a
    text of a tool call or of its result.
    """
    text = _render(template, messages, add_generation_prompt, tools, tokens)
    if uses_tools(messages):
        marks = mark_tool_texts(messages)
        marked = _render(template, marks.messages, add_generation_prompt, tools, tokens)
        lost = next((one for mark, one in marks.texts.items() if mark not in marked), None)
        if lost is not None:
            raise DataRefused(
                f"the chat template leaves out `{lost[:80]}`, a part of a tool call or its result",
                hint="remove rows with tool calls, or use a base whose template supports tools",
            )
    return text


def shows(tool: Tool, template: str, **tokens: str) -> bool:
    """Whether a template writes a tool on offer into the prompt."""
    messages = [Message("user", "a question")]
    return tool.name in render(template, messages, True, [tool], **tokens)


def _render(
    template: str,
    messages: Sequence[Message],
    add_generation_prompt: bool,
    tools: Sequence[Tool],
    tokens: Mapping[str, str],
) -> str:
    turns = [as_turn(message) for message in messages]
    pieces: list[str] = []
    size = 0
    try:
        program = _compile(template)
        for piece in program.generate(
            messages=turns,
            add_generation_prompt=add_generation_prompt,
            # None without tools, as in transformers and llama.cpp: templates test for it.
            tools=[as_tool(tool) for tool in tools] or None,
            range=_limited_range(),
            **tokens,
        ):
            size += len(piece)
            if size > OUTPUT_LIMIT:
                _refuse(f"it writes more than {OUTPUT_LIMIT // 1024**2} Mi characters")
            pieces.append(piece)
    except (jinja2.TemplateError, ArithmeticError, MemoryError, TypeError, ValueError) as error:
        raise DataRefused(
            f"the chat template cannot render these messages: {error}",
            hint="check the roles and their order, or use a base with another template",
        ) from error
    return "".join(pieces)


def read_template(folder: Path) -> str | None:
    """The chat template of a model folder, or None; a separate file takes precedence."""
    for name in _NAMES:
        path = folder / name
        if not path.is_file():
            continue
        if name.endswith(".jinja"):
            return path.read_text(encoding="utf-8")
        template = _template_in_json(path)
        if template is not None:
            return template
    return None


def sha256_of_template(template: str) -> str:
    """Hex sha256 of a template's text, which must be the same in training and serving."""
    return hashlib.sha256(template.encode("utf-8", "surrogatepass")).hexdigest()


def _template_in_json(path: Path) -> str | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntegrityError(
            f"`{path}` is not JSON: {error}", hint="download the model again"
        ) from error
    template = values.get("chat_template") if isinstance(values, dict) else None
    if isinstance(template, list):
        by_name = {str(one.get("name")): one.get("template") for one in template}
        template = by_name.get("default")
    return template if isinstance(template, str) else None


def _refuse(text: str) -> NoReturn:
    raise jinja2.TemplateError(text)


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks the answer for a loss mask; here only its content counts."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """The statements up to `{% endgeneration %}`."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """The sandbox, without operators that can make a value grow without bound."""

    intercepted_binops = frozenset(("*", "**", "%"))

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any
    ) -> Any:
        """Multiply numbers only, and no powers."""
        if operator == "**" or not all(isinstance(side, int | float) for side in (left, right)):
            _refuse(f"it uses `{operator}` in a way that can grow without bound")
        return super().call_binop(context, operator, left, right)


def _limited_range() -> Callable[..., range]:
    left = LOOPS_LIMIT

    def limited(*arguments: int) -> range:
        nonlocal left
        numbers = range(*arguments)
        left -= len(numbers)
        if left < 0:
            _refuse(f"it loops more than {LOOPS_LIMIT} times")
        return numbers

    return limited


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # jinja2's own filter escapes HTML, but templates for models need plain JSON.
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _strftime_now(pattern: str) -> str:
    return datetime.datetime.now().astimezone().strftime(pattern)


@lru_cache(maxsize=16)
def _compile(template: str) -> jinja2.Template:
    environment = _Sandbox(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, jinja2.ext.loopcontrols],
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _strftime_now
    return environment.from_string(template)
