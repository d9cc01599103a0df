"""Real tokens a second of training: the seed recipe, TRL and this project's engines, side by side.

Caveats first. Forward and backward of micro-batches, no optimiser and no checkpoints; the recipes
take turns on the same rows, so a ratio holds while the machine's speed drifts, and one absolute
number does not. Real tokens are those of the rows: padding counts nothing, and a prefix that two
rows share counts twice although the fast engine computes it once. Every recipe runs in a process of
its own, which waits while others are measured, and is timed inside of it around the step alone.
With --one-at-a-time it lives for its turn alone, loads and warms up in each, and needs no room
beside another. The project's engines have the allocator that `train` gives them (freed memory kept
where there is room, said in the result); all others have it as it comes, and a variant of TRL with
the suffix `+malloc` as ours have it, by its environment.
`seed` is what the forerunner ran, without its trainer's own overhead: FP32, every row padded to
2,048 tokens, loss on every position. A padded row costs it the same whatever it holds, so it is
given one of the rows, and its rate is the mean length of all of them over that time. The rows are
spread evenly over the lengths of the training split. `trl` runs in its own environment (`make
peers`, or --peer PYTHON) by its own `training_step`; its collator is not timed, which favours it.
The share of the machine's limit is the time that the real tokens' products alone would take at the
rate of one large product over the time of the step (`product_limit.py`). The rates are measured in
the run, before and after the repetitions, and the better ones count.
A peak of memory is that of the recipe's process since it began, loading included.

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
    """By recipe: answers, what the process said when it was ready, and why there are no answers."""

    answers: Answers
    ready: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)


def recipes_of(base: BaseModel, arguments: argparse.Namespace) -> list[Recipe]:
    """All that were asked for, those first that keep memory only where they find room for it."""
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
    """The recipe's process that waits; without one, its own for this turn, warmed up."""
    if recipe.name in waiting:
        yield waiting[recipe.name]
        return
    with started(recipe) as worker:
        worker.step(rows)
        yield worker


def measured(
    recipes: Sequence[Recipe], rows: list[TokenRow], arguments: argparse.Namespace
) -> Measured:
    """Every repetition's answers, recipes in turns. Raises WorkerEnded where one cannot wait."""
    found = Measured({recipe.name: [] for recipe in recipes})
    apart = arguments.one_at_a_time
    with contextlib.ExitStack() as stack:
        waiting = {} if apart else {x.name: stack.enter_context(started(x)) for x in recipes}
        # Those that wait have a round that warms up.
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
    """Real tokens a second; a recipe that pads was given one row."""
    row_s = answer.seconds / (1 if padded else len(rows))
    return sum(len(row.ids) for row in rows) / len(rows) / row_s


def ratios(rates: dict[str, list[float]], against: list[list[float]]) -> dict[str, list[float]]:
    """Each repetition's rates to the best of those in the same repetition; empty without any."""
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
    """What was measured, by recipe."""
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
        help="a Python that has trl; that of `make peers` where it is there, '' for none",
    )
    parser.add_argument(
        "--peer-env", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="for TRL"
    )
    parser.add_argument(
        "--one-at-a-time",
        action="store_true",
        help="a process only for its turn, where all do not fit into memory together",
    )
    parser.add_argument("--hf", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--compiled", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    if arguments.repetitions < 1:
        parser.error("--repetitions must be 1 or more")
    if any("=" not in pair for pair in arguments.peer_env):
        parser.error("--peer-env takes NAME=VALUE")
    return arguments


def compared(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole comparison. Raises WorkerEnded where a recipe does not start."""
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
        print(json.dumps(compared(parsed())))
    except (JourneymanError, WorkerEnded) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
