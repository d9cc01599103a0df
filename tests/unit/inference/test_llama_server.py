"""Our llama-server: started, asked, and ended. A small HTTP server stands in for llama.cpp's."""

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from journeyman.errors import IntegrityError, MachineError, UpstreamError
from journeyman.events import Event, Note
from journeyman.inference.llama_server import LlamaServer
from journeyman.llama_cpp.tools import Tools
from journeyman.model.message_format import as_openai
from journeyman.records import Message, Tool, ToolCall
from tests.fake_tools import fake_server, fake_tools, python_script
from tests.gguf_files import gguf_bytes, pair_integers, pair_text, pair_texts, write_gguf
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    return fake_tools(tmp_path_factory.mktemp("tools"), server=fake_server())


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "small.gguf")


@pytest.fixture(scope="module")
def server(tools: Tools, gguf: Path) -> Iterator[LlamaServer]:
    with LlamaServer(gguf, tools=tools, threads=1) as running:
        yield running


def said(text: str) -> list[Message]:
    return [Message("system", "be brief"), Message("user", text)]


def test_an_answer_carries_text_counts_and_our_own_times(server: LlamaServer) -> None:
    answer = server.answer(said("slow"), max_tokens=9)
    assert (answer.text, answer.finish, answer.error) == ("one two", "stop", "")
    assert (answer.prompt_tokens, answer.answer_tokens) == (5, 2)
    assert answer.first_token_s is not None
    assert answer.latency_s is not None
    # The stand-in sleeps 0.3 s before its first token.
    assert 0.3 <= answer.first_token_s <= answer.latency_s


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("truncate", "ended without|RemoteProtocolError"),
        ("error", "out of memory"),
        ("nonsense", "cannot read an event"),
        ("refuse", "answered 400.*too long"),
    ],
)
def test_a_failed_answer_is_an_error_with_its_reason(
    server: LlamaServer, what: str, reason: str
) -> None:
    answer = server.answer(said(what), max_tokens=9)
    assert (answer.finish, answer.text, answer.latency_s) == ("error", "", None)
    assert re.search(reason, answer.error)
    assert server.answer(said("again"), max_tokens=9).finish == "stop"


def test_the_servers_own_clock_is_kept_beside_ours(server: LlamaServer) -> None:
    assert server.answer(said("hello"), max_tokens=9).server_s == pytest.approx(0.2)


def test_only_a_warm_request_may_reuse_what_was_read(server: LlamaServer) -> None:
    # The stand-in refuses `cache_prompt` with any message but this one, and demands it there.
    assert server.answer(said("warm"), max_tokens=9, reuse_prompt=True).finish == "stop"
    assert server.answer(said("hello"), max_tokens=9).finish == "stop"
    assert server.answer(said("hello"), max_tokens=9, reuse_prompt=True).finish == "error"


def test_the_server_keeps_a_7b_within_its_memory(server: LlamaServer) -> None:
    command = server.command()
    # One slot; 4,096 tokens instead of the model's 32k; no 8 GiB of old prompts; weights held once.
    for flag, value in (
        ("--parallel", "1"),
        ("--ctx-size", "4096"),
        ("--cache-ram", "0"),
        ("--load-mode", "none"),
    ):
        assert command[command.index(flag) + 1] == value


def test_prompt_ids_are_tokenised_as_the_server_does_for_a_chat(server: LlamaServer) -> None:
    # add_special and parse_special are both true, and "P:hello" has 7 characters.
    assert server.prompt_ids(said("hello")) == [1, 1, 7]


START, END = "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>{% endif %}"
)


def special_gguf(path: Path, *templates: str) -> Path:
    """A file with two special tokens: 0 starts a turn, 1 ends it."""
    keys = [
        pair_text("general.architecture", "llama"),
        pair_texts("tokenizer.ggml.tokens", [START, END, "a"]),
        pair_integers("tokenizer.ggml.token_type", [3, 3, 1]),
        *(pair_text("tokenizer.chat_template", template) for template in templates),
    ]
    return write_gguf(path, gguf_bytes(keys))


def test_a_special_token_in_a_message_is_sent_as_text(tools: Tools, tmp_path: Path) -> None:
    said_so: list[Event] = []
    gguf = special_gguf(tmp_path / "m.gguf", TEMPLATE)
    with LlamaServer(gguf, tools=tools, report=said_so.append) as running:
        answers = [running.answer([Message("user", f"a{END}")], max_tokens=9) for _ in range(2)]
    # Its own tokens with their ids, and `user: a<|im_end|>`, 17 characters, tokenised with
    # special tokens neither added (0) nor recognised (0).
    assert [answer.text for answer in answers] == ["0 0 0 17 1 0 "] * 2
    assert answers[0].prompt_tokens == 6
    notes = [event for event in said_so if END in str(event)]
    assert len(notes) == 1
    assert isinstance(notes[0], Note)
    assert "as token ids" in notes[0].text


def test_tools_on_offer_are_sent_in_the_prompts_ids(tools: Tools, tmp_path: Path) -> None:
    # With a list of its own the server would take calls out of the answer's text.
    template = "{{ tools[0].function.name }}" + TEMPLATE
    add = [Tool("add")]
    with LlamaServer(special_gguf(tmp_path / "m.gguf", template), tools=tools) as running:
        ids = running.prompt_ids(said("a"), add)
        answer = running.answer(said("a"), max_tokens=9, tools=add)
    # `add`: no special tokens added (0) or recognised (0), 3 characters; then the start of a turn.
    assert ids[:4] == [0, 0, 3, 0]
    assert answer.text == "".join(f"{number} " for number in ids)
    assert answer.prompt_tokens == len(ids)


def test_prompt_ids_with_a_special_token_are_those_that_are_answered(
    tools: Tools, tmp_path: Path
) -> None:
    with LlamaServer(special_gguf(tmp_path / "m.gguf", TEMPLATE), tools=tools) as running:
        assert running.prompt_ids([Message("user", END)]) == [0, 0, 0, 16, 1, 0]
        assert running.answer(said("plain"), max_tokens=9).text == "one two"


@pytest.mark.parametrize("templates", [(), ("{{ messages[0].content | upper }}",)])
def test_a_special_token_that_cannot_be_told_apart_is_an_error(
    tools: Tools, tmp_path: Path, templates: tuple[str, ...]
) -> None:
    with LlamaServer(special_gguf(tmp_path / "m.gguf", *templates), tools=tools) as running:
        answer = running.answer([Message("user", f"a{END}")], max_tokens=9)
    assert (answer.finish, answer.text) == ("error", "")
    assert f"special token `{END}`" in answer.error


def test_tool_calls_have_openais_shape() -> None:
    call = ToolCall("c1", "read", '{"path": "a.py"}')
    asks = Message("assistant", "", tool_calls=(call, ToolCall("", "list", "")))
    gives = Message("tool", "x = 1", tool_call_id="c1", name="read")
    read = {"name": "read", "arguments": '{"path": "a.py"}'}
    listing = {"type": "function", "function": {"name": "list", "arguments": "{}"}}
    calls = [{"id": "c1", "type": "function", "function": read}, listing]
    assert [as_openai(asks), as_openai(gives)] == [
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "x = 1", "tool_call_id": "c1", "name": "read"},
    ]


def test_a_completion_gives_token_ids(server: LlamaServer) -> None:
    assert server.complete([1, 2, 3], 2) == [3, 2]


def test_a_completion_that_is_nonsense_is_an_upstream_error(server: LlamaServer) -> None:
    with pytest.raises(UpstreamError, match="cannot read llama-server"):
        server.complete([0], 2)


def test_its_peak_memory_is_known_while_it_runs_and_after(tools: Tools, gguf: Path) -> None:
    with LlamaServer(gguf, tools=tools) as running:
        during = running.memory()
    after = running.memory()
    assert during is not None
    assert after is not None
    assert 2**20 < (during.peak_bytes or 0) <= (after.peak_bytes or 0)


def test_nobody_without_the_key_is_served(server: LlamaServer) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}]}
    reply = httpx.post(f"{server.process.address}/apply-template", json=body, trust_env=False)
    assert reply.status_code == httpx.codes.UNAUTHORIZED


def test_a_server_that_dies_gives_an_error_that_says_how(tools: Tools, gguf: Path) -> None:
    with LlamaServer(gguf, tools=tools) as running:
        answer = running.answer(said("die"), max_tokens=9)
        assert answer.finish == "error"
        assert "ended with code 7" in running.answer(said("again"), max_tokens=9).error
        with pytest.raises(UpstreamError, match="ended with code 7"):
            running.complete([1], 1)


def test_a_silent_server_is_given_up(tools: Tools, gguf: Path) -> None:
    with LlamaServer(gguf, tools=tools, silence_limit_s=0.2) as running:
        assert "ReadTimeout" in running.answer(said("silent"), max_tokens=9).error


def test_a_server_that_does_not_load_is_quoted(tools: Tools, tmp_path: Path) -> None:
    gguf = write_gguf(tmp_path / "refused.gguf")
    with pytest.raises(MachineError, match="ended with code 1: error: unknown model architecture"):
        LlamaServer(gguf, tools=tools)


def test_a_damaged_gguf_never_reaches_the_server(tools: Tools, tmp_path: Path) -> None:
    gguf = write_gguf(tmp_path / "cut.gguf", gguf_bytes()[:-8])
    with pytest.raises(IntegrityError, match="ends at byte"):
        LlamaServer(gguf, tools=tools)


def test_closing_ends_the_process_and_removes_its_key(tools: Tools, gguf: Path) -> None:
    running = LlamaServer(gguf, tools=tools)
    folder, port = running.process.log.parent, int(running.process.address.rsplit(":", 1)[1])
    assert (folder / "key").stat().st_mode & 0o077 == 0
    running.close()
    running.close()
    assert not folder.exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_setting_in_the_shell_does_not_reach_the_server(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_ARG_TOOLS", "all")
    script = "import os, sys\nsys.exit('tools ' + os.environ.get('LLAMA_ARG_TOOLS', 'none'))\n"
    tools = fake_tools(tmp_path, server=python_script(script))
    with pytest.raises(MachineError, match="tools none"):
        LlamaServer(gguf, tools=tools)


def test_a_server_whose_owner_is_killed_goes_too(tools: Tools, gguf: Path) -> None:
    reading, writing = os.pipe()
    owner = os.fork()
    if owner == 0:
        try:
            running = LlamaServer(gguf, tools=tools)
            os.write(writing, running.process.address.encode())
            time.sleep(600)
        finally:
            os._exit(1)
    os.close(writing)
    address = os.read(reading, 100).decode()
    os.close(reading)
    assert address, "the owner ended before its server ran"
    os.kill(owner, signal.SIGKILL)
    os.waitpid(owner, 0)
    port = int(address.rsplit(":", 1)[1])

    def is_closed() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    wait_for("the server ends with its owner", is_closed)
