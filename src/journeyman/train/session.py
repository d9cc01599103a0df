"""One process's share of a run: load, restore, fit, and write the result."""

from pathlib import Path

import torch

from journeyman.errors import IntegrityError, Interrupted
from journeyman.events import Caution, Note, Reporter
from journeyman.files import write_json
from journeyman.records import BaseModel
from journeyman.train.adapter_files import copy_into, initialise, read_weights
from journeyman.train.advice import Adviser
from journeyman.train.checkpoints import OPTIMIZER, Found
from journeyman.train.curves import Curves
from journeyman.train.engine import TrainingEngine
from journeyman.train.hf_engine import HfEngine
from journeyman.train.identity import Identity
from journeyman.train.loop import Job, NotFinite, Trainer
from journeyman.train.optimizer import Optimizer
from journeyman.train.outputs import Trained, write_final
from journeyman.train.picture import draw_losses
from journeyman.train.recorder import Recorder
from journeyman.train.state import State
from journeyman.train.stopping import StopRequest
from journeyman.train.threads import using_threads

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def run_job(
    job: Job, base: BaseModel, identity: Identity, found: Found | None, report: Reporter
) -> Trained:
    """Load the base, take the steps that are left, and write `final_model/`."""
    settings = job.settings
    with using_threads(settings.threads) as threads:
        report(Note(f"threads: {threads}"))
        engine = HfEngine(base, settings, dtype=_DTYPES[settings.precision], report=report)
        optimizer = Optimizer(engine.parameters(), weight_decay=settings.weight_decay)
        state = State(identity, f"torch {torch.__version__}, {torch.get_num_threads()} threads")
        if found is None:
            initialise(engine.parameters(), seed=settings.seed)
        else:
            state = _restored(found, state, engine, optimizer)
            _report_restored(found, state, len(job.steps), report)
        with StopRequest() as stop, Curves(settings.output_dir / "logs", state) as curves:
            recorder = Recorder(
                settings,
                state,
                steps=len(job.steps),
                parameters=engine.parameters(),
                optimizer=optimizer,
                curves=curves,
                adviser=Adviser(report),
            )
            trainer = Trainer(engine=engine, optimizer=optimizer, job=job, stop=stop, report=report)
            try:
                state = _fitted(trainer, recorder)
            finally:
                # Of an interrupted run, too: what it has reached is what its user wants to see.
                _draw(recorder.state, job)
            return write_final(settings, base, state, engine.parameters())


def _draw(state: State, job: Job) -> None:
    if state.taken or state.validations:
        draw_losses(job.settings.output_dir / "losses.png", state, steps=len(job.steps))


def _fitted(trainer: Trainer, recorder: Recorder) -> State:
    try:
        return trainer.fit(recorder.state, recorder.record)
    except Interrupted as error:
        step = recorder.save()
        saved = f"checkpoint-{step} is saved" if step else "before the first step was done"
        raise Interrupted(f"{error.message}; {saved}", hint=error.hint) from error
    except NotFinite as error:
        path = trainer.job.settings.output_dir / f"replay-step-{error.step}.json"
        note = {"step": error.step, "row_ids": error.row_ids, "seed": error.seed}
        write_json(path, {**note, "what": error.message})
        raise


def _restored(found: Found, start: State, engine: TrainingEngine, optimizer: Optimizer) -> State:
    """The state to go on from, with parameters and moments in place."""
    try:
        copy_into(engine.parameters(), read_weights(found.folder))
        optimizer.restore(_tensors(found.folder / OPTIMIZER), step=found.state.step)
    except (KeyError, ValueError) as error:
        raise IntegrityError(
            f"`{found.folder}` does not fit the model: {error}",
            hint="go on with the version that wrote it, or use --fresh",
        ) from error
    earlier = found.state
    return State(earlier.identity, start.arithmetic, earlier.taken, earlier.validations)


def _report_restored(found: Found, state: State, steps: int, report: Reporter) -> None:
    report(Note(f"going on from `{found.folder}`, step {state.step} of {steps}"))
    if found.state.arithmetic != state.arithmetic:
        report(
            Caution(
                f"the run began with {found.state.arithmetic} and goes on with {state.arithmetic}: "
                "its result will not be equal bit for bit to an uninterrupted one",
                hint="use the same --threads and versions where that matters",
            )
        )


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = load_file(path)
    return tensors
