"""A training step of the seed recipe or of one of our engines, controlled by lines of JSON.

Caveats first. The seconds are of the step only: forward and backward of all its micro-batches, no
optimiser. The peak is the kernel's VmHWM since the process started, so loading counts. Our fast
engine gets the allocator settings and the precision that `train` would give it with the memory that
is free at the start. The seed recipe and the `hf` engine have the default allocator, and return
what memory they can after a step, because the process waits while others are measured.

The first output is `{"ready": true, ..}`. Each input line `{"ids": [[..]], "trained": [[..]]}` is
answered with seconds, loss and peak memory. `peers/trl_step.py` does the same for TRL.

    venv/bin/python benchmarks/own_step.py --model FOLDER --recipe "fast int8" --threads 2
"""

import argparse
import contextlib
import ctypes
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import torch
from log_rows import PADDED_TOKENS
from shapes import base_in

from journeyman.errors import JourneymanError
from journeyman.events import Event, Note
from journeyman.machine.process_memory import peak_rss_bytes
from journeyman.machine.torch_runtime import freed_memory_kept
from journeyman.model.base import load_causal_model, read_config
from journeyman.records import BaseModel
from journeyman.settings import TrainSettings
from journeyman.train.batching.batches import batcher_for
from journeyman.train.batching.rows import TokenRow
from journeyman.train.engine.adapter_parameters import initialise
from journeyman.train.engine.factory import open_engine
from journeyman.train.engine.recipe import Recipe, decide

PRECISIONS = ("fp32", "bf16", "int8", "mixed")
RECIPES = ("seed", "hf fp32", "hf bf16", *(f"fast {precision}" for precision in PRECISIONS))
Step = Callable[[Sequence[TokenRow]], float]


def say(event: Event) -> None:
    """Notes to stderr."""
    if isinstance(event, Note):
        print(event.text, file=sys.stderr, flush=True)


def seed_step(base: BaseModel) -> Step:
    """The forerunner's step: FP32, padded to the full length, with a loss on every position."""
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

    return step


def engine_step(base: BaseModel, recipe: Recipe) -> Step:
    """One of this project's engines, with the micro-batches of a run."""
    engine = open_engine(base, recipe, say)
    initialise(engine.parameters(), seed=1)

    def step(given: Sequence[TokenRow]) -> float:
        losses, trained = 0.0, 0
        for batch in batcher_for(given, recipe.settings)(range(len(given))):
            tally = engine.backward([given[index] for index in batch], weight=1.0, seed=0)
            losses, trained = losses + tally.loss_sum, trained + tally.trained_tokens
        for parameter in engine.parameters().values():
            parameter.grad = None
        return losses / trained

    return step


@contextlib.contextmanager
def opened(name: str, base: BaseModel, *, compiled: bool) -> Iterator[tuple[Step, bool]]:
    """The step of a recipe, and whether the process keeps freed memory."""
    if name == "seed":
        yield seed_step(base), False
        return
    engine, precision = name.split()
    asked = replace(TrainSettings(), engine=engine, precision=precision)  # type: ignore[arg-type]
    config = read_config(base.folder)
    recipe = decide(replace(asked, compiled=compiled and engine == "fast"), config, say)
    kept = recipe.spares_memory
    with freed_memory_kept(kept):
        yield engine_step(base, recipe), kept


def rows_in(line: str) -> list[TokenRow]:
    """The rows of one input line."""
    asked = json.loads(line)
    both = zip(asked["ids"], asked["trained"], strict=True)
    return [
        TokenRow(str(number), tuple(ids), tuple(map(bool, trained)))
        for number, (ids, trained) in enumerate(both)
    ]


def serve(arguments: argparse.Namespace, answers: TextIO) -> None:
    """Answer each line of stdin until it ends."""
    base = base_in(arguments.recipe, arguments.model)
    with opened(arguments.recipe, base, compiled=arguments.compiled) as (step, kept):
        library = ctypes.CDLL(None)
        print(json.dumps({"ready": True, "freed_memory_kept": kept}), file=answers, flush=True)
        for line in sys.stdin:
            rows = rows_in(line)
            begin = time.perf_counter()
            loss = step(rows)
            seconds = time.perf_counter() - begin
            if not kept:
                library.malloc_trim(0)
            answer = {"seconds": seconds, "loss": loss, "peak_rss_bytes": peak_rss_bytes()}
            print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--recipe", required=True, choices=RECIPES)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--compiled", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # What libraries print must not get between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    try:
        serve(arguments, answers)
    except JourneymanError as error:
        raise SystemExit(f"error: {error.message}") from error


if __name__ == "__main__":
    main()
