"""Training throughput in real tokens a second: the seed recipe, TRL and this project's engines.

Caveats first. Forward and backward of micro-batches are timed, without optimiser and checkpoints.
The recipes take turns on the same rows: ratios hold even if the machine's speed drifts, but
absolute numbers do not. Real tokens are those of the rows: padding does not count, and a prefix
that two rows share counts twice although the fast engine computes it once. Every recipe runs in its
own process, which waits while others are measured and times only the step. With --one-at-a-time the
process exists only during its turn, loads and warms up each time, and needs no memory besides
others. The project's engines have the allocator settings that `train` gives them (freed memory is
kept if there is plenty; the result says so); all others have the default, and a variant of TRL with
the suffix `+malloc` has the same settings as ours, by its environment.
`seed` is what the forerunner ran, without the overhead of its trainer: FP32, every row padded to
2,048 tokens, a loss on every position. Every padded row costs the same, so it gets only one row,
and its throughput is the mean length of all rows over that time. The rows are spread evenly over
the lengths of the training split. `trl` runs in its own environment (`make peers`, or --peer
PYTHON) with its own `training_step`; its collator is not timed, which favours it.
The share of the machine's limit is the time that the matrix products of the real tokens would take
at the rate of one large product, over the time of the step (`product_limit.py`). The rates are
measured before and after the repetitions, and the better ones count.
Peak memory is that of the recipe's process since it started, loading included.

    venv/bin/python benchmarks/train_step.py [--data FOLDER] [--repetitions N] [--peer PYTHON]
    venv/bin/python benchmarks/train_step.py --shape Qwen/Qwen2.5-Coder-7B-Instruct --layers 2

The last line is one JSON document.
"""

import argparse
import contextlib
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from log_rows import token_rows
from product_limit import ProductLimit, best_of, trained_share
from shapes import write_shape
from together import warning_of
from workers import PEER, Answer, Recipe, Worker, WorkerEnded, own_recipe, started, trl_recipe

from journeyman.errors import JourneymanError
from journeyman.machine.processor import describe_machine, processor_flags
from journeyman.model.base import find_base, read_config
from journeyman.model.chat import load_chat
from journeyman.records import BaseModel
from journeyman.runs import versions
from journeyman.train.batching.rows import TokenRow
from journeyman.train.engine.fast.shape import shape_of
from journeyman.train.engine.product_rates import Rates, measured_now

UNITS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16")
Answers = dict[str, list[Answer]]


@dataclass(frozen=True)
class Measured:
    """By recipe: its answers, its first output, and why it ended if there are no answers."""

    answers: Answers
    ready: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)


def recipes_of(base: BaseModel, arguments: argparse.Namespace) -> list[Recipe]:
    """The chosen recipes, first those that keep freed memory only if there is plenty."""
    threads = arguments.threads
    names = [f"fast {precision}" for precision in arguments.precisions.split(",")]
    names += ["hf fp32"] if arguments.hf else []
    own = [own_recipe(x, base, threads=threads, compiled=arguments.compiled) for x in names]
    variants = arguments.variants.split(",") if arguments.peer else []
    environment = dict(pair.split("=", 1) for pair in arguments.peer_env)
    others = [
        trl_recipe(x, base, python=arguments.peer, threads=threads, environment=environment)
        for x in variants
    ]
    return [*own, *others, own_recipe("seed", base, threads=threads)]


@contextlib.contextmanager
def warm_worker(
    recipe: Recipe, waiting: dict[str, Worker], rows: Sequence[TokenRow]
) -> Iterator[Worker]:
    """The recipe's waiting process; without one, a new process for this turn, warmed up."""
    if recipe.name in waiting:
        yield waiting[recipe.name]
        return
    with started(recipe) as worker:
        worker.step(rows)
        yield worker


def measured(
    recipes: Sequence[Recipe], rows: list[TokenRow], arguments: argparse.Namespace
) -> Measured:
    """The answers of every repetition, in turns. Raises WorkerEnded if one does not start."""
    found = Measured({recipe.name: [] for recipe in recipes})
    apart = arguments.one_at_a_time
    with contextlib.ExitStack() as stack:
        waiting = {} if apart else {x.name: stack.enter_context(started(x)) for x in recipes}
        # Waiting processes have one round to warm up.
        for repetition in range(1 if apart else 0, arguments.repetitions + 1):
            for recipe in [x for x in recipes if x.name not in found.ended]:
                given = rows[:1] if recipe.padded else rows
                try:
                    with warm_worker(recipe, waiting, given) as worker:
                        answer = worker.step(given)
                        found.ready[recipe.name] = worker.ready
                except WorkerEnded as error:
                    found.ended[recipe.name] = str(error)
                    del found.answers[recipe.name]
                    print(f"error: {error}", file=sys.stderr, flush=True)
                    continue
                if repetition:
                    found.answers[recipe.name].append(answer)
                warm = "" if repetition else " (warming up)"
                rate = rate_of(recipe.padded, answer, rows)
                print(f"{recipe.name:32} {rate:8.1f} real tokens/s{warm}", file=sys.stderr)
    return found


def rate_of(padded: bool, answer: Answer, rows: Sequence[TokenRow]) -> float:
    """Real tokens a second; a recipe that pads got one row."""
    row_s = answer.seconds / (1 if padded else len(rows))
    return sum(len(row.ids) for row in rows) / len(rows) / row_s


def ratios(rates: dict[str, list[float]], against: list[list[float]]) -> dict[str, list[float]]:
    """Each rate over the best rate of `against` in the same repetition; empty without any."""
    if not against:
        return {}
    best = [max(found) for found in zip(*against, strict=True)]
    return {
        name: [round(one / other, 2) for one, other in zip(found, best, strict=True)]
        for name, found in rates.items()
    }


def result_of(
    answers: Answers, rows: list[TokenRow], limit: ProductLimit, padded: set[str]
) -> dict[str, Any]:
    """The measurements by recipe."""
    rates = {
        name: [rate_of(name in padded, one, rows) for one in found]
        for name, found in answers.items()
    }
    median = {name: statistics.median(found) for name, found in rates.items()}
    trl = [found for name, found in rates.items() if name.startswith("trl")]
    return {
        "product_rates": {name: getattr(limit.rates, name) for name in Rates.__struct_fields__},
        "real_tokens_per_s": {x: [round(one, 2) for one in found] for x, found in rates.items()},
        "median": {name: round(rate, 2) for name, rate in median.items()},
        "ratio_to_seed": ratios(rates, [rates["seed"]] if "seed" in rates else []),
        "ratio_to_trl": ratios(rates, trl),
        "share_of_limit": {x: round(rate * limit.seconds(x), 3) for x, rate in median.items()},
        "losses": {name: round(found[-1].loss, 4) for name, found in answers.items()},
        "peak_rss_bytes": {name: found[-1].peak_rss_bytes for name, found in answers.items()},
    }


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=Path("demo/dataset"))
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--shape", help="a known model's shape with random weights, not a base")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("build/shape"))
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--precisions", default="fp32,int8")
    parser.add_argument("--variants", default="best,best-padding-free", help="of TRL")
    parser.add_argument(
        "--peer",
        default=str(PEER) if PEER.exists() else "",
        help="a Python with trl; by default that of `make peers` if there is one, '' for none",
    )
    parser.add_argument(
        "--peer-env", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="for TRL"
    )
    parser.add_argument(
        "--one-at-a-time",
        action="store_true",
        help="start each process only for its turn, if all do not fit into memory together",
    )
    parser.add_argument("--hf", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--compiled", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    if arguments.repetitions < 1:
        parser.error("--repetitions must be 1 or more")
    if any("=" not in pair for pair in arguments.peer_env):
        parser.error("--peer-env takes NAME=VALUE")
    return arguments


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole comparison. Raises WorkerEnded if a recipe does not start."""
    base = find_base(arguments.base)
    rows = token_rows(arguments.data, load_chat(base), arguments.rows)
    if arguments.shape:
        base = write_shape(arguments.shape, arguments.folder, layers=arguments.layers)
    config = read_config(base.folder)
    recipes = recipes_of(base, arguments)
    warning = warning_of([recipe.name for recipe in recipes], config, rows)
    if warning and not arguments.one_at_a_time:
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    before = measured_now(threads=arguments.threads)
    found = measured(recipes, rows, arguments)
    after = measured_now(threads=arguments.threads)
    shape = shape_of(config)
    limit = ProductLimit(shape, trained_share(rows), best_of(before, after))
    flags = processor_flags()
    return {
        "benchmark": "train_step",
        "base": arguments.shape or arguments.base,
        "layers": shape.layers,
        "machine": describe_machine(),
        "units": sorted(x for x in flags if x in UNITS or x.startswith("amx_")),
        "threads": arguments.threads,
        "versions": versions(),
        "rows": len(rows),
        "real_tokens": sum(len(row.ids) for row in rows),
        "repetitions": arguments.repetitions,
        **result_of(found.answers, rows, limit, {x.name for x in recipes if x.padded}),
        "one_at_a_time": arguments.one_at_a_time,
        "freed_memory_kept": {
            name: ready["freed_memory_kept"]
            for name, ready in found.ready.items()
            if "freed_memory_kept" in ready
        },
        "environment": {x.name: dict(x.environment) for x in recipes if x.environment},
        "ended": found.ended,
    }


def main() -> None:
    try:
        print(json.dumps(compare(parsed())))
    except (JourneymanError, WorkerEnded) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
