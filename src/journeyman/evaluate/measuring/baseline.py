"""What the log says about the system that is to be replaced, beside what was stated about it."""

import statistics
from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman.data.dataset import read_examples
from journeyman.errors import IntegrityError
from journeyman.evaluate.records.evaluation import Baseline
from journeyman.evaluate.records.measurements import Targets
from journeyman.formatting import percent
from journeyman.stats import clopper_pearson_lower, wilson

STATED_SUCCESS = 0.987
STATED_LATENCY_S = 20.1
"""The figures that the targets were set against, as the user gave them."""

MIXTURE_RATIO = 1.3
"""From this ratio of mean to median on, a mean says little about a single call."""

_SPLITS = ("train.jsonl", "val.jsonl", "test.jsonl")


class _Logged(Struct, frozen=True):
    """The part of metadata.json that describes the log's own calls."""

    n: int | None = None
    k: int | None = None
    latency_n: int | None = None
    mean_latency_s: float | None = None
    median_latency_s: float | None = None


class _Metadata(Struct, frozen=True):
    total_interactions: int | None = None
    successful_interactions: int | None = None
    baseline: _Logged | None = None


def read_baseline(folder: Path) -> Baseline | None:
    """The baseline of a dataset folder: from metadata.json, else from its rows; None without any.

    Rows are successes only, so that they give a latency and no rate.
    """
    metadata = _metadata(folder / "metadata.json")
    logged = metadata.baseline or _Logged()
    n = logged.n or metadata.total_interactions
    k = logged.k if logged.k is not None else metadata.successful_interactions
    mean, median, count = logged.mean_latency_s, logged.median_latency_s, logged.latency_n or 0
    source = str(folder / "metadata.json")
    if mean is None:
        seconds = _durations(folder)
        if seconds:
            mean, median, count = (
                statistics.fmean(seconds),
                statistics.median(seconds),
                len(seconds),
            )
            source = str(folder)
    if n is None and mean is None:
        return None
    success = wilson(k, n) if n and k is not None and 0 <= k <= n else None
    found = Baseline(source, success, mean, median, count, text="")
    return msgspec.structs.replace(found, text=explained(found))


def _metadata(path: Path) -> _Metadata:
    if not path.is_file():
        return _Metadata()
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Metadata)
    except msgspec.DecodeError as error:
        raise IntegrityError(
            f"`{path}` is damaged: {error}", hint="run `journeyman prepare` again"
        ) from error


def _durations(folder: Path) -> list[float]:
    """Seconds of the logged calls; 0 is a stand-in's and no measurement."""
    paths = [folder / name for name in _SPLITS if (folder / name).is_file()]
    rows = [row for path in paths if path.stat().st_size for row in read_examples(path)]
    return [row.duration_s for row in rows if row.duration_s]


def explained(baseline: Baseline) -> str:
    """One paragraph: what these figures are, and what they are not."""
    parts = [
        f"Stated for the system in use: success {percent(STATED_SUCCESS)}, mean "
        f"{STATED_LATENCY_S} s."
    ]
    if baseline.success is not None:
        rate = baseline.success
        bound = clopper_pearson_lower(rate.k, rate.n)
        proves = "proves" if bound >= Targets().success else "does not prove"
        parts.append(
            f"The log: {rate.k} of {rate.n} calls came back as `success` ({percent(rate.share)}, "
            f"95 % {percent(rate.low)} to {percent(rate.high)}), a transport rate (S0) and not a "
            f"rate of right answers; it {proves} {percent(Targets().success)} itself (one-sided "
            f"bound {percent(bound)})."
        )
    if baseline.mean_latency_s is not None and baseline.median_latency_s is not None:
        parts.append(_latency_sentence(baseline))
    else:
        parts.append("The log holds no times.")
    parts.append(
        "Other models on other machines answered there, so it is no arm of this comparison: "
        "the base model is."
    )
    return " ".join(parts)


def _latency_sentence(baseline: Baseline) -> str:
    mean, median = baseline.mean_latency_s or 0.0, baseline.median_latency_s or 0.0
    text = (
        f"Logged latency over {baseline.n_latency} calls: mean {mean:.1f} s, median {median:.1f} s"
    )
    if median and mean / median >= MIXTURE_RATIO:
        return f"{text}: a mixture of quick and slow calls, whose mean is no typical call."
    return text + "."
