"""Throughput of a GGUF on this machine in tokens/s, measured by llama-bench.

llama-bench leaves out tokenising, sampling and HTTP, so its throughput is an upper bound.
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
    """Tokens/s of reading `prompt_tokens` and of writing `answer_tokens`; a count of 0: unknown."""

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
    """Read and write that many tokens, twice each, with the server's settings.

    threads: for both. The default is one per core for writing and one per processor for reading.
    """
    reading = _measure(tools, gguf, "-p", prompt_tokens, threads or usable_processors())
    writing = _measure(tools, gguf, "-n", answer_tokens, threads or physical_cores())
    return BenchRates(reading, writing, prompt_tokens, answer_tokens)


def _measure(tools: Tools, gguf: Path, kind: str, tokens: int, threads: int) -> float:
    """Tokens/s of `-p` (reading) or `-n` (writing), without the other."""
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
    raise UpstreamError(f"llama-bench printed no result for `{gguf}`")


def _rate(line: str) -> float:
    try:
        return msgspec.json.decode(line, type=_Line).avg_ts
    except msgspec.DecodeError as error:
        raise UpstreamError(f"cannot read llama-bench's result ({error}): {line[:200]}") from error
