"""From a model folder to GGUF files, with llama.cpp's own converter and quantiser.

Promise: a GGUF under its final name is complete; its header was read and its tensors fit into the
file. The folder's own code is never run, and pickled weights are refused.
"""

import json
import math
import os
import re
import shutil
import struct
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from journeyman.errors import DataRefused, IntegrityError, UsageError
from journeyman.events import Progress, ProgressEnded, Reporter, ignore
from journeyman.files import atomic_folder, content_id, require_space, sha256_of, sync_folder
from journeyman.formatting import byte_size
from journeyman.gguf.header import read_gguf_header
from journeyman.llama_cpp import convert_with_own_tokenizer
from journeyman.llama_cpp.tools import Tools
from journeyman.machine.processes import plain_environment, run_logged
from journeyman.machine.processor import usable_processors
from journeyman.records import Gguf
from journeyman.runs import cache_folder, read_manifest, wait_for_folder_lock, write_manifest

F16 = "F16"
# Bits per weight, including the larger types that a mixture uses for some tensors.
QUANTISATIONS = {
    "Q2_K": 3.4,
    "Q3_K_S": 3.7,
    "Q3_K_M": 4.1,
    "Q3_K_L": 4.5,
    "IQ4_XS": 4.6,
    "IQ4_NL": 4.8,
    "Q4_0": 4.8,
    "Q4_1": 5.3,
    "Q4_K_S": 4.9,
    "Q4_K_M": 5.1,
    "Q5_0": 5.8,
    "Q5_1": 6.2,
    "Q5_K_S": 5.8,
    "Q5_K_M": 5.9,
    "Q6_K": 6.8,
    "Q8_0": 8.6,
    "BF16": 16.0,
    F16: 16.0,
    "F32": 32.0,
}
_MARGIN = 1.1
_SAFETENSORS_HEADER_LIMIT_BYTES = 100 * 1024 * 1024
_CODE_KEY = "auto_map"
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def quantisation_name(kind: str) -> str:
    """A quantisation in llama.cpp's spelling; raises UsageError with the list if it is unknown."""
    name = {name.lower(): name for name in QUANTISATIONS}.get(kind.lower())
    if name is None:
        raise UsageError(
            f"unknown quantisation `{kind}`", hint=f"use one of: {', '.join(QUANTISATIONS)}"
        )
    return name


def _converter(folder: Path, tools: Tools) -> list[str | Path]:
    launcher = (
        [convert_with_own_tokenizer.__file__] if (folder / "tokenizer.json").is_file() else []
    )
    return [sys.executable, *launcher, tools.converter]


def convert_folder(folder: Path, output: Path, tools: Tools, report: Reporter = ignore) -> Gguf:
    """Write a model folder (config, tokenizer, safetensors) as an F16 GGUF.

    Raises DataRefused if the folder needs its own code or has only pickled weights, MachineError
    with the converter's last lines if the converter fails.
    """
    parameters = _count_parameters(_safe_weights(folder))
    require_space(output.parent, int(parameters * 2 * _MARGIN), f"the GGUF of `{folder.name}`")
    with _checked_output(output) as (temporary, log):
        # gguf-py of the same tree comes before any installed one: it must match the converter.
        paths = f"{tools.source / 'gguf-py'}{os.pathsep}{tools.source}"
        run_logged(
            [
                *_converter(folder, tools),
                *(folder, "--outfile", temporary, "--outtype", "f16"),
            ],
            doing=f"converting `{folder}` to GGUF",
            log=log,
            environment=plain_environment(PYTHONPATH=paths, **_OFFLINE),
            on_line=_ProgressLines(r"Writing:\s+(\d{1,3})(%)", "convert to GGUF", report),
        )
    return _report_end("convert to GGUF", gguf_record(output, F16), report)


def quantise(
    f16: Path,
    output: Path,
    kind: str,
    tools: Tools,
    report: Reporter = ignore,
    *,
    threads: int | None = None,
) -> Gguf:
    """Quantise an F16 GGUF. kind: one of QUANTISATIONS, in upper or lower case."""
    kind = quantisation_name(kind)
    header = read_gguf_header(f16, architectures=None)
    needed_bytes = int(header.parameters * QUANTISATIONS[kind] / 8 * _MARGIN)
    require_space(output.parent, needed_bytes, f"quantising `{f16.name}` to {kind}")
    count = threads or usable_processors()
    with _checked_output(output) as (temporary, log):
        run_logged(
            [tools.quantize, f16, temporary, kind, str(count)],
            doing=f"quantising `{f16}` to {kind}",
            log=log,
            environment=plain_environment(),
            on_line=_ProgressLines(r"\[\s*(\d+)/\s*(\d+)\]", f"quantise to {kind}", report),
        )
    return _report_end(f"quantise to {kind}", gguf_record(output, kind), report)


def _report_end(task: str, gguf: Gguf, report: Reporter) -> Gguf:
    report(ProgressEnded(task, f"{task}: {byte_size(gguf.size_bytes)}"))
    return gguf


def cached_gguf(
    folder: Path, sha256: str, kind: str, tools: Tools, report: Reporter = ignore
) -> Gguf:
    """The GGUF of a model folder from the cache, made now if it is missing.

    sha256: of the folder's weights. Another tokenizer, template, config or build of llama.cpp gives
    another GGUF. The file is made again if its size differs from the manifest's; it is not hashed
    each time.
    """
    kind = quantisation_name(kind)
    home = cache_folder() / "gguf" / f"{sha256[:16]}-{_small_files_id(folder)}-{tools.identity}"
    with wait_for_folder_lock(home, f"making GGUF files in `{home}`", report):
        cached = _from_cache(home / kind)
        if cached is not None:
            return cached
        for unfinished in home.glob(".tmp-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        with atomic_folder(home / kind, replace=True) as made:
            gguf = _make(folder, made / "model.gguf", kind, tools, report)
            write_manifest(
                made,
                stage="gguf",
                settings={"quantization": kind, "folder": str(folder)},
                inputs={"weights": sha256},
                outputs={"model.gguf": gguf.sha256},
                facts={"size_bytes": gguf.size_bytes},
            )
    return msgspec.structs.replace(gguf, path=home / kind / "model.gguf")


def _make(folder: Path, output: Path, kind: str, tools: Tools, report: Reporter) -> Gguf:
    if kind == F16:
        return convert_folder(folder, output, tools, report)
    with tempfile.TemporaryDirectory(prefix=".tmp-f16-", dir=output.parent.parent) as scratch:
        f16 = convert_folder(folder, Path(scratch) / "f16.gguf", tools, report)
        return quantise(f16.path, output, kind, tools, report)


def _from_cache(folder: Path) -> Gguf | None:
    manifest, path = read_manifest(folder), folder / "model.gguf"
    if manifest is None or not path.is_file():
        return None
    size_bytes = path.stat().st_size
    if size_bytes != manifest.facts.get("size_bytes"):
        return None
    return Gguf(path, manifest.outputs[path.name], size_bytes, folder.name)


def _small_files_id(folder: Path) -> str:
    """An id of the files beside the weights that go into a GGUF."""
    names = ("*.json", "*.jinja", "*.txt", "*.model")
    files = sorted(path for pattern in names for path in folder.glob(pattern))
    return content_id(*(f"{path.name} {sha256_of(path)}" for path in files))


def gguf_record(path: Path, quantization: str) -> Gguf:
    """The record of an existing GGUF file; hashes it."""
    return Gguf(path, sha256_of(path), path.stat().st_size, quantization)


@contextmanager
def _checked_output(output: Path) -> Iterator[tuple[Path, Path]]:
    """A temporary file and a log; the file is checked, synced and renamed when the block ends."""
    output.parent.mkdir(parents=True, exist_ok=True)
    unique = uuid.uuid4().hex[:8]
    temporary = output.parent / f".tmp-{unique}-{output.name}"
    # The log outlives a failure, so it is not in a folder that is removed then.
    log = cache_folder() / "logs" / f"{output.name}-{unique}.log"
    try:
        yield temporary, log
        read_gguf_header(temporary, architectures=None)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(output)
        sync_folder(output.parent)
        log.unlink(missing_ok=True)
    finally:
        temporary.unlink(missing_ok=True)


def _safe_weights(folder: Path) -> Sequence[Path]:
    """The folder's weight files; raises DataRefused if it needs its own code or pickle."""
    if not (folder / "config.json").is_file():
        raise UsageError(f"`{folder}` has no config.json", hint="use a model folder")
    weights = sorted(folder.glob("*.safetensors"))
    faults = [] if weights else ["it has no safetensors weights"]
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        try:
            value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except ValueError as error:
            raise DataRefused(f"`{path}` is not JSON: {error}") from error
        if isinstance(value, dict) and _CODE_KEY in value:
            faults.append(
                f"`{name}` needs the model's own code (`{_CODE_KEY}`), which is never run"
            )
    if faults:
        raise DataRefused(
            f"`{folder}` cannot be converted: {'; '.join(faults)}",
            hint="use a model that transformers supports without extra code, saved as safetensors",
        )
    return weights


def _count_parameters(weights: Sequence[Path]) -> int:
    """The number of parameters in safetensors files, from their headers."""
    total = 0
    for path in weights:
        with path.open("rb") as stream:
            head = stream.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
            if not 0 < length <= min(path.stat().st_size - 8, _SAFETENSORS_HEADER_LIMIT_BYTES):
                raise IntegrityError(f"`{path}` is not a complete safetensors file")
            try:
                entries = json.loads(stream.read(length))
            except ValueError as error:
                raise IntegrityError(f"the header of `{path}` is damaged: {error}") from error
        shapes = [entry["shape"] for name, entry in entries.items() if name != "__metadata__"]
        total += sum(map(math.prod, shapes))
    return total


class _ProgressLines:
    """Turns lines such as `Writing:  45%|…` and `[  3/ 272] name …` into progress.

    pattern: its groups are the part that is done, and the total or `%`.
    """

    def __init__(self, pattern: str, task: str, report: Reporter) -> None:
        self.pattern, self.task, self.report = pattern, task, report

    def __call__(self, line: str) -> None:
        step = re.match(self.pattern, line)
        if step:
            total, unit = (100, "%") if step[2] == "%" else (int(step[2]), "tensors")
            self.report(Progress(self.task, int(step[1]), total, unit))
