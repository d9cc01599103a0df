"""A llama-server of our own: started for one GGUF, asked over HTTP, ended with this process.

It serves one request at a time, reads no settings from the environment, and reuses nothing between
requests unless asked to, so that every answer is cold and repeatable. Only a GGUF with a valid
header is loaded.
If a message contains the text of a special token, it is treated as in training: it stays text.
(Another server of the same file would read the token.)
Start it from a thread that lives as long as it is needed (see `server_process`).
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self, TypeVar

import httpx
import msgspec
from msgspec import Struct

from journeyman.errors import DataRefused, UpstreamError
from journeyman.events import Note, Reporter, ignore
from journeyman.gguf.header import read_gguf_header
from journeyman.inference.answer_stream import failed_answer, read_answer
from journeyman.inference.served_prompt import SafePrompts
from journeyman.inference.server_process import ServerProcess
from journeyman.llama_cpp import Tools
from journeyman.machine.process_memory import ProcessMemory
from journeyman.machine.processor import physical_cores, usable_processors
from journeyman.model.message_format import as_openai
from journeyman.records import Answer, Message, Tool

SEED = 42
CONTEXT_TOKENS = 4096
SILENCE_LIMIT_S = 600.0
_START_BASE_S = 120.0
_SLOWEST_DISK_BYTES_S = 20e6
_FORCE = 1e6
# The server writes the smallest float for a probability that underflowed to zero.
_LEAST_LOGPROB = -1e6

T = TypeVar("T")


class _Prompt(Struct):
    prompt: str


class _Tokens(Struct):
    tokens: list[int]


class _Probability(Struct):
    id: int
    logprob: float


class _Probabilities(Struct):
    completion_probabilities: list[_Probability]


def serving_flags(
    *,
    threads: int | None = None,
    context_tokens: int = CONTEXT_TOKENS,
    cache_type: Literal["f16", "f32"] = "f16",
) -> list[str]:
    """The server's flags without the model: one slot, a bounded context, weights held once."""
    # Writing an answer is bound by memory, which a second thread on a core does not speed up;
    # reading a prompt is bound by arithmetic and uses all of them.
    write, read = threads or physical_cores(), threads or usable_processors()
    return [
        *("--offline", "--no-ui", "--no-slots", "--cors-origins", "localhost"),
        *("--parallel", "1", "--ctx-size", str(context_tokens)),
        *("--threads", str(write), "--threads-batch", str(read)),
        # A mapped file and repacked weights would both stay in memory and count twice.
        *("--load-mode", "none", "--cache-ram", "0"),
        *("--cache-type-k", cache_type, "--cache-type-v", cache_type),
        *("--seed", str(SEED), "--temp", "0", "--skip-chat-parsing"),
        *("--log-verbosity", "3", "--log-colors", "off"),
    ]


class LlamaServer:
    """An `Engine` with llama-server, from the file that will be deployed."""

    def __init__(
        self,
        gguf: Path,
        *,
        tools: Tools,
        threads: int | None = None,
        context_tokens: int = CONTEXT_TOKENS,
        cache_type: Literal["f16", "f32"] = "f16",
        silence_limit_s: float = SILENCE_LIMIT_S,
        report: Reporter = ignore,
    ) -> None:
        """Start the server and wait until the model is loaded.

        cache_type: of the key-value cache; f32 for an exact comparison with another engine.
        silence_limit_s: longest wait for the next piece of an answer. Raises IntegrityError for an
        invalid GGUF, MachineError if the server does not start.
        """
        header = read_gguf_header(gguf)
        self._safe = SafePrompts(header, self._ids_of_text)
        self._report = report
        self._has_noted_special = False
        self.gguf = gguf
        self.tools = tools
        self.threads = threads
        self.context_tokens = context_tokens
        self.cache_type = cache_type
        self.silence_limit_s = silence_limit_s
        limit_s = _START_BASE_S + header.size_bytes / _SLOWEST_DISK_BYTES_S
        self.process = ServerProcess(self.command(), subject=str(gguf), limit_s=limit_s)
        self.load_s = self.process.load_s
        self._client = httpx.Client(
            base_url=self.process.address,
            headers=self.process.headers,
            trust_env=False,
            timeout=httpx.Timeout(silence_limit_s, connect=10.0),
        )
        report(Note(f"llama-server loaded `{gguf.name}` in {self.load_s:.1f} s"))

    @property
    def name(self) -> str:
        """The GGUF's file name and the build that serves it."""
        return f"{self.gguf.name} in llama.cpp {self.tools.identity}"

    def command(self) -> list[str]:
        """The command line without address and key, to record it or run it by hand."""
        flags = serving_flags(
            threads=self.threads,
            context_tokens=self.context_tokens,
            cache_type=self.cache_type,
        )
        return [str(self.tools.server), "--model", str(self.gguf), *flags]

    def answer(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        reuse_prompt: bool = False,
        tools: Sequence[Tool] = (),
    ) -> Answer:
        """The greedy answer, timed from the request to its last event.

        reuse_prompt: do not read again what this prompt shares with the one before (as in service);
        otherwise nothing is reused, and the answer does not depend on earlier requests.
        """
        try:
            path, prompt = self._request(messages, tools)
        except (DataRefused, UpstreamError) as error:
            return failed_answer(error.message)
        body = {
            **prompt,
            "max_tokens": max_tokens,
            "temperature": 0,
            "seed": SEED,
            "cache_prompt": reuse_prompt,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        started_s = time.perf_counter()
        try:
            with self._client.stream("POST", path, json=body) as response:
                if response.status_code != httpx.codes.OK:
                    text = response.read().decode("utf-8", "replace")[:300]
                    return failed_answer(f"llama-server answered {response.status_code}: {text}")
                lines = response.iter_lines()
                return read_answer(lines, started_s, silence_limit_s=self.silence_limit_s)
        except httpx.HTTPError as error:
            return failed_answer(self._reason(error))

    def _request(
        self, messages: Sequence[Message], tools: Sequence[Tool]
    ) -> tuple[str, dict[str, object]]:
        """The path and the body's prompt that a conversation is sent with."""
        if tools:
            # Given tools, the server would remove calls from the answer's text and use a grammar.
            return "/v1/completions", {"prompt": self._safe.ids(messages, tools)}
        token = self._safe.special_in(messages)
        if token is None:
            return "/v1/chat/completions", {"messages": list(map(as_openai, messages))}
        if not self._has_noted_special:
            self._has_noted_special = True
            self._report(
                Note(f"a message contains `{token}` as text: such messages are sent as token ids")
            )
        return "/v1/completions", {"prompt": self._safe.ids(messages)}

    def prompt_ids(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """The prompt's token ids that `answer` uses, by the server's own template and tokenizer.

        Raises DataRefused if a message contains a special token that cannot be told apart.
        """
        if tools or self._safe.special_in(messages) is not None:
            return self._safe.ids(messages, tools)
        body = {"messages": list(map(as_openai, messages))}
        prompt = self._post("/apply-template", body, _Prompt).prompt
        # As the server does for a chat: special tokens are added, and recognised in the text.
        content = {"content": prompt, "add_special": True, "parse_special": True}
        return self._post("/tokenize", content, _Tokens).tokens

    def _ids_of_text(self, text: str) -> list[int]:
        content = {"content": text, "add_special": False, "parse_special": False}
        return self._post("/tokenize", content, _Tokens).tokens

    def complete(self, ids: Sequence[int], n_tokens: int) -> list[int]:
        """The greedy continuation of token ids: n_tokens, or fewer if the model ends."""
        body = {
            "prompt": list(ids),
            "n_predict": n_tokens,
            "temperature": 0,
            "samplers": ["temperature"],
            "seed": SEED,
            "cache_prompt": False,
            "return_tokens": True,
        }
        return self._post("/completion", body, _Tokens).tokens

    def answer_nats(
        self, messages: Sequence[Message], *, limit: int, tools: Sequence[Tool] = ()
    ) -> list[float]:
        """Minus the log-probability of each of the answer's first `limit` tokens, in nats.

        See `interface.Likelihoods`. The server gives no probabilities of a prompt, so each token is
        forced in turn, and the server reports its probability before forcing it.
        """
        ids = self.prompt_ids(messages[:-1], tools)
        nats: list[float] = []
        for token in self._ids_of_text(messages[-1].content)[:limit]:
            # The prompt is read anew for each answer: earlier requests must not matter.
            nats.append(self._nats_of_next(ids, token, reuse_prompt=bool(nats)))
            ids.append(token)
        return nats

    def _nats_of_next(self, ids: Sequence[int], token: int, *, reuse_prompt: bool) -> float:
        body = {
            "prompt": list(ids),
            "n_predict": 1,
            "temperature": 0,
            "samplers": ["temperature"],
            "seed": SEED,
            # All but the last token is in the cache from the request before.
            "cache_prompt": reuse_prompt,
            "logit_bias": [[token, _FORCE]],
            "n_probs": 1,
            "post_sampling_probs": False,
        }
        found = self._post("/completion", body, _Probabilities).completion_probabilities
        if len(found) != 1 or found[0].id != token or not _LEAST_LOGPROB < found[0].logprob <= 0:
            raise UpstreamError(f"llama-server gave no probability for token {token}: {found}")
        return -found[0].logprob

    def _post(self, path: str, body: object, kind: type[T]) -> T:
        try:
            response = self._client.post(path, json=body)
        except httpx.HTTPError as error:
            raise UpstreamError(f"llama-server `{path}`: {self._reason(error)}") from error
        if response.status_code != httpx.codes.OK:
            raise UpstreamError(
                f"llama-server `{path}` answered {response.status_code}: {response.text[:300]}"
            )
        try:
            return msgspec.json.decode(response.content, type=kind)
        except msgspec.DecodeError as error:
            raise UpstreamError(
                f"cannot read llama-server's answer to `{path}`: {error}"
            ) from error

    def _reason(self, error: httpx.HTTPError) -> str:
        # A broken connection is often the first sign of a process that is about to end.
        end = self.process.end_reason(wait_s=1.0)
        return f"{type(error).__name__}: {error}" + (f"; llama-server {end}" if end else "")

    def memory(self) -> ProcessMemory | None:
        """The server's memory now and at its peak, its model included."""
        return self.process.memory()

    def close(self) -> None:
        """End the server. A second call does nothing."""
        self._client.close()
        self.process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
