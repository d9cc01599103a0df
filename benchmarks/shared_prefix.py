"""What a shared prefix saves: 16 rows with 4,000 common and 500 own tokens, shared or not.

Forward and backward of the fast engine on layers of SmolLM2-135M's shape with random weights; the
two packs take turns in one process. Loss and gradients are compared, too. Both packs compute the
output layer for the same tokens, which with few layers takes a larger part than in a whole model.
All 30 layers fit into 24 GiB only with gradient checkpointing (--recompute).

    venv/bin/python benchmarks/shared_prefix.py --layers 30 --recompute --no-warm-up --repetitions 1
    venv/bin/python benchmarks/shared_prefix.py --layers 4 [--precision fp32|bf16|int8]

The last line is one JSON document.
"""

import argparse
import json
import statistics
import sys
import time

import torch

from journeyman.machine.processor import describe_machine
from journeyman.settings import TrainSettings
from journeyman.train.batching.rows import TokenRow
from journeyman.train.engine.adapter_parameters import initialise
from journeyman.train.engine.arithmetic import arithmetic_of
from journeyman.train.engine.fast.decoder import Decoder, DecoderPlan
from journeyman.train.engine.fast.engine import adapter_leaves
from journeyman.train.engine.fast.packing import Pack, pack
from journeyman.train.engine.fast.shape import shape_of
from journeyman.train.engine.fast.weights import RandomWeights
from journeyman.train.forecast.base_model import known_shape


def rows_of(count: int, prefix: int, own: int, vocabulary: int) -> list[TokenRow]:
    """Rows with a common prefix; their own tokens are trained."""
    generator = torch.Generator().manual_seed(0)

    def drawn(size: int) -> tuple[int, ...]:
        return tuple(torch.randint(vocabulary, (size,), generator=generator).tolist())

    shared = drawn(prefix)
    trained = (False,) * prefix + (True,) * own
    return [TokenRow(str(number), shared + drawn(own), trained) for number in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--prefix", type=int, default=4000)
    parser.add_argument("--own", type=int, default=500)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "int8"))
    parser.add_argument(
        "--recompute", action="store_true", help="gradient checkpointing, so that all 30 fit"
    )
    parser.add_argument("--warm-up", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    config = known_shape("HuggingFaceTB/SmolLM2-135M-Instruct").config
    config.num_hidden_layers = arguments.layers
    config.layer_types = None
    shape = shape_of(config)
    settings = TrainSettings(lora_dropout=0.0)
    again = arguments.layers if arguments.recompute else 0
    plan = DecoderPlan(arithmetic_of(arguments.precision), checkpointed_layers=again)
    leaves = adapter_leaves(shape, settings, plan.device)
    initialise(leaves, seed=1)
    torch.set_grad_enabled(False)
    for name, leaf in leaves.items():
        if "lora_B" in name:
            leaf.add_(0.05)
    decoder = Decoder(config, shape, RandomWeights(shape), leaves, plan=plan, scaling=4.0)
    rows = rows_of(arguments.rows, arguments.prefix, arguments.own, shape.vocabulary)
    packs = {"shared": pack(rows), "apart": pack(rows, least_shared_tokens=2**31)}
    seconds: dict[str, list[float]] = {name: [] for name in packs}
    losses: dict[str, float] = {}
    gradients: dict[str, torch.Tensor] = {}
    for repetition in range(0 if arguments.warm_up else 1, arguments.repetitions + 1):
        for name, one in packs.items():
            taken = _timed(decoder, one, name, losses)
            gradients[name] = torch.cat([leaf.grad.flatten() for leaf in leaves.values()])  # type: ignore[union-attr]
            for leaf in leaves.values():
                leaf.grad = None
            if repetition:
                seconds[name].append(taken)
            print(f"{name:8} {taken:8.2f} s", file=sys.stderr)
    shares = [a / b for a, b in zip(seconds["shared"], seconds["apart"], strict=True)]
    distance = (gradients["shared"] - gradients["apart"]).norm() / gradients["apart"].norm()
    result = {
        "benchmark": "shared_prefix",
        "machine": describe_machine(),
        "threads": torch.get_num_threads(),
        "rows": arguments.rows,
        "prefix": arguments.prefix,
        "own": arguments.own,
        "layers": arguments.layers,
        "precision": arguments.precision,
        "recompute": arguments.recompute,
        "tokens": {name: one.computed_tokens for name, one in packs.items()},
        "seconds": {name: [round(one, 2) for one in found] for name, found in seconds.items()},
        "share_median": round(statistics.median(shares), 3),
        "share_range": [round(min(shares), 3), round(max(shares), 3)],
        "losses": losses,
        "gradient_distance": float(distance),
    }
    print(json.dumps(result))


def _timed(decoder: Decoder, one: Pack, name: str, losses: dict[str, float]) -> float:
    start = time.perf_counter()
    losses[name] = decoder.backward(one, weight=1e-3, dropout=None) / len(one.targets)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
