"""From a model folder to GGUF files, by llama.cpp's own converter and quantiser.

Promise: a GGUF under its final name is whole; its header was read and its tensors fit in the file.
The folder's own code is never run, and pickled weights are refused.
"""

import json
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
# Bits a weight takes, with the larger types that a mixture keeps for some tensors.
QUANTIZATIONS = {
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


def checked_quantization(kind: str) -> str:
    """The kind in the spelling that llama.cpp knows; UsageError with the list where unknown."""
    found = {name.lower(): name for name in QUANTIZATIONS}.get(kind.lower())
    if found is None:
        raise UsageError(
            f"quantisation `{kind}` is not known", hint=f"one of: {', '.join(QUANTIZATIONS)}"
        )
    return found


def _converter(folder: Path, tools: Tools) -> list[str | Path]:
    launcher = (
        [convert_with_own_tokenizer.__file__] if (folder / "tokenizer.json").is_file() else []
    )
    return [sys.executable, *launcher, tools.converter]


def convert_folder(folder: Path, output: Path, tools: Tools, report: Reporter = ignore) -> Gguf:
    """Write a model folder (config, tokenizer, safetensors) as an F16 GGUF.

    Raises DataRefused for a folder that would need its own code or pickled weights, MachineError
    with the converter's last lines where that fails.
    """
    elements = _elements(_refuse_unsafe(folder))
    require_space(output.parent, int(elements * 2 * _MARGIN), f"the GGUF of `{folder.name}`")
    with _finished(output) as (temporary, log):
        # gguf-py of the same tree goes before any installed one: the pair must agree.
        paths = f"{tools.source / 'gguf-py'}{os.pathsep}{tools.source}"
        run_logged(
            [
                *_converter(folder, tools),
                *(folder, "--outfile", temporary, "--outtype", "f16"),
            ],
            doing=f"converting `{folder}` to GGUF",
            log=log,
            environment=plain_environment(PYTHONPATH=paths, **_OFFLINE),
            on_line=_PercentLines("convert to GGUF", report),
        )
    return _told("convert to GGUF", described(output, F16), report)


def quantize(
    f16: Path,
    output: Path,
    kind: str,
    tools: Tools,
    report: Reporter = ignore,
    *,
    threads: int | None = None,
) -> Gguf:
    """Quantise an F16 GGUF. kind: one of QUANTIZATIONS, in any case of letters."""
    kind = checked_quantization(kind)
    header = read_gguf_header(f16, architectures=None)
    needed_bytes = int(header.parameters * QUANTIZATIONS[kind] / 8 * _MARGIN)
    require_space(output.parent, needed_bytes, f"quantising `{f16.name}` to {kind}")
    count = threads or usable_processors()
    with _finished(output) as (temporary, log):
        run_logged(
            [tools.quantize, f16, temporary, kind, str(count)],
            doing=f"quantising `{f16}` to {kind}",
            log=log,
            environment=plain_environment(),
            on_line=_StepLines(f"quantise to {kind}", report),
        )
    return _told(f"quantise to {kind}", described(output, kind), report)


def _told(task: str, gguf: Gguf, report: Reporter) -> Gguf:
    report(ProgressEnded(task, f"{task}: {byte_size(gguf.size_bytes)}"))
    return gguf


def cached_gguf(
    folder: Path, sha256: str, kind: str, tools: Tools, report: Reporter = ignore
) -> Gguf:
    """The GGUF of a model folder from the cache, made there first where it is missing.

    sha256: of the folder's weights. What stands beside the weights (tokenizer, template, config)
    counts too, and so does the build of llama.cpp. A file of another size or time than the
    manifest's is made again; its bytes are not hashed each time.
    """
    kind = checked_quantization(kind)
    home = cache_folder() / "gguf" / f"{sha256[:16]}-{_small_files_id(folder)}-{tools.identity}"
    with wait_for_folder_lock(home, f"making GGUF files in `{home}`", report):
        found = _from_cache(home / kind)
        if found is not None:
            return found
        for left in home.glob(".tmp-*"):
            shutil.rmtree(left, ignore_errors=True)
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
        whole = convert_folder(folder, Path(scratch) / "f16.gguf", tools, report)
        return quantize(whole.path, output, kind, tools, report)


def _from_cache(folder: Path) -> Gguf | None:
    manifest, path = read_manifest(folder), folder / "model.gguf"
    if manifest is None or not path.is_file():
        return None
    size_bytes = path.stat().st_size
    if size_bytes != manifest.facts.get("size_bytes"):
        return None
    return Gguf(path, manifest.outputs[path.name], size_bytes, folder.name)


def _small_files_id(folder: Path) -> str:
    """One id for all that stands beside the weights and goes into a GGUF."""
    names = ("*.json", "*.jinja", "*.txt", "*.model")
    files = sorted(path for pattern in names for path in folder.glob(pattern))
    return content_id(*(f"{path.name} {sha256_of(path)}" for path in files))


def described(path: Path, quantization: str) -> Gguf:
    """The record of a GGUF file that lies there, hashed."""
    return Gguf(path, sha256_of(path), path.stat().st_size, quantization)


@contextmanager
def _finished(output: Path) -> Iterator[tuple[Path, Path]]:
    """A temporary name and a log; the file is checked, synced and renamed when the block ends."""
    output.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex[:8]
    temporary = output.parent / f".tmp-{mark}-{output.name}"
    # Kept where the work failed, so not in a folder that is removed then.
    log = cache_folder() / "logs" / f"{output.name}-{mark}.log"
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


def _refuse_unsafe(folder: Path) -> Sequence[Path]:
    """The folder's weight files, once nothing in it asks for code of its own or for pickle."""
    if not (folder / "config.json").is_file():
        raise UsageError(f"`{folder}` has no config.json", hint="name a model folder")
    weights = sorted(folder.glob("*.safetensors"))
    faults = [] if weights else ["it has no safetensors weights"]
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        try:
            value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except ValueError as error:
            raise DataRefused(f"`{path}` is not JSON: {error}") from error
        if isinstance(value, dict) and _CODE_KEY in value:
            faults.append(f"`{name}` names code of its own (`{_CODE_KEY}`), which is never run")
    if faults:
        raise DataRefused(
            f"`{folder}` cannot be converted: {'; '.join(faults)}",
            hint="use a model that transformers knows by itself, saved as safetensors",
        )
    return weights


def _elements(weights: Sequence[Path]) -> int:
    """How many numbers the safetensors files hold, by their headers."""
    total = 0
    for path in weights:
        with path.open("rb") as stream:
            head = stream.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
            if not 0 < length <= min(path.stat().st_size - 8, _SAFETENSORS_HEADER_LIMIT_BYTES):
                raise IntegrityError(f"`{path}` is not a whole safetensors file")
            try:
                entries = json.loads(stream.read(length))
            except ValueError as error:
                raise IntegrityError(f"the header of `{path}` is damaged: {error}") from error
        for name, entry in entries.items():
            if name != "__metadata__":
                count = 1
                for axis in entry["shape"]:
                    count *= axis
                total += count
    return total


class _PercentLines:
    """Turns the converter's progress bar (`Writing:  45%|…`) into events."""

    def __init__(self, task: str, report: Reporter) -> None:
        self.task, self.report = task, report

    def __call__(self, line: str) -> None:
        found = re.match(r"Writing:\s+(\d{1,3})%", line)
        if found:
            self.report(Progress(self.task, int(found[1]), 100, "%"))


class _StepLines:
    """Turns the quantiser's `[  3/ 272] name …` lines into events."""

    def __init__(self, task: str, report: Reporter) -> None:
        self.task, self.report = task, report

    def __call__(self, line: str) -> None:
        found = re.match(r"\[\s*(\d+)/\s*(\d+)\]", line)
        if found:
            self.report(Progress(self.task, int(found[1]), int(found[2]), "tensors"))
