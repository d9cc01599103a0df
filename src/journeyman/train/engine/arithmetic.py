"""The fast engine's arithmetic on this machine: kernels and data types of a precision."""

from typing import TYPE_CHECKING

from msgspec.structs import replace

from journeyman.events import Note, Reporter, ignore
from journeyman.machine.processor import BF16_FLAGS, processor_has
from journeyman.settings import Device, Precision
from journeyman.train.engine.product_rates import INT8_FLAGS, LARGE, measured_rates

if TYPE_CHECKING:
    from journeyman.kernels.integer_product import IntegerProduct
    from journeyman.train.engine.fast.linear import Arithmetic


def arithmetic_of(
    precision: Precision, report: Reporter = ignore, *, device: Device = "cpu"
) -> "Arithmetic":
    """The arithmetic of a resolved precision (not `auto`)."""
    from journeyman.kernels.adapters import find_adapter_kernel
    from journeyman.kernels.attention import find_attention_kernel
    from journeyman.kernels.elementwise import find_elementwise_kernel

    products = _products(precision, report, device)
    if device == "cuda":
        return products
    return replace(
        products,
        adapters=find_adapter_kernel(report),
        attention=find_attention_kernel(report),
        rows=find_elementwise_kernel(report),
    )


def _products(precision: Precision, report: Reporter, device: Device) -> "Arithmetic":
    import torch

    from journeyman.train.engine.fast.linear import Arithmetic, Method

    has_bf16 = device == "cuda" or processor_has(BF16_FLAGS)
    activations = torch.bfloat16 if has_bf16 else torch.float32
    if precision == "fp32":
        return Arithmetic("fp32", "fp32", torch.float32)
    if precision == "bf16":
        method: Method = "bf16" if has_bf16 else "bf16 upcast"
        return Arithmetic(method, method, activations)
    kernel = _integer_kernel(report)
    if precision == "mixed":
        return Arithmetic("bf16", "int8" if kernel is None else "int8 kernel", activations, kernel)
    if kernel is not None:
        return Arithmetic("int8 kernel", "int8 kernel", activations, kernel)
    if processor_has(INT8_FLAGS):
        return Arithmetic("int8", "int8", activations)
    report(Note("INT8 weights are multiplied in FP32, because this processor has no faster way"))
    return Arithmetic("int8 upcast", "int8 upcast", torch.float32)


def _integer_kernel(report: Reporter) -> "IntegerProduct | None":
    """The project's INT8 kernel; None if it cannot be built, or torch is faster."""
    from journeyman.kernels.integer_product import find_integer_product

    by_torch = processor_has(INT8_FLAGS) and not measured_rates(LARGE, report).has_fast_kernel
    return None if by_torch else find_integer_product(report)
