"""Which models are compared, and the engines that answer for them.

A tuned GGUF is compared with its base in the same quantisation, made by the same tools. An adapter
is compared with its base in torch, which is not what will be served: the verdict says so.
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
"""Makes the engine that answers for an arm; entering it may load the model."""


class ModelsUnderTest(Struct, frozen=True):
    """The arms in the order they are measured: the base first, where there is one."""

    arms: tuple[Arm, ...]
    base: BaseModel | None = None

    @property
    def tuned(self) -> Arm:
        """The model that is under test."""
        return self.arms[-1]


def compared(settings: EvaluateSettings, report: Reporter) -> ModelsUnderTest:
    """The tuned model and what it is compared with. Raises UsageError where it is neither kind."""
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
    """What `journeyman convert` wrote beside its file."""
    return read_manifest(gguf.parent, name=f"{gguf.name}.manifest.json")


def _template_sha256(gguf: Path) -> str:
    """Over the file's own chat template; empty where it has none or cannot be read."""
    from journeyman.gguf.header import read_gguf_header

    try:
        template = read_gguf_header(gguf).values.get("tokenizer.chat_template")
    except IntegrityError:
        # The server says what is wrong with the file, when it is asked to load it.
        return ""
    return content_id(template) if isinstance(template, str) else ""


def _base_fact(manifest: Manifest | None, key: str) -> str:
    base = manifest.facts.get("base") if manifest else None
    value = base.get(key) if isinstance(base, dict) else None
    return value if isinstance(value, str) else ""


def _quantization(gguf: Path, manifest: Manifest | None) -> str:
    """By the manifest, else by the file's own header; empty where neither says."""
    stated = manifest.facts.get("quantization") if manifest else None
    if isinstance(stated, str):
        return stated
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
    """The base as a GGUF: the file given, or the base named, converted and quantised like tuned."""
    name = settings.base or tuned.base
    if not name:
        report(
            Caution(
                f"`{settings.model}` does not say what it was made from: nothing to compare with",
                hint="name its base: --base smollm2-135m",
            )
        )
        return None
    given = Path(name)
    if given.suffix == ".gguf" and given.is_file():
        kind = _quantization(given, _manifest_of(given))
        path, sha256 = given, sha256_of(given)
    else:
        base = find_base(name, report)
        _require_same_base(base, settings, manifest, report)
        kind = tuned.quantization or "F16"
        gguf = cached_gguf(base.folder, base.sha256, kind, find_tools(report), report)
        path, sha256 = gguf.path, gguf.sha256
    if kind != tuned.quantization:
        report(Caution(f"the base is `{kind}`, the tuned model `{tuned.quantization}`: not alike"))
    return Arm(
        id="base",
        name=name,
        engine="llama.cpp",
        sha256=sha256,
        path=str(path),
        base=name,
        quantization=kind,
        template_sha256=_template_sha256(Path(path)),
    )


def _require_same_base(
    base: BaseModel, settings: EvaluateSettings, manifest: Manifest | None, report: Reporter
) -> None:
    """A base that was asked for by name may be another one; one that was looked up may not."""
    promised = _base_fact(manifest, "sha256")
    if not promised or promised == base.sha256:
        return
    if settings.base:
        report(Caution(f"`{base.name}` is not the base that `{settings.model}` was made from"))
    else:
        raise IntegrityError(
            f"`{settings.model}` was made from `{_base_fact(manifest, 'name')}@{promised[:7]}`, "
            f"the base found is `{base.name}@{base.sha256[:7]}` (sha256)",
            hint="restore that base, or compare with this one: --base " + base.name,
        )


def require_unchanged(arms: Sequence[Arm]) -> None:
    """Raise IntegrityError where a file is no longer the one that answered."""
    for arm in arms:
        if arm.engine == "llama.cpp" and sha256_of(Path(arm.path)) != arm.sha256:
            raise IntegrityError(
                f"`{arm.path}` was changed while it was measured",
                hint="let nothing write to it, and evaluate again",
            )


def commands_of(arms: Sequence[Arm], settings: EvaluateSettings) -> dict[str, tuple[str, ...]]:
    """How each GGUF is served: the settings that its time and its memory depend on."""
    from journeyman.inference.llama_server import serving_flags

    return {
        arm.id: ("llama-server", "--model", arm.path, *serving_flags(threads=settings.threads))
        for arm in arms
        if arm.engine == "llama.cpp"
    }


def engine_opener(
    found: ModelsUnderTest, settings: EvaluateSettings, report: Reporter
) -> OpenEngine:
    """What makes the real engines: llama.cpp's server for a GGUF, torch for an adapter."""

    def open_engine(arm: Arm) -> Engine:
        if arm.engine == "llama.cpp":
            from journeyman.inference.llama_server import LlamaServer

            # Looked for here and not earlier: finding the tools may build them.
            tools = find_tools(report)
            return LlamaServer(Path(arm.path), tools=tools, threads=settings.threads, report=report)
        from journeyman.inference.torch_engine import TorchEngine

        assert found.base is not None
        report(Note(f"{arm.id}: in torch, not in the engine that will serve it"))
        adapter = Path(arm.path) if arm.path else None
        return TorchEngine(found.base, adapter=adapter, threads=settings.threads)

    return open_engine
