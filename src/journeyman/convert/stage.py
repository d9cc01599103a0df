"""From an adapter to a GGUF file: merge, convert, compare, quantise.

Everything is made in a hidden folder beside the output and gets its final name only after the F16
file has given the same answers as the adapter. If a run is killed, the next one cleans up and
starts again.
"""

import shutil
from pathlib import Path

from journeyman.convert.merge import merge
from journeyman.convert.outputs import STAGE, ConversionResult, Outputs, Parity, work_folder
from journeyman.convert.parity import (
    CONTEXT_TOKENS,
    ParityThresholds,
    parity_prompts,
    require_parity,
    require_same_ends,
)
from journeyman.errors import UsageError
from journeyman.events import Note, ProgressEnded, Reporter, StageStarted, ignore
from journeyman.files import require_space
from journeyman.formatting import byte_size
from journeyman.inference.llama_server import LlamaServer
from journeyman.inference.torch_engine import TorchEngine
from journeyman.llama_cpp import Tools, find_tools
from journeyman.llama_cpp.conversion import F16, convert_folder, quantisation_name, quantise
from journeyman.model.adapter import Adapter, read_adapter, require_fit
from journeyman.model.base import find_base
from journeyman.model.weight_files import weight_files
from journeyman.records import BaseModel
from journeyman.settings import ConvertSettings

NONE = "none"


def convert(settings: ConvertSettings, report: Reporter = ignore) -> ConversionResult:
    """Merge, convert, compare and quantise, unless the output exists already.

    Raises UsageError if a file of another run has the same name, and IntegrityError if the base
    does not fit or the GGUF answers differently from the adapter (then no file is written).
    """
    kind = _quantisation(settings)
    adapter = read_adapter(settings.model)
    base = find_base(settings.base or adapter.base_name, report)
    require_fit(adapter, base)
    outputs = Outputs(
        output=settings.output,
        kind=kind,
        inputs={"adapter": adapter.sha256, "base": base.sha256},
        settings={
            "quantize": kind,
            "parity_prompts": settings.parity_prompts,
            "parity_tokens": settings.parity_tokens,
        },
    )
    report(StageStarted(STAGE, f"{settings.model} on {base.name} to {settings.output} ({kind})"))
    with work_folder(settings.output) as work:
        fresh = outputs.finished()
        if fresh is not None:
            report(Note(f"`{settings.output}` exists already, from the same adapter and base"))
            return fresh
        outputs.require_free()
        return _make(settings, adapter, base, work=work, outputs=outputs, report=report)


def _quantisation(settings: ConvertSettings) -> str:
    """The quantisation's name. Raises UsageError with all faults of the settings."""
    faults = []
    if settings.output.suffix != ".gguf":
        faults.append(f"the output `{settings.output}` does not end with `.gguf`")
    if settings.parity_prompts < 1 or settings.parity_tokens < 1:
        faults.append("the parity check needs at least one prompt and one token")
    if faults:
        raise UsageError("; ".join(faults), hint="see `journeyman convert --help`")
    none = settings.quantize.lower() == NONE
    return F16 if none else quantisation_name(settings.quantize)


def _make(
    settings: ConvertSettings,
    adapter: Adapter,
    base: BaseModel,
    *,
    work: Path,
    outputs: Outputs,
    report: Reporter,
) -> ConversionResult:
    tools = find_tools(report)
    merged = work / "merged"
    merged.mkdir()
    # Merged weights are float32, so a 16-bit base can double in size.
    base_bytes = sum(file.stat().st_size for file in weight_files(base.folder))
    require_space(work, 2 * base_bytes, "the merged model")
    merge(adapter, base, merged, report)
    f16 = convert_folder(merged, work / outputs.f16.name, tools, report)
    shutil.rmtree(merged)
    parity = compare(f16.path, base, settings, tools, report)
    made = {outputs.f16: f16}
    if outputs.kind != F16:
        goal = work / outputs.output.name
        made[outputs.output] = quantise(f16.path, goal, outputs.kind, tools, report)
    facts = {
        "base": {
            "name": base.name,
            "sha256": base.sha256,
            "template_sha256": base.template_sha256,
        },
        "llama_cpp": tools.identity,
    }
    done = outputs.publish(made, facts, parity)
    size = byte_size(done.gguf.size_bytes)
    report(ProgressEnded(STAGE, f"`{settings.output}`: {done.gguf.quantization}, {size}"))
    return done


def compare(
    f16: Path, base: BaseModel, settings: ConvertSettings, tools: Tools, report: Reporter = ignore
) -> Parity:
    """Compare the adapter in PyTorch with its F16 GGUF, both with float32 arithmetic."""
    prompts = parity_prompts(settings.data_dir)
    adapted = TorchEngine(base, adapter=settings.model, precision="fp32")
    require_same_ends(f16, adapted.chat)
    # A float16 cache would add roundings that PyTorch does not have.
    with LlamaServer(
        f16, tools=tools, context_tokens=CONTEXT_TOKENS, cache_type="f32", report=report
    ) as served:
        wanted = ParityThresholds(settings.parity_prompts, settings.parity_tokens)
        return require_parity(adapted, served, prompts, wanted, report)
