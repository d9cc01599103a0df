"""Records that stages exchange: frozen, typed, and nothing but data.

Units are part of the names. `None` means not measured; 0 means measured as zero.
Ids are content hashes (`journeyman.files.content_id`).
"""

from pathlib import Path
from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

Role = Literal["system", "user", "assistant", "tool"]


class ToolCall(Struct, frozen=True):
    """An assistant's call of a tool. `arguments` is JSON text; `id` is empty if not logged."""

    id: str
    name: str
    arguments: str


class Tool(Struct, frozen=True, omit_defaults=True):
    """A function that a model may call. `parameters` is JSON text: the schema, an object."""

    name: str
    description: str = ""
    parameters: str = "{}"


class Message(Struct, frozen=True, omit_defaults=True):
    """One turn of a conversation.

    An assistant may call tools (`content` is then often empty). A `tool` turn holds the result;
    `tool_call_id` names the call and `name` the tool.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None


class Check(Struct, frozen=True, omit_defaults=True):
    """Code that decides whether an answer is correct.

    `doctest`: `source` holds `>>>` lines. `assert`: `source` holds statements that raise if the
    answer is wrong. Both see the answer's names; `setup` runs first. `pytest`: `source` is a test
    file that imports the answer as the module named by `file`. `command`: `source` is a shell
    command that runs in a copy of the folder `repository`, with the answer written to `file`; exit
    code 0 passes. `reference`: the answer is itself a test file, and `source` is a correct
    implementation that it imports as `file`; the tests must pass on it and fail on a wrong one.
    `n` is the number of examples, statements or tests that must pass (1 for a command).
    """

    kind: Literal["doctest", "assert", "pytest", "command", "reference"]
    source: str
    n: int
    entry_point: str | None = None
    setup: str = ""
    file: str = "answer.py"
    repository: str = ""


class Interaction(Struct, frozen=True):
    """One logged call of an agent: the request, the answer, and how it went.

    `sent` are the messages as they were sent; empty if the log does not have them. `answer` is None
    if the call failed. `line` is the row's line in its file, from 1. `tool_calls` are the calls in
    the answer. Interactions of one `conversation` share their first turns, so they must not end up
    in different splits. `logged_at_s` is in seconds since 1970. `offered` are the tools that the
    model could call; it is not written if there are none, so that content ids stay the same.
    """

    id: str
    line: int
    task: str
    agent: str
    answer: str | None
    status: str
    sent: tuple[Message, ...] = ()
    task_id: str | None = None
    source: str = ""
    producer: str | None = None
    duration_s: float | None = None
    finish_reason: str | None = None
    max_tokens: int | None = None
    checks: tuple[Check, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    conversation: str | None = None
    repository: str | None = None
    logged_at_s: float | None = None
    offered: tuple[Tool, ...] | UnsetType = field(default=UNSET, name="tools")

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools on offer; empty if the log names none."""
        return () if self.offered is UNSET else self.offered


class Example(Struct, frozen=True):
    """One row of train/val/test.jsonl: a conversation that ends with the answer to learn.

    `text` is the conversation rendered with the chat template. `trains_end` is False if the answer
    was cut off, so that its end of turn must not be learned. `findings` are the ids of the rules
    that matched. Rows with the same prompt have the same `group`, and a group is never split.
    `offered` are the tools that the prompt names; it is not written if there are none.
    """

    id: str
    messages: tuple[Message, ...]
    text: str
    agent: str
    task_id: str | None
    status: str
    source: str
    group: str
    findings: tuple[str, ...] = ()
    trains_end: bool = True
    duration_s: float | None = None
    checks: tuple[Check, ...] = ()
    offered: tuple[Tool, ...] | UnsetType = field(default=UNSET, name="tools")

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools on offer; empty if the row names none."""
        return () if self.offered is UNSET else self.offered


class BaseModel(Struct, frozen=True):
    """A base model on this disk, ready to load: a folder in the hub's layout.

    `name` is what the user wrote (hub id, folder, GGUF file, `smollm2-135m`). `sha256` is that of
    the weights, by which an adapter recognises its base; `template_sha256` of the chat template.
    """

    name: str
    folder: Path
    sha256: str
    template_sha256: str
    kind: Literal["hub", "folder", "gguf", "embedded"]


class Gguf(Struct, frozen=True):
    """A model file for llama.cpp."""

    path: Path
    sha256: str
    size_bytes: int
    quantization: str


class Answer(Struct, frozen=True):
    """A model's answer to one conversation, with its latency by the caller's clock.

    `finish` is why it ended: `stop` (end of turn), `length` (cut off), or `error` (`error` is
    set, `text` empty, and there is no latency: an error never counts as a fast answer). `server_s`
    is the engine's own measurement, without waiting, transport and rendering of the prompt.
    """

    text: str
    finish: Literal["stop", "length", "error"]
    latency_s: float | None = None
    first_token_s: float | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    error: str = ""
    server_s: float | None = None


class Interval(Struct, frozen=True):
    """A share with its 95 % confidence interval: k of n, all shares 0..1."""

    k: int
    n: int
    share: float
    low: float
    high: float
    method: str = "wilson"


class Manifest(Struct, frozen=True):
    """What a folder holds and where it came from. Written last: with it, the folder is complete.

    `inputs` and `outputs` map a name or a relative path to a sha256. `facts` depend on the stage.
    """

    stage: str
    settings: dict[str, object]
    inputs: dict[str, str]
    outputs: dict[str, str]
    versions: dict[str, str]
    machine: str
    created_utc: str
    schema: int = 1
    facts: dict[str, object] = field(default_factory=dict)
