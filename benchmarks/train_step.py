"""Real tokens a second of one training micro-batch: the seed recipe against ours, side by side.

Caveats first. One micro-batch of two rows, forward and backward, no optimiser; the two recipes take
turns on the same rows in one process, so a ratio holds when the machine's speed drifts, and one
absolute number does not. `seed` is what the forerunner ran, without its trainer's own overhead:
FP32, every row padded to 2,048 tokens, loss on every position. `hf` is `journeyman.train`'s engine
for every architecture. Real tokens are those that are no padding.

    venv/bin/python benchmarks/train_step.py [--data FOLDER] [--repetitions N]

The last line is one JSON document.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from journeyman.data.examples import read_examples
from journeyman.model.base import find_base, load_causal_model
from journeyman.model.chat import Chat, load_chat
from journeyman.model.machine import choose_precision
from journeyman.records import BaseModel
from journeyman.runs import machine, versions
from journeyman.settings import TrainSettings
from journeyman.train.hf_engine import HfEngine
from journeyman.train.rows import TokenRow

PADDED_TOKENS = 2048
ROWS = 2


def token_rows(data: Path, chat: Chat) -> list[TokenRow]:
    """The rows of the training split that lie in the middle by length."""
    rows = []
    for example in read_examples(data / "train.jsonl"):
        encoded = chat.encode(example.messages, trains_end=example.trains_end)
        rows.append(TokenRow(example.id, tuple(encoded.ids), tuple(encoded.trained)))
    rows = sorted((row for row in rows if len(row.ids) <= PADDED_TOKENS), key=lambda r: len(r.ids))
    middle = len(rows) // 2
    return rows[middle : middle + ROWS]


def seed_recipe(base: BaseModel) -> Callable[[list[TokenRow]], float]:
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

    def step(rows: list[TokenRow]) -> float:
        ids = torch.zeros((len(rows), PADDED_TOKENS), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row.ids)] = torch.tensor(row.ids)
            mask[number, : len(row.ids)] = 1
        loss = model(input_ids=ids, attention_mask=mask, labels=ids).loss
        loss.backward()
        model.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def our_recipe(base: BaseModel) -> Callable[[list[TokenRow]], float]:
    """One micro-batch of journeyman's own engine, in the precision that this machine is given."""
    precision = choose_precision("auto")
    dtype = torch.bfloat16 if precision.name == "bf16" else torch.float32
    engine = HfEngine(base, TrainSettings(), dtype=dtype)

    def step(rows: list[TokenRow]) -> float:
        tally = engine.backward(rows, weight=1.0, seed=0)
        for parameter in engine.parameters().values():
            parameter.grad = None
        return tally.loss

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=Path("demo/dataset"))
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    base = find_base(arguments.base)
    rows = token_rows(arguments.data, load_chat(base))
    tokens = sum(len(row.ids) for row in rows)
    recipes = {"seed": seed_recipe(base), "hf": our_recipe(base)}
    seconds: dict[str, list[float]] = {name: [] for name in recipes}
    losses: dict[str, float] = {}
    for repetition in range(arguments.repetitions + 1):
        for name, step in recipes.items():
            start = time.perf_counter()
            losses[name] = step(rows)
            taken = time.perf_counter() - start
            if repetition:  # the first round warms up
                seconds[name].append(taken)
                print(f"{name:5} {tokens / taken:8.1f} real tokens/s", file=sys.stderr)
    ratios = [a / b for a, b in zip(seconds["seed"], seconds["hf"], strict=True)]
    result = {
        "benchmark": "train_step",
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "rows": ROWS,
        "real_tokens": tokens,
        "real_tokens_per_s": {
            name: round(tokens / statistics.median(taken), 1) for name, taken in seconds.items()
        },
        "ratio_median": round(statistics.median(ratios), 2),
        "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "repetitions": arguments.repetitions,
        "losses": {name: round(loss, 4) for name, loss in losses.items()},
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
