"""The other processes of a run: they compute what process 0 writes down, and write nothing."""

from journeyman.events import ignore
from journeyman.model.configs import read_config
from journeyman.records import BaseModel
from journeyman.train.engines import open_engine, spares_memory
from journeyman.train.fitting import OutOfMemoryHandler
from journeyman.train.heap import freed_memory_kept
from journeyman.train.heartbeat import Heartbeat
from journeyman.train.loop import Trainer, TrainingJob
from journeyman.train.optimizer import Optimizer
from journeyman.train.processes import ProcessGroup
from journeyman.train.session import meter_of
from journeyman.train.sharing import gather_gradients, share_start
from journeyman.train.status import Status, new_status
from journeyman.train.stopping import Stopped, StopRequest
from journeyman.train.threads import using_threads


class SilentHeartbeat(Heartbeat):
    """A heartbeat that nobody hears: process 0 speaks for the run."""

    def __init__(self) -> None:
        self.status = new_status("starting")

    def beat(self, status: Status) -> None:
        """Say nothing."""


def follow_job(job: TrainingJob, base: BaseModel, group: ProcessGroup) -> None:
    """Take this process's share of all steps that are left. Raises what ends the run early."""
    settings = job.settings
    with (
        StopRequest(patient=False) as stop,
        using_threads(settings.threads),
        freed_memory_kept(spares_memory(read_config(base.folder), settings)),
    ):
        engine = open_engine(base, settings, ignore, narrowing=job.narrowing)
        optimizer = Optimizer(engine.parameters(), weight_decay=settings.weight_decay)
        fitter = OutOfMemoryHandler(
            engine, allowed=settings.fit, adopted=lambda _: None, report=ignore
        )
        state = share_start(group, None, optimizer, {})
        fitter.apply(state.fit)
        stop.patient = True
        meter = meter_of(state, job, SilentHeartbeat(), ignore)
        trainer = Trainer(
            engine=engine,
            optimizer=optimizer,
            fitter=fitter,
            job=job,
            stop=stop,
            meter=meter,
            report=ignore,
            group=group,
        )
        try:
            trainer.fit(state, lambda _: None)
        except Stopped as error:
            gather_gradients(group, error.state, optimizer)
            raise
