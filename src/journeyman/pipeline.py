"""Run all stages in order and skip those that are up to date.

A stage is up to date if its manifest (`stages/NAME.json` in the run's folder) names the same
settings, version and input hashes, and every output still has its recorded hash. That an output
exists is not enough.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
    """One stage of a run: the files or folders it reads and writes, and the call that runs it.

    `owns` are the paths to move aside before the stage runs again with other settings.
    """

    name: str
    settings: dict[str, object]
    reads: tuple[Path, ...]
    writes: tuple[Path, ...]
    act: Callable[[], object]
    owns: tuple[Path, ...] = ()


def run(settings: RunSettings, report: Reporter = ignore) -> Path:
    """Run every stage that is not up to date and return the run's folder."""
    if not settings.input.is_file():
        raise UsageError(
            f"`{settings.input}` is not a file",
            hint="give a log with `--input`, or try `journeyman demo` without one",
        )
    with folder_lock(settings.folder):
        run_stages(settings.folder, stages_of(settings, report), report)
    return settings.folder


def demo(settings: DemoSettings, report: Reporter = ignore) -> Path:
    """Run all stages on the built-in model and functions of installed packages."""
    log = settings.folder / "interactions.jsonl"
    collect = _collect(
        CollectPythonSettings(output=log, longest_answer=settings.longest_answer), report
    )
    run_settings = RunSettings(
        input=log,
        folder=settings.folder,
        base=DEMO_BASE,
        epochs=settings.epochs,
        max_tokens=settings.max_tokens,
        seed=settings.seed,
    )
    with folder_lock(settings.folder):
        run_stages(settings.folder, [collect, *stages_of(run_settings, report)], report)
    return settings.folder


def run_stages(folder: Path, stages: Sequence[PipelineStage], report: Reporter) -> None:
    """Run the stages that are not up to date, in order, and record each one when it is done."""
    for stage in stages:
        reason = reason_to_run(folder, stage)
        if reason:
            _move_aside(folder, stage, reason, report)
            stage.act()
            _record(folder, stage)
        else:
            report(StageStarted(stage.name, "skipped, up to date"))
    report(Note(f"the report is `{folder / PAGE}`, all files are in `{folder}`"))


def _move_aside(folder: Path, stage: PipelineStage, reason: str, report: Reporter) -> None:
    """Move the output of an earlier, finished run of the stage aside.

    An unfinished one stays: the stage resumes it.
    """
    manifest = folder / "stages" / f"{stage.name}.json"
    if not manifest.exists():
        return
    number = 1 + sum(1 for _ in folder.glob(f"replaced/{stage.name}-*"))
    goal = folder / "replaced" / f"{stage.name}-{number}"
    present = [path for path in stage.owns if path.exists()]
    if present:
        goal.mkdir(parents=True)
        report(Note(f"{stage.name}: {reason}; its earlier output is now in `{goal}`"))
    for path in present:
        path.rename(goal / path.name)
    manifest.unlink()


def stages_of(settings: RunSettings, report: Reporter) -> list[PipelineStage]:
    """The stages of one run, in order, each with its own settings."""
    folder = settings.folder
    dataset, adapter = folder / "dataset", folder / "adapter"
    model, result = folder / "model.gguf", folder / "evaluation.json"
    return [
        _prepare(settings, dataset, report),
        _train(settings, dataset, adapter, report),
        _convert(settings, dataset, adapter / "final_model", model, report),
        _evaluate(settings, dataset / "test.jsonl", model, result, report),
    ]


def _collect(settings: CollectPythonSettings, report: Reporter) -> PipelineStage:
    def act() -> object:
        from journeyman.collect.python.stage import collect_python

        return collect_python(DEMO_PACKAGES, settings, report)

    return _stage("collect", settings, (), (settings.output,), act)


def _prepare(settings: RunSettings, dataset: Path, report: Reporter) -> PipelineStage:
    prepare_settings = PrepareSettings(
        input=settings.input,
        output_dir=dataset,
        policy=settings.policy,
        base=settings.base,
        seed=settings.seed,
    )

    def act() -> object:
        from journeyman.prepare.stage import prepare

        return prepare(prepare_settings, report)

    return _stage("prepare", prepare_settings, (settings.input,), (dataset,), act)


def _train(settings: RunSettings, dataset: Path, adapter: Path, report: Reporter) -> PipelineStage:
    preset: Mapping[str, Any] = RECOMMENDED if settings.preset == "recommended" else {}
    train_settings = replace(
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

        return train(train_settings, report)

    reads = (dataset / "train.jsonl", dataset / "val.jsonl")
    return _stage("train", train_settings, reads, (adapter / "final_model",), act, owns=(adapter,))


def _convert(
    settings: RunSettings, dataset: Path, adapter: Path, model: Path, report: Reporter
) -> PipelineStage:
    convert_settings = ConvertSettings(
        model=adapter, output=model, base=settings.base, data_dir=dataset
    )

    def act() -> object:
        from journeyman.convert.stage import convert

        return convert(convert_settings, report)

    owns = tuple(
        file.with_name(file.name + end)
        for file in (model, model.with_suffix(".f16.gguf"))
        for end in ("", ".manifest.json")
    )
    return _stage("convert", convert_settings, (adapter,), (model,), act, owns=owns)


def _evaluate(
    settings: RunSettings, test_data: Path, model: Path, result: Path, report: Reporter
) -> PipelineStage:
    evaluate_settings = EvaluateSettings(
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

        return evaluate(evaluate_settings, report)

    return _stage("evaluate", evaluate_settings, (test_data, model), (result,), act)


def _stage(
    name: str,
    settings: object,
    reads: tuple[Path, ...],
    writes: tuple[Path, ...],
    act: Callable[[], object],
    *,
    owns: tuple[Path, ...] = (),
) -> PipelineStage:
    # Through JSON, as a manifest stores them: a tuple becomes a list and must not count as changed.
    stored = msgspec.json.decode(msgspec.json.encode(settings, enc_hook=str))
    return PipelineStage(name, stored, reads, writes, act, owns)


def reason_to_run(folder: Path, stage: PipelineStage) -> str:
    """Why a stage is not up to date, in a few words; empty if it is."""
    manifest = read_manifest(folder / "stages", name=f"{stage.name}.json")
    if manifest is None:
        return "not done yet"
    if manifest.versions.get("journeyman") != __version__:
        return "done by another version"
    if manifest.settings != stage.settings:
        names = {*manifest.settings, *stage.settings}
        changed = [x for x in names if manifest.settings.get(x) != stage.settings.get(x)]
        return f"changed settings: {', '.join(sorted(changed))}"
    if manifest.inputs != _hashes(stage.reads):
        return "its input changed"
    if manifest.outputs != _hashes(stage.writes):
        return "its output was changed or removed"
    return ""


def _record(folder: Path, stage: PipelineStage) -> None:
    (folder / "stages").mkdir(exist_ok=True)
    write_manifest(
        folder / "stages",
        stage=stage.name,
        settings=stage.settings,
        inputs=_hashes(stage.reads),
        outputs=_hashes(stage.writes),
        name=f"{stage.name}.json",
    )


def _hashes(paths: tuple[Path, ...]) -> dict[str, str]:
    """sha256 of every file at or below the paths; missing ones are left out."""
    hashes: dict[str, str] = {}
    for path in paths:
        if path.is_dir():
            hashes |= {str(path / name): value for name, value in hash_files(path).items()}
        elif path.is_file():
            hashes[str(path)] = sha256_of(path)
    return hashes
