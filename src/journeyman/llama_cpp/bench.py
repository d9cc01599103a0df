"""How many tokens a second a GGUF reads and writes on this machine, by llama-bench.

Its clock leaves out the text, the sampling and HTTP: what it says is a bound, not a latency.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman.errors import UpstreamError
from journeyman.llama_cpp.tools import Tools
from journeyman.machine.processes import plain_environment, run_logged
from journeyman.machine.processor import physical_cores, usable_processors
from journeyman.runs import cache_folder

REPETITIONS = 2


class BenchRates(Struct, frozen=True):
    """Tokens a second of reading `prompt_tokens` and of writing `answer_tokens`; 0: not known."""

    prompt_tokens_per_s: float
    decode_tokens_per_s: float
    prompt_tokens: int = 0
    answer_tokens: int = 0


class _Line(Struct):
    n_prompt: int
    n_gen: int
    avg_ts: float


def bench(
    tools: Tools,
    gguf: Path,
    *,
    prompt_tokens: int,
    answer_tokens: int,
    threads: int | None = None,
) -> BenchRates:
    """Read and write that many tokens, twice each, with the settings that the server has.

    threads: for both; by default a thread a core for writing and all of them for reading.
    """
    reading = _measure(tools, gguf, "-p", prompt_tokens, threads or usable_processors())
    writing = _measure(tools, gguf, "-n", answer_tokens, threads or physical_cores())
    return BenchRates(reading, writing, prompt_tokens, answer_tokens)


def _measure(tools: Tools, gguf: Path, kind: str, tokens: int, threads: int) -> float:
    """Tokens a second of `-p` (reading) or `-n` (writing); the other kind is left out."""
    other = "-n" if kind == "-p" else "-p"
    lines: list[str] = []
    run_logged(
        [
            *(tools.bench, "--model", gguf, "--offline", "--load-mode", "none"),
            *(kind, str(tokens), other, "0", "--threads", str(threads)),
            *("--repetitions", str(REPETITIONS), "--output", "jsonl"),
        ],
        doing=f"measuring `{gguf.name}`",
        log=cache_folder() / "logs" / "llama-bench.log",
        environment=plain_environment(),
        on_line=lines.append,
        failure=UpstreamError,
    )
    for line in lines:
        if line.startswith("{"):
            return _rate(line)
    raise UpstreamError(f"llama-bench said nothing about `{gguf}`")


def _rate(line: str) -> float:
    try:
        return msgspec.json.decode(line, type=_Line).avg_ts
    except msgspec.DecodeError as error:
        raise UpstreamError(f"llama-bench said nonsense ({error}): {line[:200]}") from error
