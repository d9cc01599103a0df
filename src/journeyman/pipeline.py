"""All stages in order, each skipped while what it read and what it wrote are unchanged.

A step is fresh when its manifest (`stages/NAME.json` in the run's folder) names today's settings,
version and input hashes, and every output still has the bytes it had. That a file exists proves
nothing.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman import __version__
from journeyman.events import Note, Reporter, StageStarted, ignore
from journeyman.files import sha256_of
from journeyman.runs import hash_files, owned, read_manifest, write_manifest
from journeyman.settings import (
    CollectPythonSettings,
    ConvertSettings,
    EvaluateSettings,
    PrepareSettings,
    RunSettings,
    TrainSettings,
)

DEMO_PACKAGES = ("more_itertools", "toolz", "boltons")


class Step(Struct, frozen=True):
    """One stage of a run: what it reads, what it writes (files or folders), and the call itself."""

    name: str
    settings: dict[str, object]
    reads: tuple[Path, ...]
    writes: tuple[Path, ...]
    act: Callable[[], object]


def run(settings: RunSettings, report: Reporter = ignore) -> Path:
    """Carry out every step that is not fresh. Gives the folder that holds all of it."""
    with owned(settings.folder):
        for step in steps(settings, report):
            reason = stale_because(settings.folder, step)
            if not reason:
                report(StageStarted(step.name, "unchanged, skipped"))
                continue
            report(StageStarted(step.name, reason))
            step.act()
            _record(settings.folder, step)
    report(Note(f"everything is in `{settings.folder}`"))
    return settings.folder


def steps(settings: RunSettings, report: Reporter) -> list[Step]:
    """The stages of one run, in order, each with the settings that follow from the run's own."""
    folder = settings.folder
    dataset, adapter = folder / "dataset", folder / "adapter"
    model, result = folder / "model.gguf", folder / "evaluation.json"
    collected = folder / "interactions.jsonl"
    first = [] if settings.input else [_collect(collected, report)]
    return [
        *first,
        _prepare(settings, settings.input or collected, dataset, report),
        _train(settings, dataset, adapter, report),
        _convert(settings, dataset, adapter / "final_model", model, report),
        _evaluate(settings, dataset / "test.jsonl", model, result, report),
    ]


def _collect(output: Path, report: Reporter) -> Step:
    stage = CollectPythonSettings(output=output)

    def act() -> object:
        from journeyman.collect.python_package import collect_python

        return collect_python(DEMO_PACKAGES, stage, report)

    return _step("collect", stage, (), (output,), act)


def _prepare(settings: RunSettings, log: Path, dataset: Path, report: Reporter) -> Step:
    stage = PrepareSettings(
        input=log,
        output_dir=dataset,
        policy=settings.policy,
        base=settings.base,
        seed=settings.seed,
    )

    def act() -> object:
        from journeyman.prepare.stage import prepare

        return prepare(stage, report)

    return _step("prepare", stage, (log,), (dataset,), act)


def _train(settings: RunSettings, dataset: Path, adapter: Path, report: Reporter) -> Step:
    stage = TrainSettings(
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
    return _step("train", stage, reads, (adapter / "final_model",), act)


def _convert(
    settings: RunSettings, dataset: Path, adapter: Path, model: Path, report: Reporter
) -> Step:
    stage = ConvertSettings(model=adapter, output=model, base=settings.base, data_dir=dataset)

    def act() -> object:
        from journeyman.convert.stage import convert

        return convert(stage, report)

    return _step("convert", stage, (adapter,), (model,), act)


def _evaluate(
    settings: RunSettings, test_data: Path, model: Path, result: Path, report: Reporter
) -> Step:
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
) -> Step:
    fields = asdict(settings)  # type: ignore[call-overload]
    return Step(name, msgspec.to_builtins(fields, enc_hook=str), reads, writes, act)


def stale_because(folder: Path, step: Step) -> str:
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


def _record(folder: Path, step: Step) -> None:
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
