"""One answer of an OpenAI-compatible server, read from its event stream and timed by our clock.

A stream without a finish reason is an error, so that a cut connection never looks like an answer.
"""

import time
from collections.abc import Callable, Iterable, Iterator

import msgspec
from msgspec import Struct, field

from journeyman.errors import UpstreamError
from journeyman.records import Answer


class _Delta(Struct):
    content: str | None = None


class _Choice(Struct):
    # A chat sends deltas, a plain completion sends texts.
    text: str | None = None
    delta: _Delta = field(default_factory=_Delta)
    finish_reason: str | None = None


class _Usage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Timings(Struct):
    prompt_ms: float = 0.0
    predicted_ms: float = 0.0


class _Problem(Struct):
    message: str = "no reason given"


class _Chunk(Struct):
    choices: list[_Choice] = field(default_factory=list)
    usage: _Usage | None = None
    timings: _Timings | None = None
    error: _Problem | None = None


def failed_answer(reason: str) -> Answer:
    """The answer for a failure, without text and times."""
    return Answer(text="", finish="error", error=reason)


def read_answer(
    lines: Iterable[str],
    started_s: float,
    *,
    silence_limit_s: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Answer:
    """The answer in a stream of server-sent events.

    started_s: the clock's reading when the request was sent. silence_limit_s: the longest time
    without an event; comments, which keep a connection alive, are not events.
    """
    partial = _PartialAnswer(started_s, clock)
    try:
        for data in _events(lines, silence_limit_s, clock):
            partial.take(_chunk(data))
    except UpstreamError as error:
        return failed_answer(error.message)
    return partial.answer()


def _events(
    lines: Iterable[str], silence_limit_s: float, clock: Callable[[], float]
) -> Iterator[str]:
    """The data of each event up to `[DONE]`. Raises UpstreamError if the stream ends before it."""
    last_event_s = clock()
    for line in lines:
        if clock() - last_event_s > silence_limit_s:
            raise UpstreamError(f"the server sent nothing for {silence_limit_s:.0f} s")
        kind, _, value = line.partition(":")
        if kind == "error":
            raise UpstreamError(f"the server reported: {value.strip()[:300]}")
        if kind != "data":
            continue
        last_event_s = clock()
        if value.strip() == "[DONE]":
            return
        yield value.strip()
    raise UpstreamError("the stream ended without `[DONE]`")


def _chunk(data: str) -> _Chunk:
    try:
        chunk = msgspec.json.decode(data, type=_Chunk)
    except msgspec.DecodeError as error:
        raise UpstreamError(f"cannot read an event ({error}): {data[:200]}") from error
    if chunk.error is not None:
        raise UpstreamError(f"the server reported: {chunk.error.message}")
    return chunk


class _PartialAnswer:
    """The answer as far as it has been read."""

    def __init__(self, started_s: float, clock: Callable[[], float]) -> None:
        self.started_s = started_s
        self.clock = clock
        self.pieces: list[str] = []
        self.first_token_s: float | None = None
        self.last_s: float | None = None
        self.reason: str | None = None
        self.usage = _Usage()
        self.server_s: float | None = None

    def take(self, chunk: _Chunk) -> None:
        self.usage = chunk.usage or self.usage
        if chunk.timings is not None:
            self.server_s = (chunk.timings.prompt_ms + chunk.timings.predicted_ms) / 1000
        for choice in chunk.choices:
            piece = choice.delta.content or choice.text
            if piece:
                self.pieces.append(piece)
                if self.first_token_s is None:
                    self.first_token_s = self.clock() - self.started_s
            self.reason = choice.finish_reason or self.reason
            self.last_s = self.clock() - self.started_s

    def answer(self) -> Answer:
        if self.reason == "stop":
            finish = "stop"
        elif self.reason == "length":
            finish = "length"
        else:
            return failed_answer(f"the stream ended with the finish reason {self.reason!r}")
        return Answer(
            text="".join(self.pieces),
            finish=finish,  # type: ignore[arg-type]
            latency_s=self.last_s,
            first_token_s=self.first_token_s,
            prompt_tokens=self.usage.prompt_tokens,
            answer_tokens=self.usage.completion_tokens,
            server_s=self.server_s,
        )
