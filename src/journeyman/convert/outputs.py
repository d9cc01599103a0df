"""The files and records of a conversion, and how the files get their final names.

The manifest `NAME.gguf.manifest.json` is first written under a hidden name (the claim), then the
GGUF files are renamed, and the manifest gets its own name last. If the run is killed in between,
the claim shows the next run that the files are its own and may be made again.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from journeyman.errors import UsageError
from journeyman.files import sha256_of, sync_folder
from journeyman.llama_cpp.conversion import F16
from journeyman.records import Gguf, Manifest
from journeyman.runs import folder_lock, read_manifest, write_manifest

STAGE = "convert"


class DivergencePoint(Struct, frozen=True):
    """The first token that differs between the adapter and the GGUF.

    `at` counts the answer's tokens from 0; a token is None if the answer had ended there. `margin`
    is the adapter's best logit minus its second best.
    """

    prompt: str
    at: int
    adapter_token: int | None
    gguf_token: int | None
    margin: float


class Parity(Struct, frozen=True):
    """Greedy tokens of the adapter in PyTorch compared with those of the F16 GGUF in llama.cpp.

    `equal` prompts gave the same `tokens` tokens each; `near_ties` are the prompts that were
    replaced because the adapter's two best tokens were almost equally likely.
    """

    equal: int
    tokens: int
    near_ties: tuple[DivergencePoint, ...]
    near_tie_margin: float
    smallest_margin: float | None


class ConversionResult(Struct, frozen=True):
    """A finished GGUF. `f16` is the checked file that it was quantised from (or the same file)."""

    gguf: Gguf
    f16: Gguf
    parity: Parity
    outcome: Literal["made", "fresh"]


class Outputs(Struct, frozen=True):
    """The result's path, and its inputs and settings, which determine its contents."""

    output: Path
    kind: str
    inputs: dict[str, str]
    settings: dict[str, object]

    @property
    def f16(self) -> Path:
        """The F16 file: beside the output, or the output itself."""
        return self.output if self.kind == F16 else self.output.with_suffix(".f16.gguf")

    @property
    def manifest(self) -> str:
        """The name of the manifest beside the output."""
        return f"{self.output.name}.manifest.json"

    @property
    def claim(self) -> str:
        """The name of the manifest until the files have their final names."""
        return f".tmp-{self.manifest}"

    @property
    def paths(self) -> tuple[Path, ...]:
        """The GGUF files, each once."""
        return tuple(dict.fromkeys((self.f16, self.output)))

    def finished(self) -> ConversionResult | None:
        """The result of an earlier run with the same inputs, if it is complete."""
        manifest = read_manifest(self.output.parent, name=self.manifest)
        if manifest is None or not self._is_same(manifest) or not self._are_complete(manifest):
            return None
        parity = msgspec.convert(manifest.facts["parity"], Parity)
        return self._result(parity, manifest.outputs, outcome="fresh")

    def require_free(self) -> None:
        """Raise UsageError if there are files of another run with the same names."""
        folder = self.output.parent
        for name in (self.manifest, self.claim):
            manifest = read_manifest(folder, name=name)
            if manifest is not None and self._is_same(manifest):
                return
        names = [*self.paths, folder / self.manifest]
        taken = [f"`{path}`" for path in names if path.exists()]
        if taken:
            raise UsageError(
                f"{' and '.join(taken)} already exist, from another adapter, base or setting",
                hint="move them away, or choose another file with `--output`",
            )

    def publish(
        self, made: Mapping[Path, Gguf], facts: Mapping[str, object], parity: Parity
    ) -> ConversionResult:
        """Give the files their final names, the manifest last. made: by final path."""
        folder = self.output.parent
        hashes = {path.name: gguf.sha256 for path, gguf in made.items()}
        write_manifest(
            folder,
            stage=STAGE,
            settings=self.settings,
            inputs=self.inputs,
            outputs=hashes,
            facts={
                **facts,
                "quantization": self.kind,
                "parity": msgspec.to_builtins(parity),
            },
            name=self.claim,
        )
        for path, gguf in made.items():
            gguf.path.replace(path)
        sync_folder(folder)
        (folder / self.claim).replace(folder / self.manifest)
        sync_folder(folder)
        return self._result(parity, hashes, outcome="made")

    def _result(
        self, parity: Parity, hashes: Mapping[str, str], *, outcome: Literal["made", "fresh"]
    ) -> ConversionResult:
        f16, gguf = (
            Gguf(path, hashes[path.name], path.stat().st_size, kind)
            for path, kind in ((self.f16, F16), (self.output, self.kind))
        )
        return ConversionResult(
            gguf=gguf,
            f16=f16,
            parity=parity,
            outcome=outcome,
        )

    def _is_same(self, manifest: Manifest) -> bool:
        return manifest.inputs == self.inputs and manifest.settings == self.settings

    def _are_complete(self, manifest: Manifest) -> bool:
        return all(
            path.is_file() and sha256_of(path) == manifest.outputs.get(path.name)
            for path in self.paths
        )


@contextmanager
def work_folder(output: Path) -> Iterator[Path]:
    """A hidden, locked and empty folder beside the output, removed when the block ends.

    Its name is fixed, so that the next run finds and removes what a killed run left.
    """
    home = output.parent / f".tmp-{output.name}.work"
    with folder_lock(home):
        work = home / "files"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            yield work
        finally:
            shutil.rmtree(home, ignore_errors=True)
