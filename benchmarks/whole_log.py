"""Trains a whole dataset for some epochs with `train`: wall time, memory and final losses.

Caveats first. The time is that of `train` from its start to the final model: loading, forecast,
steps, validations, checkpoints. It is compared with the time that the seed recipe needs for the
same rows and epochs, by its time a row, measured before and after each run (every row is padded to
2,048 tokens, so all take equally long). Its trainer's overhead and validations are left out, which
favours it. All precisions train the same rows, order, seeds and steps. The final loss is given
twice: as the run measured it in its own arithmetic, and for the same adapter by the fast engine in
FP32.
`bf16-rounded` and `int8-rounded` are for processors without BF16 and VNNI units: weights and
activations are rounded as with such units but multiplied in FP32, so that only the losses count and
not the time; the softmax in attention stays in FP32. INT8 is calibrated as in a run, or not with
`--no-calibrate`.

    venv/bin/python benchmarks/whole_log.py --data FOLDER --epochs 3
    venv/bin/python benchmarks/whole_log.py --data FOLDER --epochs 1 \
        --precisions fp32,bf16-rounded,int8-rounded --no-seed-recipe

The last line is one JSON document.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from log_rows import token_rows
from rounding import ROUNDED
from workers import WorkerEnded, own_recipe, started

from journeyman.events import Event, Note
from journeyman.machine.process_memory import peak_rss_bytes
from journeyman.machine.processor import describe_machine
from journeyman.model.adapter_files import read_weights
from journeyman.model.base import find_base, read_config
from journeyman.model.chat import load_chat
from journeyman.runs import versions
from journeyman.settings import TrainSettings
from journeyman.train.batching.batches import batcher_for
from journeyman.train.batching.rows import read_rows
from journeyman.train.engine import arithmetic, int8_accuracy
from journeyman.train.engine.adapter_parameters import copy_into
from journeyman.train.engine.arithmetic import arithmetic_of
from journeyman.train.engine.factory import open_engine
from journeyman.train.engine.fast.linear import Arithmetic
from journeyman.train.engine.recipe import recipe_of
from journeyman.train.stage import train


@dataclass(frozen=True)
class Measured:
    """One run. Losses in nats a trained token of the validation split."""

    precision: str
    wall_s: float
    steps_s: float
    steps: int
    rows: int
    real_tokens: int
    peak_rss_bytes: int
    loss_of_the_base: float
    loss: float
    loss_by_fp32: float


def say(event: Event) -> None:
    """Notes to stderr."""
    if isinstance(event, Note):
        print(event.text, file=sys.stderr, flush=True)


def run(precision: str, arguments: argparse.Namespace) -> Measured:
    """Train in this process."""
    if precision in ROUNDED:
        _compute_by(ROUNDED[precision](say))
    with tempfile.TemporaryDirectory() as folder:
        if precision in ROUNDED:
            # The calibration of a simulated arithmetic must not get into the real cache.
            int8_accuracy.cache_folder = lambda: Path(folder) / "cache"  # type: ignore[attr-defined]
        settings = TrainSettings(
            base=arguments.base,
            data_dir=arguments.data,
            output_dir=Path(folder) / "run",
            epochs=arguments.epochs,
            lr=arguments.lr,
            precision=precision.removesuffix("-rounded"),  # type: ignore[arg-type]
            calibrate=arguments.calibrate,
        )
        chat = load_chat(find_base(arguments.base))
        start = time.perf_counter()
        trained = train(settings, say)
        wall_s = time.perf_counter() - start
        peak_bytes = peak_rss_bytes()
        assert trained.final.val_loss_base is not None
        assert trained.final.val_loss_final is not None
        return Measured(
            precision=precision,
            wall_s=round(wall_s, 1),
            steps_s=round(trained.final.seconds, 1),
            steps=trained.final.steps,
            rows=len(read_rows(settings.data_dir / "train.jsonl", chat, max_tokens=2048).used),
            real_tokens=trained.final.tokens,
            peak_rss_bytes=peak_bytes,
            loss_of_the_base=round(trained.final.val_loss_base, 6),
            loss=round(trained.final.val_loss_final, 6),
            loss_by_fp32=round(loss_by_fp32(trained.final_model, arguments), 6),
        )


def _compute_by(found: Arithmetic) -> None:
    """Use this arithmetic instead of this machine's."""
    arithmetic.arithmetic_of = lambda *_, **__: found


def loss_by_fp32(adapter: Path, arguments: argparse.Namespace) -> float:
    """The loss of an adapter over the validation split, in FP32."""
    arithmetic.arithmetic_of = arithmetic_of
    base = find_base(arguments.base)
    rows = read_rows(arguments.data / "val.jsonl", load_chat(base), max_tokens=2048).used
    settings = TrainSettings(accumulation=8, engine="fast", precision="fp32", compiled=False)
    engine = open_engine(base, recipe_of(settings, read_config(base.folder)))
    with torch.no_grad():
        copy_into(engine.parameters(), read_weights(adapter))
    tallies = [
        engine.loss([rows[i] for i in x]) for x in batcher_for(rows, settings)(range(len(rows)))
    ]
    return sum(x.loss_sum for x in tallies) / sum(x.trained_tokens for x in tallies)


@contextlib.contextmanager
def seed_seconds(arguments: argparse.Namespace) -> Iterator[Callable[[], list[float]]]:
    """The seed recipe, warmed up in its own process; a call measures its seconds a row.

    A call gives no seconds if the seed recipe is left out.
    """
    if not arguments.seed_recipe:
        yield list
        return
    base = find_base(arguments.base)
    rows = token_rows(arguments.data, load_chat(base), 1)
    with started(own_recipe("seed", base, threads=torch.get_num_threads())) as worker:

        def measured() -> list[float]:
            seconds = worker.step(rows).seconds
            print(f"seed recipe: {seconds:.1f} s a row", file=sys.stderr, flush=True)
            return [seconds]

        measured()
        yield measured


def in_its_own_process(precision: str) -> Measured:
    """Measure in another process, whose peak memory is then only that of the run."""
    words = [sys.executable, __file__, *sys.argv[1:], "--only", precision]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--lr", type=float, default=TrainSettings().lr)
    parser.add_argument("--precisions", default="auto")
    parser.add_argument("--seed-recipe", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--calibrate", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(asdict(run(arguments.only, arguments))))
        return
    found = []
    try:
        with seed_seconds(arguments) as of_seed:
            row_s = of_seed()
            for precision in arguments.precisions.split(","):
                found.append(in_its_own_process(precision))
                print(found[-1], file=sys.stderr, flush=True)
                row_s += of_seed()
    except WorkerEnded as error:
        raise SystemExit(f"error: {error}") from error
    seed_s = arguments.epochs * found[0].rows * statistics.median(row_s) if row_s else None
    print(
        json.dumps(
            {
                "benchmark": "whole_log",
                "base": arguments.base,
                "epochs": arguments.epochs,
                "lr": arguments.lr,
                "machine": describe_machine(),
                "threads": torch.get_num_threads(),
                "versions": versions(),
                "seed_recipe": {
                    "row_s": [round(seconds, 2) for seconds in row_s],
                    "real_tokens_per_s": seed_s and round(found[0].real_tokens / seed_s, 2),
                    "steps_s": seed_s and round(seed_s),
                },
                "runs": [asdict(one) for one in found],
                "times_as_fast": [round(seed_s / one.wall_s, 1) for one in found if seed_s],
                "loss_to_first": [round(one.loss / found[0].loss - 1, 5) for one in found],
                "loss_by_fp32_to_first": [
                    round(one.loss_by_fp32 / found[0].loss_by_fp32 - 1, 5) for one in found
                ],
            }
        )
    )


if __name__ == "__main__":
    main()
