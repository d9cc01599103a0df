"""The forecast of `journeyman plan` compared with the time that the run takes, for three settings.

Caveats first. Each setting is planned, run and planned again in its own process, with
`--max-steps`. The forecast is the mean of both plans, so that it is for the machine's speed around
the run, even if that drifts. The time taken is that of `train` after its own forecast, up to the
final model: loading, steps, validations, checkpoints, result. On a shared machine, `--cpu` counts
only the processor time of one thread for both. The goal is 15 % for each.

    venv/bin/python benchmarks/plan.py --data FOLDER [--base smollm2-135m] [--cpu] [--only NAME]

The last line is one JSON document.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from journeyman.events import Event, ProgressEnded
from journeyman.machine.process_memory import peak_rss_bytes
from journeyman.machine.processor import describe_machine
from journeyman.runs import versions
from journeyman.settings import TrainSettings
from journeyman.train.presets import RECOMMENDED

GOAL = 0.15
SETTINGS: dict[str, dict[str, object]] = {
    "given": {"max_steps": 2},
    "all linear layers, 8 rows": {
        "max_steps": 3,
        "accumulation": 4,
        "lora_r": 16,
        "lora_dropout": 0.0,
        "lora_targets": RECOMMENDED["lora_targets"],
    },
    "FP32, 4 rows a micro-batch, short rows": {
        "precision": "fp32",
        "max_steps": 2,
        "batch_size": 4,
        "max_tokens": 450,
    },
}


def settings_of(name: str, arguments: argparse.Namespace, output_dir: Path) -> TrainSettings:
    return dataclasses.replace(
        TrainSettings(
            base=arguments.base,
            data_dir=arguments.data,
            output_dir=output_dir,
            threads=1 if arguments.cpu else None,
        ),
        **SETTINGS[name],  # type: ignore[arg-type]
    )


def one(name: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Plan, run and plan again: the forecast and the time taken."""
    from journeyman.train.forecast.estimate import TASK as PROBE
    from journeyman.train.forecast.stage import plan
    from journeyman.train.stage import train

    clock = time.process_time if arguments.cpu else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(name, arguments, Path(folder) / "run")
        before = plan(settings, clock=clock)
        probed: list[float] = [clock()]

        def heard(event: Event) -> None:
            if isinstance(event, ProgressEnded) and event.task == PROBE:
                probed.append(clock())

        trained = train(settings, heard)
        taken_s = clock() - probed[-1]
        peak_bytes = peak_rss_bytes()
        after = plan(settings, clock=clock)
    assert before.hours is not None
    assert after.hours is not None
    forecast_s = (before.hours.total_s + after.hours.total_s) / 2
    return {
        "setting": name,
        "precision": before.precision,
        "engine": before.engine,
        "forecast_s": round(forecast_s, 1),
        "forecasts_s": [round(x.hours.total_s, 1) for x in (before, after) if x.hours],
        "forecast_range_s": [round(before.hours.low_s, 1), round(before.hours.high_s, 1)],
        "taken_s": round(taken_s, 1),
        "error": round(forecast_s / taken_s - 1, 4),
        "steps_forecast_s": round((before.hours.steps_s + after.hours.steps_s) / 2, 1),
        "steps_taken_s": round(trained.final.seconds, 1),
        "memory_forecast_bytes": before.memory.peak_bytes,
        "memory_peak_bytes": peak_bytes,
        "probe_s": [round(x.machine.probe_s, 1) for x in (before, after) if x.machine],
        "slowdown": [round(x.machine.slowdown, 3) for x in (before, after) if x.machine],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--cpu", action="store_true", help="processor time of one thread")
    parser.add_argument("--only", choices=sorted(SETTINGS))
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(one(arguments.only, arguments)))
        return
    results = []
    for name in SETTINGS:
        words = [*sys.argv[1:], "--only", name]
        done = subprocess.run(
            [sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        results.append(found)
        print(
            f"{name:38} forecast {found['forecast_s']:7.1f} s  taken {found['taken_s']:7.1f} s  "
            f"error {found['error']:+.1%}",
            file=sys.stderr,
        )
    print(
        json.dumps(
            {
                "benchmark": "plan",
                "machine": describe_machine(),
                "versions": versions(),
                "clock": "processor, one thread" if arguments.cpu else "wall",
                "goal": GOAL,
                "all_within_goal": all(abs(x["error"]) <= GOAL for x in results),
                "settings": results,
            }
        )
    )


if __name__ == "__main__":
    main()
