"""All stages in order, each skipped while what it read and what it wrote are unchanged.

A step is fresh when its manifest (`stages/NAME.json` in the run's folder) names today's settings,
version and input hashes, and every output still has the bytes it had. That a file exists proves
nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from journeyman import __version__
from journeyman.errors import UsageError
from journeyman.events import Note, Reporter, StageStarted, ignore
from journeyman.files import sha256_of
from journeyman.runs import folder_lock, hash_files, read_manifest, write_manifest
from journeyman.settings import (
    CollectPythonSettings,
    ConvertSettings,
    DemoSettings,
    EvaluateSettings,
    PrepareSettings,
    RunSettings,
    TrainSettings,
)
from journeyman.train.presets import RECOMMENDED

DEMO_PACKAGES = ("more_itertools", "toolz", "boltons")
DEMO_BASE = "smollm2-135m"
PAGE = "evaluation.html"


class PipelineStage(Struct, frozen=True):
    """One stage of a run: what it reads, what it writes (files or folders), and the call itself.

    `owns` are the paths that stand in the way of doing it anew with other settings.
    """

    name: str
    settings: dict[str, object]
    reads: tuple[Path, ...]
    writes: tuple[Path, ...]
    act: Callable[[], object]
    owns: tuple[Path, ...] = ()


def run(settings: RunSettings, report: Reporter = ignore) -> Path:
    """Carry out every stage of a run that is not fresh. Gives the folder that holds all of it."""
    if not settings.input.is_file():
        raise UsageError(
            f"`{settings.input}` is not a file",
            hint="name a log with `--input`; without one, try `journeyman demo`",
        )
    with folder_lock(settings.folder):
        carry_out(settings.folder, steps(settings, report), report)
    return settings.folder


def demo(settings: DemoSettings, report: Reporter = ignore) -> Path:
    """The same on the embedded model, with interactions made from installed packages."""
    log = settings.folder / "interactions.jsonl"
    first = _collect(
        CollectPythonSettings(output=log, longest_answer=settings.longest_answer), report
    )
    rest = RunSettings(
        input=log,
        folder=settings.folder,
        base=DEMO_BASE,
        epochs=settings.epochs,
        max_tokens=settings.max_tokens,
        seed=settings.seed,
    )
    with folder_lock(settings.folder):
        carry_out(settings.folder, [first, *steps(rest, report)], report)
    return settings.folder


def carry_out(folder: Path, steps: Sequence[PipelineStage], report: Reporter) -> None:
    """Run the steps that are not fresh, in order, and record each when it is done."""
    for step in steps:
        reason = stale_because(folder, step)
        if reason:
            _move_aside(folder, step, reason, report)
            step.act()
            _record(folder, step)
        else:
            report(StageStarted(step.name, "unchanged, skipped"))
    report(Note(f"look at `{folder / PAGE}`; everything is in `{folder}`"))


def _move_aside(folder: Path, step: PipelineStage, reason: str, report: Reporter) -> None:
    """Keep what an earlier, finished run of this step made; an unfinished one is gone on with."""
    record = folder / "stages" / f"{step.name}.json"
    if not record.exists():
        return
    number = 1 + sum(1 for _ in folder.glob(f"replaced/{step.name}-*"))
    goal = folder / "replaced" / f"{step.name}-{number}"
    present = [path for path in step.owns if path.exists()]
    if present:
        goal.mkdir(parents=True)
        report(Note(f"{step.name}: {reason}; what it made before is in `{goal}`"))
    for path in present:
        path.rename(goal / path.name)
    record.unlink()


def steps(settings: RunSettings, report: Reporter) -> list[PipelineStage]:
    """The stages of one run, in order, each with the settings that follow from the run's own."""
    folder = settings.folder
    dataset, adapter = folder / "dataset", folder / "adapter"
    model, result = folder / "model.gguf", folder / "evaluation.json"
    return [
        _prepare(settings, dataset, report),
        _train(settings, dataset, adapter, report),
        _convert(settings, dataset, adapter / "final_model", model, report),
        _evaluate(settings, dataset / "test.jsonl", model, result, report),
    ]


def _collect(stage: CollectPythonSettings, report: Reporter) -> PipelineStage:
    def act() -> object:
        from journeyman.collect.python.package import collect_python

        return collect_python(DEMO_PACKAGES, stage, report)

    return _step("collect", stage, (), (stage.output,), act)


def _prepare(settings: RunSettings, dataset: Path, report: Reporter) -> PipelineStage:
    stage = PrepareSettings(
        input=settings.input,
        output_dir=dataset,
        policy=settings.policy,
        base=settings.base,
        seed=settings.seed,
    )

    def act() -> object:
        from journeyman.prepare.stage import prepare

        return prepare(stage, report)

    return _step("prepare", stage, (settings.input,), (dataset,), act)


def _train(settings: RunSettings, dataset: Path, adapter: Path, report: Reporter) -> PipelineStage:
    preset: Mapping[str, Any] = RECOMMENDED if settings.preset == "recommended" else {}
    stage = replace(
        TrainSettings(**preset),
        base=settings.base,
        data_dir=dataset,
        output_dir=adapter,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        seed=settings.seed,
    )

    def act() -> object:
        from journeyman.train.stage import train

        return train(stage, report)

    reads = (dataset / "train.jsonl", dataset / "val.jsonl")
    return _step("train", stage, reads, (adapter / "final_model",), act, owns=(adapter,))


def _convert(
    settings: RunSettings, dataset: Path, adapter: Path, model: Path, report: Reporter
) -> PipelineStage:
    stage = ConvertSettings(model=adapter, output=model, base=settings.base, data_dir=dataset)

    def act() -> object:
        from journeyman.convert.stage import convert

        return convert(stage, report)

    owns = tuple(
        file.with_name(file.name + end)
        for file in (model, model.with_suffix(".f16.gguf"))
        for end in ("", ".manifest.json")
    )
    return _step("convert", stage, (adapter,), (model,), act, owns=owns)


def _evaluate(
    settings: RunSettings, test_data: Path, model: Path, result: Path, report: Reporter
) -> PipelineStage:
    stage = EvaluateSettings(
        model=model,
        test_data=test_data,
        output=result,
        base=settings.base,
        limit=settings.limit,
        max_tokens=settings.max_tokens,
        seed=settings.seed,
    )

    def act() -> object:
        from journeyman.evaluate.stage import evaluate

        return evaluate(stage, report)

    return _step("evaluate", stage, (test_data, model), (result,), act)


def _step(
    name: str,
    settings: object,
    reads: tuple[Path, ...],
    writes: tuple[Path, ...],
    act: Callable[[], object],
    *,
    owns: tuple[Path, ...] = (),
) -> PipelineStage:
    fields = asdict(settings)  # type: ignore[call-overload]
    # As they come back from a manifest: a tuple is a list there, and must not count as changed.
    stored = msgspec.json.decode(msgspec.json.encode(fields, enc_hook=str))
    return PipelineStage(name, stored, reads, writes, act, owns)


def stale_because(folder: Path, step: PipelineStage) -> str:
    """Why a step must run, in a few words; empty where it is fresh."""
    manifest = read_manifest(folder / "stages", name=f"{step.name}.json")
    if manifest is None:
        return "not done yet"
    if manifest.versions.get("journeyman") != __version__:
        return "done by another version"
    if manifest.settings != step.settings:
        names = {*manifest.settings, *step.settings}
        changed = [x for x in names if manifest.settings.get(x) != step.settings.get(x)]
        return f"changed: {', '.join(sorted(changed))}"
    if manifest.inputs != _hashes(step.reads):
        return "its input changed"
    if manifest.outputs != _hashes(step.writes):
        return "its output was changed or removed"
    return ""


def _record(folder: Path, step: PipelineStage) -> None:
    (folder / "stages").mkdir(exist_ok=True)
    write_manifest(
        folder / "stages",
        stage=step.name,
        settings=step.settings,
        inputs=_hashes(step.reads),
        outputs=_hashes(step.writes),
        name=f"{step.name}.json",
    )


def _hashes(paths: tuple[Path, ...]) -> dict[str, str]:
    """sha256 of every file among some files and folders; what is missing is left out."""
    found: dict[str, str] = {}
    for path in paths:
        if path.is_dir():
            found |= {str(path / name): value for name, value in hash_files(path).items()}
        elif path.is_file():
            found[str(path)] = sha256_of(path)
    return found
