"""The INT8 kernel compared with float32 and torch's INT8: rates at real models' shapes, accuracy.

Caveats first. All products of a shape take turns in one process: ratios hold even if the machine's
speed drifts, but absolute numbers do not. A rate is the best of its repetitions, a ratio the median
over the repetitions. A multiplication counts as two operations. The kernel's time includes rounding
its activations and packing the weights, and all products allocate their result. On a processor with
VNNI or AMX, torch's INT8 product takes turns as well, with the rounding and scaling around it
compiled. The last line is JSON.

    venv/bin/python benchmarks/integer_product.py [--repetitions N] [--threads 1 2] [--cpu]
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn.functional import linear

from journeyman.events import Note
from journeyman.kernels.integer_product import IntegerProduct, find_integer_product
from journeyman.machine.processor import describe_machine, processor_has
from journeyman.runs import versions
from journeyman.train.engine.fast.elementwise import Elementwise
from journeyman.train.engine.fast.int8_linear import TorchInt8Linear
from journeyman.train.engine.fast.int8_weights import Int8Weights
from journeyman.train.engine.product_rates import INT8_FLAGS

# Tokens, inputs and outputs: attention and MLP of a 7B model, those of SmolLM2-135M, and its output
# layer.
SHAPES = {
    "short": [(512, 576, 960), (512, 1536, 576), (512, 3584, 3584)],
    "attention": [(1024, 3584, 3584)],
    "up": [(1024, 3584, 18944)],
    "down": [(1024, 18944, 3584)],
    "small": [
        (tokens, inputs, outputs)
        for tokens in (512, 1024, 4096)
        for inputs, outputs in ((576, 960), (576, 3072), (1536, 576))
    ],
    "head": [(512, 576, 49152)],
}


def rates(
    kernel: IntegerProduct,
    shape: tuple[int, int, int],
    repetitions: int,
    clock: Callable[[], float],
) -> dict[str, float]:
    """GOP/s of the four products of one shape, and the kernel's ratios to float32."""
    tokens, inputs, outputs = shape
    chance = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, inputs, generator=chance)
    dy = torch.randn(tokens, outputs, generator=chance)
    weight = torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8, generator=chance)
    scale = torch.rand(outputs, generator=chance) * 0.01
    wide = weight.float() * scale[:, None]
    products: dict[str, Callable[[], object]] = {
        "float32_forward": lambda: linear(x, wide),
        "int8_forward": lambda: kernel.forward(x, weight, scale),
        "float32_backward": lambda: dy @ wide,
        "int8_backward": lambda: kernel.backward(dy, weight, scale),
    }
    if processor_has(INT8_FLAGS):
        by_torch = TorchInt8Linear(Int8Weights(weight, scale), None, Elementwise(compiled=True))
        products["torch_int8_forward"] = lambda: by_torch.forward(x)
        products["torch_int8_backward"] = lambda: by_torch.input_gradient(dy)
    seconds: dict[str, list[float]] = {name: [] for name in products}
    for repetition in range(repetitions + 1):
        for name, product in products.items():
            start = clock()
            product()
            if repetition:  # the first one warms up
                seconds[name].append(clock() - start)
    found = {name: 2 * tokens * inputs * outputs / min(s) / 1e9 for name, s in seconds.items()}
    for order in ("forward", "backward"):
        pairs = zip(seconds[f"float32_{order}"], seconds[f"int8_{order}"], strict=True)
        found[f"{order}_ratio"] = statistics.median(wide_s / own_s for wide_s, own_s in pairs)
    return found


def errors(kernel: IntegerProduct, *, outliers: bool) -> dict[str, float]:
    """Relative error (Frobenius) against float64 with the same INT8 weights: ours and W8A8's."""
    chance = torch.Generator().manual_seed(1)
    x, weight = torch.randn(512, 3584, generator=chance), torch.randn(1024, 3584, generator=chance)
    if outliers:
        x[:, ::97] *= 60.0  # as in the inputs of o_proj and down_proj
    scale = weight.abs().amax(1) / 127
    rounded = (weight / scale[:, None]).round().to(torch.int8)
    wide = rounded.double() * scale.double()[:, None]
    step = x.abs().amax(1, keepdim=True) / 127
    found = {
        f"kernel_to_{kernel.largest}": (kernel.forward(x, rounded, scale), x.double() @ wide.T),
        "int8_activations": ((x / step).round().double() * step @ wide.T, x.double() @ wide.T),
        "bfloat16_activations": (x.bfloat16().double() @ wide.T, x.double() @ wide.T),
        "float32": (x @ wide.float().T, x.double() @ wide.T),
        "int8_weights_themselves": (x.double() @ wide.T, x.double() @ weight.double().T),
    }
    return {name: float((a - b).norm() / b.norm()) for name, (a, b) in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, torch.get_num_threads()])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES)[1:])
    parser.add_argument(
        "--cpu", action="store_true", help="processor time, for one thread on a busy machine"
    )
    given = parser.parse_args()
    kernel = find_integer_product(
        lambda event: print(event.text) if isinstance(event, Note) else None
    )
    if kernel is None:
        raise SystemExit(1)
    accuracy = {
        name: errors(kernel, outliers=outliers)
        for name, outliers in (("gaussian", False), ("outliers", True))
    }
    for name, found in accuracy.items():
        print(f"{name}: " + "  ".join(f"{what} {error:.1e}" for what, error in found.items()))
    clock = time.process_time if given.cpu else time.perf_counter
    rows = []
    for threads in dict.fromkeys(given.threads):
        torch.set_num_threads(threads)
        for shape in itertools.chain.from_iterable(SHAPES[name] for name in given.shapes):
            found = rates(kernel, shape, given.repetitions, clock)
            rows.append({"threads": threads, "tokens_inputs_outputs": shape, **found})
            print(
                f"{threads} threads, {shape[0]} x {shape[1]} -> {shape[2]}: "
                f"forward {found['float32_forward']:.0f} -> {found['int8_forward']:.0f} GOP/s "
                f"({found['forward_ratio']:.2f}), "
                f"backward {found['float32_backward']:.0f} -> {found['int8_backward']:.0f} GOP/s "
                f"({found['backward_ratio']:.2f})",
                flush=True,
            )
    print(
        json.dumps(
            {
                "machine": describe_machine(),
                "versions": versions(),
                "accuracy": accuracy,
                "rates": rows,
            }
        )
    )


if __name__ == "__main__":
    main()
