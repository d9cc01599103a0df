"""Refuses settings that cannot work, before anything is loaded."""

from journeyman.errors import UsageError
from journeyman.settings import TrainSettings
from journeyman.train.engine.devices import CUDA, PROCESSOR_ONLY
from journeyman.train.identity import require_acceptable
from journeyman.train.parallel.group import environment_size


def require_usable(settings: TrainSettings) -> None:
    """Refuse settings that cannot work, all faults in one message. Raises UsageError."""
    require_acceptable(settings.accept_change)
    faults = [*_faults_of_numbers(settings), *_faults_of_files(settings)]
    if faults:
        raise UsageError("; ".join(faults), hint="see `journeyman train --help`")


def _faults_of_numbers(settings: TrainSettings) -> list[str]:
    least_one = (
        "batch_size",
        "max_tokens",
        "lora_r",
        "lora_alpha",
        "save_steps",
        "micro_batch_tokens",
    )
    optional = ("accumulation", "max_steps", "eval_steps", "threads")
    given = {name: getattr(settings, name) for name in (*least_one, *optional)}
    faults = [
        f"`{_flag(name)}` is {value}, and must be 1 or more"
        for name, value in given.items()
        if value is not None and value < 1
    ]
    above_zero = {name: getattr(settings, name) for name in ("epochs", "lr", "max_grad_norm")}
    above_zero["memory_gib"] = 1.0 if settings.memory_gib is None else settings.memory_gib
    faults += [
        f"`{_flag(name)}` is {value}, and must be above 0"
        for name, value in above_zero.items()
        if not 0 < value < float("inf")
    ]
    faults += [
        f"`{_flag(name)}` is {getattr(settings, name)}, and must be in 0..1, below 1"
        for name in ("warmup_share", "lora_dropout", "weight_decay")
        if not 0 <= getattr(settings, name) < 1
    ]
    if settings.keep_checkpoints < 2:
        faults.append(
            f"`--keep-checkpoints` is {settings.keep_checkpoints}, and must be 2 or more: "
            "with only one checkpoint, damage to it loses the run"
        )
    faults += _faults_of_device(settings)
    if settings.fresh and settings.resume:
        faults.append("`--fresh` starts over and `--resume` goes on; give only one of them")
    return faults


def _faults_of_device(settings: TrainSettings) -> list[str]:
    if settings.device != CUDA:
        return []
    faults = []
    if settings.precision in PROCESSOR_ONLY:
        faults.append(
            f"`--precision {settings.precision}` runs on processors only; `--device cuda` has "
            "`bf16` and `fp32`"
        )
    if settings.engine == "hf":
        faults.append("`--device cuda` needs the fast engine, but `--engine hf` was given")
    if settings.processes != 1 or environment_size() > 1:
        faults.append("`--device cuda` works with one process and one GPU only")
    return faults


def _faults_of_files(settings: TrainSettings) -> list[str]:
    faults = [
        f"`{settings.data_dir / name}` does not exist; `journeyman prepare` makes it"
        for name in ("train.jsonl", "val.jsonl")
        if not (settings.data_dir / name).is_file()
    ]
    if settings.resume and not settings.resume.is_dir():
        faults.append(f"`--resume {settings.resume}` is not a folder")
    return faults


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
