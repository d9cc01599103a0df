"""The real llama.cpp: it converts, quantises and serves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from journeyman.gguf.header import read_gguf_header
from journeyman.inference.llama_server import LlamaServer
from journeyman.llama_cpp import Tools, find_tools
from journeyman.llama_cpp.conversion import convert_folder, quantise
from journeyman.model.base import find_base
from journeyman.model.chat import load_chat
from journeyman.model.embedded import embedded_gguf
from journeyman.records import Message
from tests.small_models import small_model

pytestmark = pytest.mark.slow

ASKED = [Message("user", "Say only: yes")]


@pytest.fixture(scope="module")
def tools() -> Tools:
    return find_tools()


@pytest.fixture(scope="module")
def server(tools: Tools) -> Iterator[LlamaServer]:
    with LlamaServer(embedded_gguf(), tools=tools, context_tokens=512) as running:
        yield running


def test_smollm2_answers_and_ends_its_turn(server: LlamaServer) -> None:
    answer = server.answer(ASKED, max_tokens=32)
    assert (answer.finish, answer.error) == ("stop", "")
    assert "yes" in answer.text.lower()
    assert answer.first_token_s is not None
    assert answer.latency_s is not None
    assert answer.first_token_s <= answer.latency_s


def test_a_cut_answer_says_so_and_has_the_tokens_it_was_allowed(server: LlamaServer) -> None:
    answer = server.answer([Message("user", "Tell me a long story")], max_tokens=5)
    assert (answer.finish, answer.answer_tokens) == ("length", 5)


def test_the_same_ids_go_on_the_same_way_twice(server: LlamaServer) -> None:
    ids = server.prompt_ids(ASKED)
    assert server.complete(ids, 12) == server.complete(ids, 12)


def test_a_continuation_ends_with_the_end_token(server: LlamaServer) -> None:
    # Token 2 is <|im_end|>, SmolLM2's end of turn.
    assert server.complete(server.prompt_ids(ASKED), 32)[-1] == 2


def test_serving_renders_the_prompt_that_training_renders(server: LlamaServer) -> None:
    messages = [Message("system", "You are brief."), Message("user", "Add 1 to x.\n\tNow.")]
    chat = load_chat(find_base("smollm2-135m"))
    assert server.prompt_ids(messages) == chat.prompt_ids(messages)


def test_the_whole_model_counts_in_its_peak_memory(server: LlamaServer) -> None:
    memory = server.memory()
    peak_bytes = memory.peak_bytes if memory else None
    assert peak_bytes is not None
    assert embedded_gguf().stat().st_size < peak_bytes < 2 * 2**30


def test_a_prompt_longer_than_the_context_is_an_error(server: LlamaServer) -> None:
    answer = server.answer([Message("user", "word " * 600)], max_tokens=5)
    assert answer.finish == "error"
    assert "context" in answer.error


def test_a_model_folder_is_converted_quantised_and_served(tools: Tools, tmp_path: Path) -> None:
    folder = small_model(tmp_path / "model", "llama")
    f16 = convert_folder(folder, tmp_path / "small.f16.gguf", tools)
    small = quantise(f16.path, tmp_path / "small.gguf", "Q8_0", tools)
    assert small.size_bytes < f16.size_bytes
    header = read_gguf_header(small.path)
    assert (header.architecture, header.tokens) == ("llama", 49152)
    with LlamaServer(small.path, tools=tools, context_tokens=128, cache_type="f32") as running:
        assert len(running.complete([1, 9690, 198], 4)) == 4
