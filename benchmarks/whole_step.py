"""One whole training step of a large model: its peak memory, and the time of its parts.

Caveats first. The weights are random, in the exact shape of a known model, and on the disk in
bfloat16 (15 GB for a 7B; written once, layer by layer, by another process, and used again). The
rows are random tokens, and the second half of each is trained. A step is one optimiser update over
all rows, in micro-batches; there is no step to warm up, because memory is what this measures. The
peak is the kernel's VmHWM of this process, file pages included.

    venv/bin/python benchmarks/whole_step.py --shape Qwen/Qwen2.5-Coder-7B-Instruct --precision bf16
    venv/bin/python benchmarks/whole_step.py --precision int8 --row-tokens 512 --rows 4

The last line is one JSON document.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from shapes import base_in, folder_name

from journeyman.events import Event, Note
from journeyman.machine.memory_limits import memory_room
from journeyman.machine.process_memory import peak_rss_bytes
from journeyman.machine.processor import describe_machine
from journeyman.model.base import read_config
from journeyman.records import BaseModel
from journeyman.runs import versions
from journeyman.settings import TrainSettings
from journeyman.train.batching.batches import batcher_for
from journeyman.train.batching.rows import TokenRow
from journeyman.train.engine.adapter_parameters import initialise
from journeyman.train.engine.factory import open_engine
from journeyman.train.engine.optimizer import Optimizer
from journeyman.train.engine.recipe import Recipe, decide


def say(event: Event) -> None:
    """Notes to stderr."""
    if isinstance(event, Note):
        print(event.text, file=sys.stderr)


def written(name: str, folder: Path, layers: int | None) -> BaseModel:
    """Write the weights to the disk in another process, whose memory does not count."""
    script = Path(__file__).with_name("shapes.py")
    command = [sys.executable, str(script), name, str(folder)]
    subprocess.run([*command, *(["--layers", str(layers)] if layers else [])], check=True)
    return base_in(name, folder)


def random_rows(count: int, tokens: int, vocabulary: int) -> list[TokenRow]:
    """Rows without a common prefix; the second half of each is trained."""
    generator = torch.Generator().manual_seed(0)
    untrained = tokens // 2
    trained = (False,) * untrained + (True,) * (tokens - untrained)
    drawn = torch.randint(vocabulary, (count, tokens), generator=generator).tolist()
    return [TokenRow(str(number), tuple(ids), trained) for number, ids in enumerate(drawn)]


def step(base: BaseModel, recipe: Recipe, rows: Sequence[TokenRow]) -> dict[str, object]:
    """Load, compute all micro-batches and update; the seconds and peaks of each."""
    settings = recipe.settings
    started = time.perf_counter()
    engine = open_engine(base, recipe, say)
    optimizer = Optimizer(engine.parameters(), weight_decay=settings.weight_decay)
    initialise(engine.parameters(), seed=1)
    found: dict[str, object] = {
        "load_s": round(time.perf_counter() - started, 1),
        "peak_after_load_bytes": peak_rss_bytes(),
    }
    batches, loss, trained = [], 0.0, 0
    weight = 1 / sum(row.trained_tokens for row in rows)
    for batch in batcher_for(rows, settings)(range(len(rows))):
        started = time.perf_counter()
        tally = engine.backward([rows[index] for index in batch], weight=weight, seed=0)
        seconds = time.perf_counter() - started
        loss, trained = loss + tally.loss_sum, trained + tally.trained_tokens
        batches.append({"tokens": tally.real_tokens, "s": round(seconds, 2)})
        print(f"{tally.real_tokens} tokens in {seconds:.1f} s", file=sys.stderr)
    started = time.perf_counter()
    norm = optimizer.clip(settings.max_grad_norm)
    optimizer.step(settings.lr)
    update_s = time.perf_counter() - started
    steps_s = update_s + sum(float(one["s"]) for one in batches)
    return {
        **found,
        "micro_batches": batches,
        "update_s": round(update_s, 2),
        "real_tokens_per_s": round(sum(len(row.ids) for row in rows) / steps_s, 2),
        "loss": round(loss / trained, 4),
        "gradient_norm": round(norm, 4),
        "peak_rss_bytes": peak_rss_bytes(),
        "peak_rss_gib": round(peak_rss_bytes() / 2**30, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--shape", default="Qwen/Qwen2.5-Coder-7B-Instruct")
    parser.add_argument("--layers", type=int, help="fewer than the shape has")
    parser.add_argument("--folder", type=Path, help="of the weights; by default in build/")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--row-tokens", type=int, default=512)
    parser.add_argument("--micro-batch-tokens", type=int, default=2048)
    parser.add_argument("--memory-gib", type=float, help="limit for gradient checkpointing")
    parser.add_argument("--compiled", action=argparse.BooleanOptionalAction, default=False)
    arguments = parser.parse_args()
    folder = arguments.folder or Path("build") / folder_name(arguments.shape, arguments.layers)
    base = written(arguments.shape, folder, arguments.layers)
    config = read_config(base.folder)
    settings = TrainSettings(
        engine="fast",
        precision=arguments.precision,
        max_tokens=arguments.row_tokens,
        micro_batch_tokens=arguments.micro_batch_tokens,
        compiled=arguments.compiled,
        memory_gib=arguments.memory_gib,
    )
    recipe = decide(settings, config, say)
    settings = recipe.settings
    assert recipe.fast is not None
    memory = recipe.fast.memory
    rows = random_rows(arguments.rows, arguments.row_tokens, config.vocab_size)
    most = max(
        sum(len(rows[i].ids) for i in x) for x in batcher_for(rows, settings)(range(len(rows)))
    )
    room = memory_room()
    result = {
        "benchmark": "whole_step",
        "shape": arguments.shape,
        "layers": config.num_hidden_layers,
        "precision": settings.precision,
        "compiled": arguments.compiled,
        "machine": describe_machine(),
        "memory_bytes": {"limit": room.limit_bytes, "available": room.available_bytes},
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "rows": len(rows),
        "real_tokens": sum(len(row.ids) for row in rows),
        "checkpointed_layers": memory.activation_budget.checkpointed_layers(most),
        "forecast_bytes": {
            "weights": round(memory.weight_bytes),
            "activations": round(memory.activation_budget.activation_bytes(most)),
            "working": round(memory.activation_budget.working_bytes * most),
        },
        **step(base, recipe, rows),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
