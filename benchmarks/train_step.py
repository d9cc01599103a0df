"""Real tokens a second of training: the seed recipe, TRL and this project's engines, side by side.

Caveats first. Forward and backward of micro-batches, no optimiser and no checkpoints; the recipes
take turns on the same rows, so a ratio holds while the machine's speed drifts, and one absolute
number does not. Real tokens are those of the rows: padding counts nothing, and a prefix that two
rows share counts twice although the fast engine computes it once. `seed` is what the forerunner
ran, without its trainer's own overhead: FP32, every row padded to 2,048 tokens, loss on every
position. A padded row costs it the same whatever it holds, so it is given one of the rows, and its
rate is the mean length of all of them over that time. The rows are spread evenly over the lengths
of the training split. `trl` runs in its own environment (--peer PYTHON), one process a variant, by
its own collator and `training_step`, two rows a micro-batch.
The share of the machine's limit is the time that the real tokens' products alone would take at the
rate of one large product, measured here, over the time of the step: 4 operations a frozen weight
and token, the output layer's only where an answer stands, attention left out. Each recipe is held
against the rate of the arithmetic it multiplies in, TRL against BF16 where the processor has it.

    venv/bin/python benchmarks/train_step.py [--data FOLDER] [--repetitions N] [--peer PYTHON]
    venv/bin/python benchmarks/train_step.py --shape Qwen/Qwen2.5-Coder-7B-Instruct --layers 2

The last line is one JSON document.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from shapes import write_shape

from journeyman.data.examples import read_examples
from journeyman.model.base import find_base, load_causal_model
from journeyman.model.chat import Chat, load_chat
from journeyman.model.configs import read_config
from journeyman.records import BaseModel
from journeyman.runs import machine, processor_flags, versions
from journeyman.settings import TrainSettings
from journeyman.train.adapter_files import initialise
from journeyman.train.engines import open_engine
from journeyman.train.fast.shape import shape_of
from journeyman.train.memory import peak_rss_bytes
from journeyman.train.prefixes import division
from journeyman.train.product_rates import Rates, measured_rates
from journeyman.train.rows import TokenRow

PADDED_TOKENS = 2048
Step = Callable[[Sequence[TokenRow]], float]


@dataclass(frozen=True)
class Recipe:
    """One way to train: the step itself, and whether every row costs it the same."""

    step: Step
    padded: bool = False


def token_rows(data: Path, chat: Chat, count: int) -> list[TokenRow]:
    """Rows of the training split, spread evenly over their lengths up to the seed recipe's."""
    rows: list[TokenRow] = []
    for example in read_examples(data / "train.jsonl"):
        encoded = chat.encode(example.messages, trains_end=example.trains_end)
        row = TokenRow(example.id, tuple(encoded.ids), tuple(encoded.trained))
        if row.trained_tokens and len(row.ids) <= PADDED_TOKENS:
            rows.append(row)
    rows.sort(key=lambda row: len(row.ids))
    # The middle of each of so many equal parts, and of all where there are fewer.
    count = min(count, len(rows))
    return [rows[(2 * part + 1) * len(rows) // (2 * count)] for part in range(count)]


def seed_recipe(base: BaseModel) -> Recipe:
    """The forerunner's step: padded to the full length, every position trained, FP32."""
    from peft import LoraConfig, get_peft_model

    settings = TrainSettings()
    config = LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=list(settings.lora_targets),
        task_type="CAUSAL_LM",
    )
    model: Any = get_peft_model(load_causal_model(base, torch.float32), config).train()

    def step(given: Sequence[TokenRow]) -> float:
        ids = torch.zeros((len(given), PADDED_TOKENS), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(given):
            ids[number, : len(row.ids)] = torch.tensor(row.ids)
            mask[number, : len(row.ids)] = 1
        loss = model(input_ids=ids, attention_mask=mask, labels=ids).loss
        loss.backward()
        model.zero_grad(set_to_none=True)
        return float(loss.detach())

    return Recipe(step, padded=True)


def own_recipe(base: BaseModel, **changes: object) -> Recipe:
    """This project's own engine, in micro-batches as a run has them."""
    settings = replace(TrainSettings(accumulation=8), **changes)  # type: ignore[arg-type]
    engine = open_engine(base, settings)
    initialise(engine.parameters(), seed=1)

    def step(given: Sequence[TokenRow]) -> float:
        losses, trained = 0.0, 0
        for batch in division(given, settings)(range(len(given))):
            tally = engine.backward([given[index] for index in batch], weight=1.0, seed=0)
            losses, trained = losses + tally.loss_sum, trained + tally.trained_tokens
        for parameter in engine.parameters().values():
            parameter.grad = None
        return losses / trained

    return Recipe(step)


def trl_recipe(peer: str, base: BaseModel, variant: str) -> Recipe:
    """TRL in its own process, two rows a micro-batch; it waits while others are measured."""
    script = Path(__file__).parent / "peers" / "trl_step.py"
    command = [peer, str(script), "--model", str(base.folder), "--variant", variant]
    command += ["--threads", str(torch.get_num_threads())]
    command += ["--bf16"] if "avx512_bf16" in processor_flags() else []
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdin is not None
    assert process.stdout is not None
    if not process.stdout.readline():
        raise SystemExit(f"error: {variant} did not start")

    def step(given: Sequence[TokenRow]) -> float:
        losses = []
        for start in range(0, len(given), 2):
            batch = given[start : start + 2]
            ids = [list(row.ids) for row in batch]
            asked = {"ids": ids, "trained": [[int(x) for x in row.trained] for row in batch]}
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            losses.append(json.loads(process.stdout.readline())["loss"])
        return statistics.fmean(losses)

    return Recipe(step)


def recipes_of(base: BaseModel, arguments: argparse.Namespace) -> dict[str, Recipe]:
    """All that can run on this machine."""
    found = {"seed": seed_recipe(base)}
    if arguments.peer:
        for variant in arguments.variants.split(","):
            found[f"trl {variant}"] = trl_recipe(arguments.peer, base, variant)
    if arguments.hf:
        found["hf fp32"] = own_recipe(base, engine="hf", precision="fp32")
    fast = {"engine": "fast", "compiled": arguments.compiled}
    for precision in arguments.precisions.split(","):
        found[f"fast {precision}"] = own_recipe(base, precision=precision, **fast)
    return found


def measured(
    recipes: dict[str, Recipe], rows: list[TokenRow], repetitions: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Real tokens a second of every repetition, and the last loss, of each recipe in turn."""
    rates: dict[str, list[float]] = {name: [] for name in recipes}
    losses: dict[str, float] = {}
    for repetition in range(repetitions + 1):
        for name, recipe in recipes.items():
            given = rows[:1] if recipe.padded else rows
            start = time.perf_counter()
            losses[name] = recipe.step(given)
            row_s = (time.perf_counter() - start) / len(given)
            rate = sum(len(row.ids) for row in rows) / len(rows) / row_s
            if repetition:  # the first round warms up
                rates[name].append(rate)
            warm = "" if repetition else " (warming up)"
            print(f"{name:24} {rate:8.1f} real tokens/s{warm}", file=sys.stderr)
    return rates, losses


def product_rates_of(name: str, limit: Rates) -> tuple[float, float, float]:
    """Operations a second of a recipe's layers, forward and backward, and of its output layer."""
    bf16 = limit.bf16 or limit.fp32
    int8 = max(limit.int8 or 0.0, limit.kernel or 0.0, limit.fp32)
    if name == "fast int8":
        return int8, int8, limit.kernel or bf16
    if name == "fast mixed":
        return bf16, int8, bf16
    if name == "fast bf16" or name.startswith("trl"):
        return bf16, bf16, bf16
    return limit.fp32, limit.fp32, limit.fp32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=Path("demo/dataset"))
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--shape", help="a known model's shape with random weights, not a base")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("build/shape"))
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--precisions", default="fp32,int8")
    parser.add_argument("--variants", default="as-it-comes,best")
    parser.add_argument("--peer", help="a Python that has trl")
    parser.add_argument("--hf", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--compiled", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    small = find_base(arguments.base)
    rows = token_rows(arguments.data, load_chat(small), arguments.rows)
    base = small
    if arguments.shape:
        base = write_shape(arguments.shape, arguments.folder, layers=arguments.layers)
    rates, losses = measured(recipes_of(base, arguments), rows, arguments.repetitions)
    shape = shape_of(read_config(base.folder))
    weights = shape.layer_parameters * shape.layers
    trained = sum(row.trained_tokens for row in rows) / sum(len(row.ids) for row in rows)
    limit = measured_rates(threads=torch.get_num_threads())

    def limit_s(name: str) -> float:
        """The least time of a real token by the products alone."""
        forward, backward, head = product_rates_of(name, limit)
        products = 2.0 * weights * (1 / forward + 1 / backward)
        return products + 4.0 * trained * shape.vocabulary * shape.hidden / head

    result = {
        "benchmark": "train_step",
        "base": arguments.shape or arguments.base,
        "layers": shape.layers,
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "rows": len(rows),
        "real_tokens": sum(len(row.ids) for row in rows),
        "product_rates": {
            "fp32": limit.fp32,
            "bf16": limit.bf16,
            "int8": limit.int8,
            "int8 kernel": limit.kernel,
        },
        "real_tokens_per_s": {
            name: [round(one, 2) for one in found] for name, found in rates.items()
        },
        "median": {name: round(statistics.median(found), 2) for name, found in rates.items()},
        "ratio_to_seed": {
            name: [round(one / other, 2) for one, other in zip(found, rates["seed"], strict=True)]
            for name, found in rates.items()
        },
        "share_of_limit": {
            name: round(statistics.median(found) * limit_s(name), 3)
            for name, found in rates.items()
        },
        "repetitions": arguments.repetitions,
        "losses": {name: round(loss, 4) for name, loss in losses.items()},
        "peak_rss_bytes": peak_rss_bytes(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
