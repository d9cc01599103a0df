"""The device of the fast engine: the processor, or one GPU with torch's CUDA build.

Not covered: several GPUs, several processes with a GPU, other accelerators.
"""

import importlib.util
from typing import Final, Literal

from journeyman.errors import MachineError
from journeyman.machine.memory_limits import MemoryRoom, memory_room
from journeyman.settings import Device, Precision
from journeyman.train.parallel.group import environment_size

CPU: Final[Literal["cpu"]] = "cpu"
CUDA: Final[Literal["cuda"]] = "cuda"
PROCESSOR_ONLY = ("int8", "mixed")
"""Precisions that only processors support here."""


def choose_device(requested: Device, precision: Precision) -> tuple[Device, str]:
    """`cpu` or `cuda`, and the reason. MachineError if a GPU was requested and cannot be used."""
    if requested == CPU:
        return CPU, "device: the processor"
    if requested == "auto" and precision in PROCESSOR_ONLY:
        return CPU, f"device: the processor, because `--precision {precision}` runs only there"
    if requested == "auto" and environment_size() > 1:
        return CPU, "device: the processor, because the run has several processes"
    missing, hint = _missing_for_gpu()
    if not missing:
        return CUDA, f"device: {gpu_name()}"
    if requested == "auto":
        return CPU, f"device: the processor, because {missing}"
    raise MachineError(
        f"`--device cuda` was requested, but {missing}", hint=f"{hint}, or leave out `--device`"
    )


def _missing_for_gpu() -> tuple[str, str]:
    """Why no GPU can be used, and what to do; both empty if one can."""
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        missing = f"torch {torch.__version__} is built without CUDA"
        return missing, 'install the CUDA build of torch (docs/training.md, "On a GPU")'
    if not torch.cuda.is_available():
        missing = f"torch {torch.__version__} (CUDA {torch.version.cuda}) finds no GPU"
        return missing, "check with `nvidia-smi` that this user sees one, with a driver for CUDA"
    return "", ""


def gpu_precision(requested: Precision) -> tuple[Precision, str]:
    """The precision on the GPU, and the reason. MachineError if BF16 is requested and missing."""
    import torch

    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if requested == "bf16" and not has_bf16:
        raise MachineError(
            f"`--precision bf16` was requested, but {gpu_name()} does not support it",
            hint="use `--precision fp32`",
        )
    if requested != "auto":
        return requested, f"precision: {requested} was requested"
    if has_bf16:
        return "bf16", "precision: bf16, which the GPU supports"
    return "fp32", "precision: fp32, because the GPU does not support bf16"


def gpu_name() -> str:
    """The name of the GPU in use."""
    import torch

    return torch.cuda.get_device_name()


def device_memory(device: Device) -> MemoryRoom:
    """The memory in which weights and activations are kept."""
    if device != CUDA:
        return memory_room()
    import torch

    free_bytes, total_bytes = torch.cuda.mem_get_info()
    return MemoryRoom(total_bytes, free_bytes, f"the memory of {gpu_name()}")


def gpu_peak_bytes() -> int | None:
    """The most GPU memory that tensors of this process have taken; None if no GPU is used."""
    import torch

    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return None
    return torch.cuda.max_memory_allocated()


def gpu_compiles(requested: bool | None) -> bool:
    """Whether loops are compiled: only on request, by triton. Raises MachineError without it."""
    if requested and importlib.util.find_spec("triton") is None:
        raise MachineError(
            "`--compiled` was requested with `--device cuda`, but there is no triton",
            hint="install the version that your torch requires, or leave out `--compiled`",
        )
    return bool(requested)
