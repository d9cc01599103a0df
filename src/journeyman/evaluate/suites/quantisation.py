"""What quantising changed: llama-perplexity on the F16 file and the quantised one, token by token.

The text is the held-out rows' prompts and answers as plain text, in windows of which the second
half counts, as the program does it. WARN above a mean KL divergence of 0.05 nats or below 90 % of
tokens with the same most likely successor; 7-8 B models in Q4_K_M have 0.01 to 0.03 and 92 to 95 %
(llama.cpp, tools/perplexity/README.md).
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
"""The F16 file's probabilities lie on the disk: 2 bytes for each token of the vocabulary."""
_CHARACTERS_A_TOKEN = 5.0
"""More than text has on average: the program refuses one that does not fill two windows."""
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
    """What is compared, on which text, in windows of how many tokens, by how many threads."""

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
    """The divergence of the tuned file from its F16; why not, where there is none to compare with.

    The F16 file is the one that `journeyman convert` leaves beside the quantised one.
    """
    text = held_out_text(tasks)
    f16, window = f16_beside(tuned), window_for(text)
    reason = _unfit(tuned, f16) or ("" if window else "the held-out rows hold too little text")
    if reason or window is None:
        return Suite(name="quantisation", title=TITLE, not_measured=reason)
    try:
        found = _measured(Comparison(tuned, f16, text, window, threads), store, report)
    except JourneymanError as error:
        report(Caution(f"what quantising changed is not measured: {error}", hint=error.hint))
        return Suite(name="quantisation", title=TITLE, not_measured=error.message)
    return divergence_suite(found)


def divergence_suite(found: QuantisationDivergence) -> Suite:
    """The suite of what was found."""
    return Suite(name="quantisation", title=TITLE, n=found.tokens, divergence=found)


def f16_beside(tuned: Arm) -> Path:
    """Where `journeyman convert` leaves the F16 file of a quantised one."""
    return Path(tuned.path).with_suffix(".f16.gguf")


def _unfit(tuned: Arm, f16: Path) -> str:
    if tuned.engine != "llama.cpp":
        return "an adapter is not quantised"
    if tuned.quantization.upper() in ("F16", "F32"):
        return "the file is not quantised"
    return "" if f16.is_file() else f"no F16 file beside it: `journeyman convert` leaves `{f16}`"


def held_out_text(tasks: Sequence[EvaluationTask]) -> str:
    """Prompts and answers of the held-out rows as plain text."""
    return "\n\n".join(f"{task.prompt}\n\n{task.reference}" for task in tasks)


def window_for(text: str) -> int | None:
    """The longest window of which the text certainly fills the two that the program needs."""
    tokens = len(text) / _CHARACTERS_A_TOKEN
    return next((window for window in WINDOWS if tokens >= 2 * window), None)


def _measured(
    compared: Comparison, store: AnswerRecord, report: Reporter
) -> QuantisationDivergence:
    f16_sha256 = _sha256_of(compared)
    tools = find_tools(report)
    weights = (compared.tuned.sha256, f16_sha256, tools.identity)
    key = content_id("divergence", *weights, compared.text, str(compared.window))
    line = store.line(key)
    if line is not None and line.divergence is not None and line.divergence.lines:
        report(Note("what quantising changed is on record"))
        return line.divergence
    found = parsed(_compare(compared, tools, report), compared.tuned, f16_sha256)
    store.write(AnswerLine(key, divergence=found))
    return found


def _sha256_of(compared: Comparison) -> str:
    """The F16 file's own hash. Raises IntegrityError where the conversion made another one."""
    own, gguf = sha256_of(compared.f16), compared.quantised
    manifest = read_manifest(gguf.parent, name=f"{gguf.name}.manifest.json")
    promised = manifest.outputs.get(compared.f16.name) if manifest else None
    if promised is not None and promised != own:
        raise IntegrityError(
            f"`{compared.f16}` is `{own[:7]}`, the manifest of `{gguf.name}` promises "
            f"`{promised[:7]}` (sha256)",
            hint="run `journeyman convert` again",
        )
    return own


def _compare(compared: Comparison, tools: Tools, report: Reporter) -> str:
    """Run the program on the F16 file, then on the other; what it said the second time."""
    folder = compared.quantised.parent
    _require_space(compared, folder)
    with tempfile.TemporaryDirectory(prefix=".tmp-divergence-", dir=folder) as scratch:
        text, probabilities = Path(scratch) / "text.txt", Path(scratch) / "probabilities"
        text.write_text(compared.text, encoding="utf-8")
        common: list[str | Path] = ["--kl-divergence-base", probabilities]
        first = [*common, "--file", text, "--chunks", str(MOST_WINDOWS)]
        _run("probabilities of F16", compared.f16, first, compared, tools, report)
        second = [*common, "--kl-divergence"]
        return _run("divergence", compared.quantised, second, compared, tools, report)


def _require_space(compared: Comparison, folder: Path) -> None:
    vocabulary = read_gguf_header(compared.f16).tokens or _LARGE_VOCABULARY
    size_bytes = MOST_WINDOWS * (compared.window // 2) * (vocabulary + 8) * 2
    require_space(folder, size_bytes, "the probabilities of the F16 file")


def _run(  # noqa: PLR0917 - one call, spelled twice
    task: str,
    gguf: Path,
    arguments: Sequence[str | Path],
    compared: Comparison,
    tools: Tools,
    report: Reporter,
) -> str:
    threads = compared.threads or usable_processors()
    window = str(compared.window)
    lines = _Windows(task, report)
    # Kept where the work failed, so not in a folder that is removed then.
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
    """Keeps the lines, and turns the rows of the second run into events."""

    def __init__(self, task: str, report: Reporter) -> None:
        self.task, self.report = task, report
        self.seen: list[str] = []

    def __call__(self, line: str) -> None:
        self.seen.append(line)
        found = _PASS.match(line)
        if found:
            self.report(Progress(self.task, int(found[1]), MOST_WINDOWS, "windows"))


def parsed(output: str, tuned: Arm, f16_sha256: str) -> QuantisationDivergence:
    """The figures of the program's report, each exactly once and finite. Raises UpstreamError.

    tuned: the quantised file's arm.
    """
    values: dict[str, float] = {}
    for name, pattern in _PATTERNS.items():
        found = re.findall(pattern, output, re.MULTILINE)
        if len(found) != 1 or not math.isfinite(float(found[0])):
            raise UpstreamError(f"llama-perplexity reported no `{name}`, or more than one")
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
        raise UpstreamError(f"llama-perplexity reported nonsense: {values}")
    holds = values["mean_kl"] <= LIMIT_KL and values["same_top"] >= LIMIT_SAME_TOP
    return QuantisationDivergence(
        f16=f16_beside(tuned).name,
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
