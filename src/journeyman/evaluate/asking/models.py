"""The models under test, and the engines that answer for them.

A tuned GGUF is compared with its base model in the same quantisation, made by the same tools. An
adapter is compared with its base model in torch, which is not what will serve: the verdict says so.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from journeyman.errors import IntegrityError, UsageError
from journeyman.evaluate.records.evaluation import Arm
from journeyman.events import Caution, Note, Reporter
from journeyman.files import content_id, sha256_of
from journeyman.inference.interface import Engine
from journeyman.llama_cpp import find_tools
from journeyman.llama_cpp.conversion import cached_gguf
from journeyman.model.adapter import read_adapter, require_fit
from journeyman.model.base import find_base
from journeyman.records import BaseModel, Manifest
from journeyman.runs import read_manifest
from journeyman.settings import EvaluateSettings

OpenEngine = Callable[[Arm], Engine]
"""Makes the engine that answers for a model; entering it may load the weights."""


class ModelsUnderTest(Struct, frozen=True):
    """The models in the order they are measured: the base model first, if there is one."""

    arms: tuple[Arm, ...]
    base: BaseModel | None = None

    @property
    def tuned(self) -> Arm:
        """The tuned model."""
        return self.arms[-1]


def models_under_test(settings: EvaluateSettings, report: Reporter) -> ModelsUnderTest:
    """The tuned model and its base model. Raises UsageError if `--model` is not a model."""
    if settings.model.is_dir():
        return _with_adapter(settings, report)
    if settings.model.is_file():
        return _with_gguf(settings, report)
    raise UsageError(
        f"`{settings.model}` is neither an adapter folder nor a GGUF file",
        hint="run `journeyman train` or `journeyman convert` first, or name another --model",
    )


def _with_adapter(settings: EvaluateSettings, report: Reporter) -> ModelsUnderTest:
    adapter = read_adapter(settings.model)
    base = find_base(settings.base or adapter.base_name, report)
    require_fit(adapter, base)
    plain = Arm(id="base", name=base.name, engine="torch", sha256=base.sha256, base=base.name)
    tuned = Arm(
        id="tuned",
        name=str(settings.model),
        engine="torch",
        sha256=content_id(base.sha256, adapter.sha256),
        path=str(settings.model),
        base=base.name,
    )
    return ModelsUnderTest((plain, tuned), base=base)


def _with_gguf(settings: EvaluateSettings, report: Reporter) -> ModelsUnderTest:
    manifest = _manifest_of(settings.model)
    tuned = Arm(
        id="tuned",
        name=settings.model.name,
        engine="llama.cpp",
        sha256=sha256_of(settings.model),
        path=str(settings.model),
        base=_base_fact(manifest, "name"),
        quantization=_quantization(settings.model, manifest),
        promised_sha256=manifest.outputs.get(settings.model.name, "") if manifest else "",
        template_sha256=_template_sha256(settings.model),
    )
    base = _base_gguf(settings, tuned, manifest, report)
    return ModelsUnderTest((base, tuned) if base else (tuned,))


def _manifest_of(gguf: Path) -> Manifest | None:
    """The manifest that `journeyman convert` wrote beside its file."""
    return read_manifest(gguf.parent, name=f"{gguf.name}.manifest.json")


def _template_sha256(gguf: Path) -> str:
    """The hash of the file's chat template; empty if it has none or cannot be read."""
    from journeyman.gguf.header import read_gguf_header

    try:
        template = read_gguf_header(gguf).values.get("tokenizer.chat_template")
    except IntegrityError:
        # The server says what is wrong with the file when it loads it.
        return ""
    return content_id(template) if isinstance(template, str) else ""


def _base_fact(manifest: Manifest | None, key: str) -> str:
    base = manifest.facts.get("base") if manifest else None
    value = base.get(key) if isinstance(base, dict) else None
    return value if isinstance(value, str) else ""


def _quantization(gguf: Path, manifest: Manifest | None) -> str:
    """By the manifest, otherwise by the file's header; empty if neither says."""
    by_manifest = manifest.facts.get("quantization") if manifest else None
    if isinstance(by_manifest, str):
        return by_manifest
    from gguf import LlamaFileType

    from journeyman.gguf.header import read_gguf_header

    number = read_gguf_header(gguf).values.get("general.file_type")
    known = {int(kind): kind.name for kind in LlamaFileType}
    name = known.get(number, "") if isinstance(number, int) else ""
    return name.removeprefix("ALL_").removeprefix("MOSTLY_")


def _base_gguf(
    settings: EvaluateSettings,
    tuned: Arm,
    manifest: Manifest | None,
    report: Reporter,
) -> Arm | None:
    """The base model as a GGUF: the given file, or converted and quantised like the tuned model."""
    name = settings.base or tuned.base
    if not name:
        report(
            Caution(
                f"nothing to compare `{settings.model}` with: it does not name its base model",
                hint="name the base model: --base smollm2-135m",
            )
        )
        return None
    given = Path(name)
    if given.suffix == ".gguf" and given.is_file():
        kind = _quantization(given, _manifest_of(given))
        arm = _base_arm(name, given, sha256_of(given), kind)
    else:
        base = find_base(name, report)
        _require_same_base(base, settings, manifest, report)
        kind = tuned.quantization or "F16"
        gguf = cached_gguf(base.folder, base.sha256, kind, find_tools(report), report)
        arm = _base_arm(name, gguf.path, gguf.sha256, kind)
    if kind != tuned.quantization:
        report(
            Caution(
                f"the quantisations differ: the base model is `{kind}`, the tuned model "
                f"`{tuned.quantization}`"
            )
        )
    return arm


def _base_arm(name: str, gguf: Path, sha256: str, kind: str) -> Arm:
    return Arm(
        id="base",
        name=name,
        engine="llama.cpp",
        sha256=sha256,
        path=str(gguf),
        base=name,
        quantization=kind,
        template_sha256=_template_sha256(gguf),
    )


def _require_same_base(
    base: BaseModel, settings: EvaluateSettings, manifest: Manifest | None, report: Reporter
) -> None:
    """Raise IntegrityError if the base is not the manifest's; one given by `--base` may differ."""
    promised = _base_fact(manifest, "sha256")
    if not promised or promised == base.sha256:
        return
    if settings.base:
        report(Caution(f"`{settings.model}` was not made from `{base.name}`"))
    else:
        raise IntegrityError(
            f"`{settings.model}` was made from `{_base_fact(manifest, 'name')}@{promised[:7]}`, "
            f"the base model found is `{base.name}@{base.sha256[:7]}` (sha256)",
            hint=f"restore that base model, or compare with this one: --base {base.name}",
        )


def require_unchanged(arms: Sequence[Arm]) -> None:
    """Raise IntegrityError if a file is no longer the one that answered."""
    for arm in arms:
        if arm.engine == "llama.cpp" and sha256_of(Path(arm.path)) != arm.sha256:
            raise IntegrityError(
                f"`{arm.path}` was changed while it was measured",
                hint="evaluate again, and let nothing write to the file meanwhile",
            )


def commands_of(arms: Sequence[Arm], settings: EvaluateSettings) -> dict[str, tuple[str, ...]]:
    """How each GGUF is served: its latency and its memory depend on these settings."""
    from journeyman.inference.llama_server import serving_flags

    return {
        arm.id: ("llama-server", "--model", arm.path, *serving_flags(threads=settings.threads))
        for arm in arms
        if arm.engine == "llama.cpp"
    }


def engine_opener(
    models: ModelsUnderTest, settings: EvaluateSettings, report: Reporter
) -> OpenEngine:
    """Makes the real engines: llama.cpp's server for a GGUF, torch for an adapter."""

    def open_engine(arm: Arm) -> Engine:
        if arm.engine == "llama.cpp":
            from journeyman.inference.llama_server import LlamaServer

            # Not earlier: finding the tools may build them.
            tools = find_tools(report)
            return LlamaServer(Path(arm.path), tools=tools, threads=settings.threads, report=report)
        from journeyman.inference.torch_engine import TorchEngine

        assert models.base is not None
        report(Note(f"{arm.id}: answered by torch, not by the engine that will serve it"))
        adapter = Path(arm.path) if arm.path else None
        return TorchEngine(models.base, adapter=adapter, threads=settings.threads)

    return open_engine
