"""llama.cpp's source, pinned: the tree inside a source package from the user's package index.

pip fetches it with the user's own settings (index, mirror, proxy, certificates, folder of files),
so there is no address here. Only `vendor/llama.cpp` of the package is used.
"""

import importlib.metadata
import importlib.util
import os
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from journeyman.errors import IntegrityError, MachineError, UpstreamError
from journeyman.events import Progress, ProgressEnded, Reporter, ignore
from journeyman.files import sha256_of
from journeyman.machine.processes import run_logged
from journeyman.temporary_folders import OwnedFolder

PACKAGE = "llama_cpp_python"
VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
ARCHIVE = f"{PACKAGE}-{VERSION}.tar.gz"
VOCABULARIES = tuple(
    f"models/ggml-vocab-{name}.gguf" for name in ("llama-spm", "qwen2", "llama-bpe")
)
"""Tokenizers without weights, which the tree holds for llama.cpp's own tests (14 MB of them)."""
OWN_TOOLS_HINT = "or set JOURNEYMAN_LLAMA_CPP to a folder with llama.cpp's tools"

# pip asks every source package for its metadata, even if it is only downloaded. It would install
# and run the real backend for that (70 s instead of 4 s), so this one answers instead.
_BACKEND = f"""
from pathlib import Path

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = Path(metadata_directory, "{PACKAGE}-{VERSION}.dist-info")
    folder.mkdir()
    text = "Metadata-Version: 2.1\\nName: {PACKAGE}\\nVersion: {VERSION}\\n"
    (folder / "METADATA").write_text(text, encoding="utf-8")
    return folder.name
"""


def fetch_source(folder: Path, log: Path, report: Reporter = ignore) -> Path:
    """Download the source package into a folder with pip; gives the file, its sha256 checked."""
    if importlib.util.find_spec("pip") is None:
        raise MachineError(
            f"cannot fetch llama.cpp's source: there is no pip in `{sys.prefix}`",
            hint=f"install it: python -m ensurepip; {OWN_TOOLS_HINT}",
        )
    with OwnedFolder("source") as scratch:
        _write_backend(scratch)
        requirement = scratch / "requirement.txt"
        requirement.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n", encoding="utf-8")
        run_logged(
            _command(folder, requirement),
            doing=f"fetching `{ARCHIVE}` from pip's package index",
            log=log,
            environment={**os.environ, "PYTHONPATH": str(scratch), "PIP_NO_INPUT": "1"},
            on_line=_DownloadLines(report),
            failure=UpstreamError,
            hint=f"check `pip config list`; {OWN_TOOLS_HINT}",
        )
    report(ProgressEnded("fetch llama.cpp", ARCHIVE))
    return check_archive(folder / ARCHIVE)


def _write_backend(folder: Path) -> None:
    package = folder / "scikit_build_core"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "build.py").write_text(_BACKEND, encoding="utf-8")


def _command(folder: Path, requirement: Path) -> list[str | Path]:
    name = PACKAGE.replace("_", "-")
    # `raw` prints a line for each piece received; it exists since pip 24.1.
    has_raw = tuple(map(int, importlib.metadata.version("pip").split(".")[:2])) >= (24, 1)
    return [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--no-build-isolation"),
        *("--no-binary", name, "--progress-bar", "raw" if has_raw else "off"),
        *("--disable-pip-version-check", "--dest", folder, "--requirement", requirement),
    ]


class _DownloadLines:
    """Turns pip's `Progress 123 of 456` lines into events, at most one per percent."""

    def __init__(self, report: Reporter) -> None:
        self.report = report
        self.percent = -1

    def __call__(self, line: str) -> None:
        words = line.split()
        if len(words) != 4 or words[0] != "Progress" or not (words[1] + words[3]).isdigit():
            return
        done, total = int(words[1]), max(1, int(words[3]))
        if done * 100 // total > self.percent:
            self.percent = done * 100 // total
            self.report(Progress("fetch llama.cpp", done / 2**20, total / 2**20, "MiB"))


def check_archive(archive: Path) -> Path:
    """The archive, if it has the pinned sha256; else raises IntegrityError."""
    actual = sha256_of(archive) if archive.is_file() else "no file"
    if actual != SHA256:
        raise IntegrityError(
            f"`{archive}` is not the pinned source: sha256 {actual}, expected {SHA256}",
            hint="the package index serves a changed file; do not build it",
        )
    return archive


def unpack_source(archive: Path, folder: Path) -> Path:
    """Unpack only `vendor/llama.cpp` of the source package into a folder.

    Without most vocabularies: they are half of the tree.
    """
    _unpack(archive, folder, lambda name: not name.endswith(".gguf") or name in VOCABULARIES)
    if not (folder / "CMakeLists.txt").is_file():
        raise IntegrityError(f"`{archive}` does not contain `vendor/llama.cpp`")
    return folder


def fetch_vocabularies(folder: Path, log: Path, report: Reporter = ignore) -> None:
    """Download the source package with pip and unpack only `VOCABULARIES` into a folder."""
    archive = fetch_source(folder, log, report)
    _unpack(archive, folder, lambda name: name in VOCABULARIES)
    archive.unlink()
    missing = [name for name in VOCABULARIES if not (folder / name).is_file()]
    if missing:
        raise IntegrityError(f"`{archive}` does not contain {', '.join(missing)}")


def _unpack(archive: Path, folder: Path, is_wanted: Callable[[str], bool]) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise MachineError(
            "this Python cannot unpack archives safely (tarfile has no data filter)",
            hint=f"use Python 3.11.4 or newer; {OWN_TOOLS_HINT}",
        )
    try:
        with tarfile.open(archive, "r:gz") as package:
            package.extractall(folder, members=_wanted(package, is_wanted), filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise IntegrityError(f"`{archive}` cannot be unpacked: {error}") from error


def _wanted(
    package: tarfile.TarFile, is_wanted: Callable[[str], bool]
) -> Iterator[tarfile.TarInfo]:
    prefix = f"{PACKAGE}-{VERSION}/vendor/llama.cpp/"
    for member in package:
        name = member.name.removeprefix(prefix)
        if name != member.name and is_wanted(name):
            yield member.replace(name=name, deep=False)
