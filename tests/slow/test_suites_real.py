"""Likelihoods by llama.cpp's server are those of the same weights in torch, and repeat exactly."""

import pytest

from journeyman.inference.llama_server import LlamaServer
from journeyman.inference.torch_engine import TorchEngine
from journeyman.llama_cpp import find_tools
from journeyman.llama_cpp.conversion import cached_gguf
from journeyman.model.base import find_base
from journeyman.model.embedded import NAME
from journeyman.records import Message

pytestmark = pytest.mark.slow

SAID = (
    Message("user", "Write a function that adds two numbers."),
    Message("assistant", "def add(a, b):\n    return a + b\n"),
)


def test_the_server_gives_the_likelihoods_that_torch_gives() -> None:
    base, tools = find_base(NAME), find_tools()
    # F16, because the server rounds activations to 8 bits where weights are quantised.
    gguf = cached_gguf(base.folder, base.sha256, "F16", tools)
    with LlamaServer(gguf.path, tools=tools, threads=1, cache_type="f32") as server:
        served = server.answer_nats(SAID, limit=12)
        again = server.answer_nats(SAID, limit=12)
    assert again == served
    expected = TorchEngine(base, threads=1, precision="fp32").answer_nats(SAID, limit=12)
    assert len(served) == len(expected) == 12
    # Weights and activations are rounded to 11 bits in one and not in the other.
    assert served == pytest.approx(expected, abs=0.05)
