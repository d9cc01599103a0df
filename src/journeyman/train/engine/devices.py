"""Where the fast engine computes: the processor, or a GPU through torch's CUDA build.

One GPU and one process. Not covered: several GPUs, other accelerators.
"""

import importlib.util
from typing import Final, Literal

from journeyman.errors import MachineError
from journeyman.machine.memory_limits import MemoryRoom, memory_room
from journeyman.settings import Device, Precision
from journeyman.train.parallel.group import size_here

CPU: Final[Literal["cpu"]] = "cpu"
CUDA: Final[Literal["cuda"]] = "cuda"
PROCESSOR_ONLY = ("int8", "mixed")
"""Precisions whose products only processors have here."""


def found_device(asked: Device, precision: Precision) -> tuple[Device, str]:
    """Where a run computes, `cpu` or `cuda`, and why. MachineError where no GPU can be had."""
    if asked == CPU:
        return CPU, "device: the processor"
    if asked == "auto" and precision in PROCESSOR_ONLY:
        return CPU, f"device: the processor, for `--precision {precision}` is made for it alone"
    if asked == "auto" and size_here() > 1:
        return CPU, "device: the processor, for the run has several processes"
    lack, step = _lack()
    if not lack:
        return CUDA, f"device: {gpu_name()}"
    if asked == "auto":
        return CPU, f"device: the processor, for {lack}"
    raise MachineError(
        f"`--device cuda` was asked for, and {lack}", hint=f"{step}, or leave `--device` out"
    )


def _lack() -> tuple[str, str]:
    """What is missing for a GPU to be used, and the next step; both empty where nothing is."""
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        found = f"torch {torch.__version__} is built without CUDA"
        return found, 'install the CUDA build of torch (docs/training.md, "On a GPU")'
    if not torch.cuda.is_available():
        found = f"torch {torch.__version__} (CUDA {torch.version.cuda}) finds no GPU"
        return found, "make `nvidia-smi` show one to this user, with a driver for that CUDA"
    return "", ""


def gpu_precision(asked: Precision) -> tuple[Precision, str]:
    """The precision on the GPU that was found, and why. MachineError where it has no BF16."""
    import torch

    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if asked == "bf16" and not has_bf16:
        raise MachineError(
            f"bf16 was asked for, and {gpu_name()} does not multiply it", hint="use `fp32`"
        )
    if asked != "auto":
        return asked, f"precision: {asked} was asked for"
    if has_bf16:
        return "bf16", "precision: bf16, which the GPU multiplies"
    return "fp32", "precision: fp32, for the GPU does not multiply bf16"


def gpu_name() -> str:
    """The GPU in use."""
    import torch

    return torch.cuda.get_device_name()


def room_on(device: Device) -> MemoryRoom:
    """The memory where weights and activations stand."""
    if device != CUDA:
        return memory_room()
    import torch

    free_bytes, total_bytes = torch.cuda.mem_get_info()
    return MemoryRoom(total_bytes, free_bytes, f"the memory of {gpu_name()}")


def gpu_peak_bytes() -> int | None:
    """The most GPU memory that tensors of this process have taken; None where none is used."""
    import torch

    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return None
    return torch.cuda.max_memory_allocated()


def gpu_compiles(asked: bool | None) -> bool:
    """Whether loops are compiled: where it was asked for, by the triton that torch brings along."""
    if asked and importlib.util.find_spec("triton") is None:
        raise MachineError(
            "`--compiled` was asked for with `--device cuda`, and there is no triton",
            hint="install the one that your torch names, or leave `--compiled` out",
        )
    return bool(asked)
