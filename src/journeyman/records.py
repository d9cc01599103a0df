"""The words that cross every boundary between stages: frozen, typed, and nothing but data.

Units stand in the names. A measurement that was not taken is `None`, never 0.
Ids are content hashes (`journeyman.files.content_id`).
"""

from pathlib import Path
from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

Role = Literal["system", "user", "assistant", "tool"]


class ToolCall(Struct, frozen=True):
    """A tool that an assistant asked for. `arguments` is JSON text; `id` is empty if not logged."""

    id: str
    name: str
    arguments: str


class Tool(Struct, frozen=True, omit_defaults=True):
    """A function that a model could ask for. `parameters` is JSON text: an object, its schema."""

    name: str
    description: str = ""
    parameters: str = "{}"


class Message(Struct, frozen=True, omit_defaults=True):
    """One turn of a conversation, as it was said.

    An assistant's turn may ask for tools (its `content` is then often empty); a `tool` turn holds
    what came back, `tool_call_id` says for which call and `name` from which tool.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None


class Check(Struct, frozen=True, omit_defaults=True):
    """One way to find out whether an answer is right: code that runs against it.

    `doctest`: `source` holds `>>>` lines. `assert`: `source` holds statements that raise when the
    answer is wrong. Both see the answer's names; `setup` runs first. `pytest`: `source` is a file
    of tests that import the answer as the module named by `file`. `command`: `source` is a shell
    command, run in a copy of the folder `repository` into which the answer is written as `file`;
    code 0 passes. `reference`: the answer is itself a file of tests; `source` is a right
    implementation that they import as `file`, on which they must pass and on a wrong one fail.
    `n` is how many examples, statements or tests must be seen to pass (a command
    counts as 1): fewer is a failure.
    """

    kind: Literal["doctest", "assert", "pytest", "command", "reference"]
    source: str
    n: int
    entry_point: str | None = None
    setup: str = ""
    file: str = "answer.py"
    repository: str = ""


class Interaction(Struct, frozen=True):
    """One logged call of an agent: what was asked, what came back, and how it went.

    `sent` are the messages that were really sent, empty where the log does not hold them.
    `answer` is None where the call failed. `line` is the row's line in its file, from 1.
    `tool_calls` are the calls that the answer asks for. Interactions of one `conversation` share
    their first turns, so they must not stand in two splits. `logged_at_s` are seconds since 1970.
    `offered` are the tools that could be asked for; without any it is not written, and ids that are
    made of content stay what they were.
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
        """The tools on offer, none where the log names none."""
        return () if self.offered is UNSET else self.offered


class Example(Struct, frozen=True):
    """One row of train/val/test.jsonl: a conversation that ends with the answer to learn.

    `text` is the chat template over `messages`. `trains_end` is False where the answer was cut off
    and its end-of-turn must not be learned. `findings` are the ids of the rules that matched.
    `group` is equal for rows with the same prompt, which never stand in two splits. `offered` are
    the tools that the prompt names; it is not written where there are none.
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
        """The tools on offer, none where the row names none."""
        return () if self.offered is UNSET else self.offered


class BaseModel(Struct, frozen=True):
    """A base model that is on this disk, ready to load: a folder in the hub's layout.

    `name` is what the user wrote (hub id, folder, GGUF file, `smollm2-135m`). `sha256` is over the
    weights; an adapter refuses a base with another one. `template_sha256` is over its template.
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
    """What a model said to one conversation, and what it cost, by the caller's own clock.

    `finish` is why it ended: `stop` (end of turn), `length` (cut off), or `error` (`error` is
    set, `text` empty, no latency: an error never counts as a fast answer). `server_s` is what the
    engine's own clock says; it leaves out waiting, transport and the making of the prompt.
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
    """A share with its 95 % interval: k of n, all shares 0..1."""

    k: int
    n: int
    share: float
    low: float
    high: float
    method: str = "wilson"


class Manifest(Struct, frozen=True):
    """What a folder holds and where it came from; written last, so that it stands for a whole.

    `inputs` and `outputs` map a name or a relative path to a sha256. `facts` are the stage's own.
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
