"""What quantisation changed: llama-perplexity on the F16 and the quantised file, token by token.

The text is the held-out rows' prompts and answers as plain text; of each window the second half
counts (llama-perplexity's own rule). WARN above a mean KL divergence of 0.05 nats, or if fewer than
90 % of tokens keep their most likely successor; 7-8 B models in Q4_K_M have 0.01 to 0.03 and 92 to
95 % (llama.cpp, tools/perplexity/README.md).
"""

import math
import re
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from journeyman.errors import IntegrityError, JourneymanError, UpstreamError
from journeyman.evaluate.asking.answers import AnswerLine, AnswerRecord
from journeyman.evaluate.records.evaluation import Arm
from journeyman.evaluate.records.scores import EvaluationTask
from journeyman.evaluate.records.suites import QuantisationDivergence, Suite
from journeyman.events import Caution, Note, Progress, ProgressEnded, Reporter
from journeyman.files import content_id, require_space, sha256_of
from journeyman.gguf.header import read_gguf_header
from journeyman.llama_cpp import Tools, find_tools
from journeyman.machine.processes import plain_environment, run_logged
from journeyman.machine.processor import usable_processors
from journeyman.runs import cache_folder, read_manifest

TITLE = "F16 against quantised"
LIMIT_KL = 0.05
LIMIT_SAME_TOP = 0.90
WINDOWS = (512, 256, 128)
MOST_WINDOWS = 16
"""The F16 file's probabilities go to disk: 2 bytes for each token of the vocabulary."""
_CHARACTERS_A_TOKEN = 5.0
"""More than text has on average: llama-perplexity refuses text that does not fill two windows."""
_LARGE_VOCABULARY = 2**18
_NUMBER = r"(-?\d+\.\d+)"
_PATTERNS = {
    "perplexity": rf"^Mean PPL\(Q\)\s*:\s*{_NUMBER} ±",
    "perplexity_f16": rf"^Mean PPL\(base\)\s*:\s*{_NUMBER} ±",
    "mean_kl": rf"^Mean\s+KLD:\s*{_NUMBER} ±",
    "mean_kl_error": rf"^Mean\s+KLD:.*±\s*{_NUMBER}$",
    "p99_kl": rf"^99\.0%\s+KLD:\s*{_NUMBER}$",
    "max_kl": rf"^Maximum KLD:\s*{_NUMBER}$",
    "same_top": rf"^Same top p:\s*{_NUMBER} ±",
    "same_top_error": rf"^Same top p:.*±\s*{_NUMBER} %$",
}
_WINDOWS_SEEN = re.compile(r"computing over (\d+) chunks, n_ctx=(\d+)", re.MULTILINE)
_PASS = re.compile(r"^\s*(\d+)\s+\S+ ±")


class Comparison(Struct, frozen=True):
    """The two files to compare, the text, the window in tokens, and the threads."""

    tuned: Arm
    f16: Path
    text: str
    window: int
    threads: int | None

    @property
    def quantised(self) -> Path:
        """The file that ships."""
        return Path(self.tuned.path)


def quantisation_suite(
    tuned: Arm,
    tasks: Sequence[EvaluationTask],
    *,
    threads: int | None,
    store: AnswerRecord,
    report: Reporter,
) -> Suite:
    """The divergence of the tuned file from the F16 file that `journeyman convert` left beside it.

    Without one, the suite holds the reason.
    """
    text = held_out_text(tasks)
    f16, window = f16_path(tuned), window_for(text)
    reason = _unmeasurable(tuned, f16)
    if not reason and window is None:
        reason = "the held-out rows hold too little text"
    if reason or window is None:
        return Suite(name="quantisation", title=TITLE, not_measured=reason)
    try:
        divergence = _measure(Comparison(tuned, f16, text, window, threads), store, report)
    except JourneymanError as error:
        report(Caution(f"the loss by quantisation was not measured: {error}", hint=error.hint))
        return Suite(name="quantisation", title=TITLE, not_measured=error.message)
    return divergence_suite(divergence)


def divergence_suite(divergence: QuantisationDivergence) -> Suite:
    """The suite's result."""
    return Suite(name="quantisation", title=TITLE, n=divergence.tokens, divergence=divergence)


def f16_path(tuned: Arm) -> Path:
    """The F16 file that `journeyman convert` leaves beside a quantised one."""
    return Path(tuned.path).with_suffix(".f16.gguf")


def _unmeasurable(tuned: Arm, f16: Path) -> str:
    if tuned.engine != "llama.cpp":
        return "an adapter is not quantised"
    if tuned.quantization.upper() in ("F16", "F32"):
        return "the file is not quantised"
    return "" if f16.is_file() else f"no F16 file beside it (`journeyman convert` leaves `{f16}`)"


def held_out_text(tasks: Sequence[EvaluationTask]) -> str:
    """Prompts and answers of the held-out rows as plain text."""
    return "\n\n".join(f"{task.prompt}\n\n{task.reference}" for task in tasks)


def window_for(text: str) -> int | None:
    """The longest window that the text certainly fills twice; None if it is too short for any."""
    tokens = len(text) / _CHARACTERS_A_TOKEN
    return next((window for window in WINDOWS if tokens >= 2 * window), None)


def _measure(files: Comparison, store: AnswerRecord, report: Reporter) -> QuantisationDivergence:
    f16_sha256 = _f16_sha256(files)
    tools = find_tools(report)
    weights = (files.tuned.sha256, f16_sha256, tools.identity)
    key = content_id("divergence", *weights, files.text, str(files.window))
    line = store.line(key)
    if line is not None and line.divergence is not None and line.divergence.lines:
        report(Note("the divergence by quantisation is there from an earlier run"))
        return line.divergence
    divergence = parse_report(_compare(files, tools, report), files.tuned, f16_sha256)
    store.write(AnswerLine(key, divergence=divergence))
    return divergence


def _f16_sha256(files: Comparison) -> str:
    """The F16 file's hash. Raises IntegrityError if it is not the one that `convert` made."""
    own, gguf = sha256_of(files.f16), files.quantised
    manifest = read_manifest(gguf.parent, name=f"{gguf.name}.manifest.json")
    promised = manifest.outputs.get(files.f16.name) if manifest else None
    if promised is not None and promised != own:
        raise IntegrityError(
            f"`{files.f16}` is `{own[:7]}`, the manifest of `{gguf.name}` promises "
            f"`{promised[:7]}` (sha256)",
            hint="run `journeyman convert` again",
        )
    return own


def _compare(files: Comparison, tools: Tools, report: Reporter) -> str:
    """Run llama-perplexity on the F16 file, then on the quantised one; the second run's output."""
    folder = files.quantised.parent
    _require_space(files, folder)
    with tempfile.TemporaryDirectory(prefix=".tmp-divergence-", dir=folder) as scratch:
        text, probabilities = Path(scratch) / "text.txt", Path(scratch) / "probabilities"
        text.write_text(files.text, encoding="utf-8")
        common: list[str | Path] = ["--kl-divergence-base", probabilities]
        first = [*common, "--file", text, "--chunks", str(MOST_WINDOWS)]
        _run("probabilities of F16", files.f16, first, files, tools, report)
        second = [*common, "--kl-divergence"]
        return _run("divergence", files.quantised, second, files, tools, report)


def _require_space(files: Comparison, folder: Path) -> None:
    vocabulary = read_gguf_header(files.f16).tokens or _LARGE_VOCABULARY
    size_bytes = MOST_WINDOWS * (files.window // 2) * (vocabulary + 8) * 2
    require_space(folder, size_bytes, "the probabilities of the F16 file")


def _run(  # noqa: PLR0917 - two calls that differ in these
    task: str,
    gguf: Path,
    arguments: Sequence[str | Path],
    files: Comparison,
    tools: Tools,
    report: Reporter,
) -> str:
    threads = files.threads or usable_processors()
    window = str(files.window)
    lines = _Windows(task, report)
    # Kept if the run fails, so not in the scratch folder, which is removed then.
    log = cache_folder() / "logs" / f"{gguf.name}-{uuid.uuid4().hex[:8]}.log"
    run_logged(
        [
            *(tools.perplexity, "--model", gguf, "--threads", str(threads)),
            *("--ctx-size", window, "--batch-size", window, *arguments),
        ],
        doing=f"{task} of `{gguf.name}`",
        log=log,
        environment=plain_environment(),
        on_line=lines,
        failure=UpstreamError,
    )
    log.unlink(missing_ok=True)
    report(ProgressEnded(task, f"{task} of `{gguf.name}`: done"))
    return "\n".join(lines.seen)


class _Windows:
    """Keeps the lines of the output, and reports the rows of the second run as progress."""

    def __init__(self, task: str, report: Reporter) -> None:
        self.task, self.report = task, report
        self.seen: list[str] = []

    def __call__(self, line: str) -> None:
        self.seen.append(line)
        if row := _PASS.match(line):
            self.report(Progress(self.task, int(row[1]), MOST_WINDOWS, "windows"))


def parse_report(output: str, tuned: Arm, f16_sha256: str) -> QuantisationDivergence:
    """The figures of llama-perplexity's report. Raises UpstreamError unless each is there once.

    tuned: the model of the quantised file.
    """
    values: dict[str, float] = {}
    for name, pattern in _PATTERNS.items():
        found = re.findall(pattern, output, re.MULTILINE)
        if len(found) != 1 or not math.isfinite(float(found[0])):
            raise UpstreamError(f"llama-perplexity did not report `{name}` exactly once")
        values[name] = float(found[0])
    patterns = (*map(re.compile, _PATTERNS.values()), _WINDOWS_SEEN)
    lines = [line for line in output.split("\n") if any(one.search(line) for one in patterns)]
    seen = _WINDOWS_SEEN.findall(output)
    if len(seen) != 1:
        raise UpstreamError("llama-perplexity did not say how many windows it read")
    windows, width = map(int, seen[0])
    values["same_top"] /= 100
    values["same_top_error"] /= 100
    if not 0 <= values["same_top"] <= 1 or values["perplexity"] < 1:
        raise UpstreamError(f"llama-perplexity reported impossible figures: {values}")
    holds = values["mean_kl"] <= LIMIT_KL and values["same_top"] >= LIMIT_SAME_TOP
    return QuantisationDivergence(
        f16=f16_path(tuned).name,
        f16_sha256=f16_sha256,
        quantised=Path(tuned.path).name,
        quantization=tuned.quantization,
        text="the held-out rows' prompts and answers",
        tokens=windows * (width - 1 - width // 2),
        limit_kl=LIMIT_KL,
        limit_same_top=LIMIT_SAME_TOP,
        state="OK" if holds else "WARN",
        lines=tuple(lines),
        **values,
    )
