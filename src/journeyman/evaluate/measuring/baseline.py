"""What the log says about the system that is to be replaced, beside what was stated about it."""

import statistics
from pathlib import Path

import msgspec

from journeyman.data.dataset import (
    METADATA,
    TEST,
    TRAIN,
    VAL,
    DatasetMetadata,
    LoggedCalls,
    read_examples,
    read_metadata,
)
from journeyman.errors import DataRefused, IntegrityError
from journeyman.evaluate.records.evaluation import Baseline
from journeyman.evaluate.records.measurements import Targets
from journeyman.formatting import percent
from journeyman.stats import clopper_pearson_lower, wilson

STATED_SUCCESS = 0.987
STATED_LATENCY_S = 20.1
"""The figures that the targets were set against, as the user gave them."""

MIXTURE_RATIO = 1.3
"""From this ratio of mean to median on, a mean says little about a single call."""


def read_baseline(folder: Path) -> Baseline | None:
    """The baseline of a dataset folder: from metadata.json, else from its rows; None without any.

    Rows are successes only, so that they give a latency and no rate.
    """
    metadata = _metadata(folder)
    logged = metadata.baseline or LoggedCalls()
    n = logged.n or metadata.total_interactions
    k = logged.k if logged.k is not None else metadata.successful_interactions
    mean, median, count = logged.mean_latency_s, logged.median_latency_s, logged.latency_n or 0
    source = str(folder / METADATA)
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


def _metadata(folder: Path) -> DatasetMetadata:
    try:
        return read_metadata(folder)
    except DataRefused as error:
        raise IntegrityError(error.message, hint=error.hint) from error


def _durations(folder: Path) -> list[float]:
    """Seconds of the logged calls; 0 is a stand-in's and no measurement."""
    paths = [folder / name for name in (TRAIN, VAL, TEST) if (folder / name).is_file()]
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
