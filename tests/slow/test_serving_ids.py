"""What llama-server makes of a conversation is, id for id, what training saw."""

from collections.abc import Iterator

import pytest

from journeyman.engines.llama_server import LlamaServer
from journeyman.llama_cpp import find_tools
from journeyman.model.base import find_base
from journeyman.model.chat import Chat, load_chat
from journeyman.model.embedded import embedded_gguf
from journeyman.records import Message

pytestmark = pytest.mark.slow

CONTENTS = (
    "plain words",
    "def f(x):\n\treturn x  # two  spaces\n\n\n",
    " leading and trailing \n",
    "1234 3.14 0x1F ½ ٣٣ ⅷ 第42章",
    "naïve café — “quotes” 😀🏳️‍🌈 日本語 עברית",
    "it's WE'LL They're 'tis",
    "\u00a0\u2003\u200b\ufeff",
    "| a | b |\r\n|---|---|\r\n",
    "",
)


@pytest.fixture(scope="module")
def server() -> Iterator[LlamaServer]:
    with LlamaServer(embedded_gguf(), tools=find_tools(), context_tokens=1024) as running:
        yield running


@pytest.fixture(scope="module")
def chat() -> Chat:
    return load_chat(find_base("smollm2-135m"))


@pytest.mark.parametrize("content", CONTENTS)
def test_a_question_is_the_same_ids_in_training_and_in_service(
    server: LlamaServer, chat: Chat, content: str
) -> None:
    messages = (Message("system", content), Message("user", content))
    assert chat.prompt_ids(messages) == server.prompt_ids(messages)


def test_a_talk_of_several_turns_is_the_same_ids(server: LlamaServer, chat: Chat) -> None:
    turns = [Message(("user", "assistant")[n % 2], text) for n, text in enumerate(CONTENTS)]
    assert chat.prompt_ids(turns) == server.prompt_ids(turns)
