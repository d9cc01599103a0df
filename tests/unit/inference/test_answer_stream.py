"""Reading an answer from a stream of events: what counts as an answer, and what does not."""

import json
from collections.abc import Iterable, Iterator

import pytest

from journeyman.inference.answer_stream import read_answer
from journeyman.records import Answer


def event(content: str | None = None, reason: str | None = None) -> str:
    delta = {} if content is None else {"content": content}
    return "data: " + json.dumps({"choices": [{"delta": delta, "finish_reason": reason}]})


USAGE = 'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}'
DONE = "data: [DONE]"


def read(lines: Iterable[str], times: Iterator[float] | None = None) -> Answer:
    clock = iter(range(1000)) if times is None else times
    return read_answer(lines, 0.0, silence_limit_s=100.0, clock=lambda: float(next(clock)))


def test_a_whole_stream_is_an_answer() -> None:
    answer = read([event(""), event("a"), event("b"), event(reason="stop"), USAGE, DONE])
    assert (answer.text, answer.finish) == ("ab", "stop")
    assert (answer.prompt_tokens, answer.answer_tokens) == (7, 2)


def test_the_first_token_is_the_first_content_that_is_not_empty() -> None:
    # The clock goes on by one at each look: start 0; event 1 looks at 1 and 2, and so on.
    now = [0.0]

    def lines() -> Iterator[str]:
        for at, line in ((1.0, event("")), (5.0, event("a")), (9.0, event("b", "length"))):
            now[0] = at
            yield line
        now[0] = 20.0
        yield DONE

    answer = read_answer(lines(), 0.0, silence_limit_s=100.0, clock=lambda: now[0])
    assert (answer.first_token_s, answer.latency_s, answer.finish) == (5.0, 9.0, "length")


BROKEN = {
    "cut off before the end": [event("a")],
    "cut off after the reason": [event("a"), event(reason="stop")],
    "no reason": [event("a"), DONE],
    "a reason that is none of ours": [event("a", "tool_calls"), DONE],
    "not JSON": [event("a"), "data: {broken", DONE],
    "another shape": ['data: {"choices": 5}', DONE],
    "an error event": [event("a"), 'data: {"error": {"message": "out of memory"}}', DONE],
    "an error field": [event("a"), 'error: {"message": "out of memory"}'],
    "nothing": [],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_stream_is_an_error_and_never_a_fast_answer(name: str) -> None:
    answer = read(BROKEN[name])
    assert answer.finish == "error"
    assert answer.error
    assert (answer.text, answer.latency_s, answer.first_token_s) == ("", None, None)


def test_comments_that_keep_a_connection_alive_are_no_answer() -> None:
    now = iter([0.0, *(float(60 * n) for n in range(1, 50))])
    answer = read((": ping" for _ in range(40)), now)
    assert "nothing for 100 s" in answer.error


def test_missing_counts_are_none_and_not_zero() -> None:
    answer = read([event("a", "stop"), DONE])
    assert (answer.prompt_tokens, answer.answer_tokens) == (None, None)
