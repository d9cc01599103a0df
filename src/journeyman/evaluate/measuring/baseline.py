"""The system in use: the figures stated for it, and what its log says."""

import statistics
from pathlib import Path

from msgspec.structs import replace

from journeyman.data.dataset import (
    METADATA,
    TEST,
    TRAIN,
    VAL,
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
"""From this ratio of mean to median on, the mean says little about a single call."""


def read_baseline(folder: Path) -> Baseline | None:
    """The baseline of a dataset folder, from metadata.json or else from its rows; None if neither.

    Rows are successes only, so they give a latency and no success rate.
    """
    try:
        metadata = read_metadata(folder)
    except DataRefused as error:
        raise IntegrityError(error.message, hint=error.hint) from error
    logged = metadata.baseline or LoggedCalls()
    n = logged.n or metadata.total_interactions
    k = logged.k if logged.k is not None else metadata.successful_interactions
    success = wilson(k, n) if n and k is not None and 0 <= k <= n else None
    mean, median, count = logged.mean_latency_s, logged.median_latency_s, logged.latency_n or 0
    source = str(folder / METADATA)
    seconds = _durations(folder) if mean is None else []
    if seconds:
        mean, median, count = statistics.fmean(seconds), statistics.median(seconds), len(seconds)
        source = str(folder)
    if n is None and mean is None:
        return None
    baseline = Baseline(source, success, mean, median, count, text="")
    return replace(baseline, text=baseline_text(baseline))


def _durations(folder: Path) -> list[float]:
    """Seconds of the logged calls. 0 means that no time was logged."""
    paths = [folder / name for name in (TRAIN, VAL, TEST) if (folder / name).is_file()]
    rows = [row for path in paths if path.stat().st_size for row in read_examples(path)]
    return [row.duration_s for row in rows if row.duration_s]


def baseline_text(baseline: Baseline) -> str:
    """One paragraph: what these figures are, and what they are not."""
    parts = [
        f"Stated for the system in use: success {percent(STATED_SUCCESS)}, mean latency "
        f"{STATED_LATENCY_S} s."
    ]
    if baseline.success is not None:
        rate = baseline.success
        bound = clopper_pearson_lower(rate.k, rate.n)
        proves = "proves" if bound >= Targets().success else "does not prove"
        parts.append(
            f"Its log: {rate.k} of {rate.n} calls came back as `success` ({percent(rate.share)}, "
            f"95 % {percent(rate.low)} to {percent(rate.high)}). That is a transport rate (S0), "
            f"not a rate of right answers, and it {proves} {percent(Targets().success)} itself "
            f"(one-sided bound {percent(bound)})."
        )
    parts.append(_latency_sentence(baseline))
    parts.append(
        "Other models on other machines gave those answers, so this comparison is with the base "
        "model instead."
    )
    return " ".join(parts)


def _latency_sentence(baseline: Baseline) -> str:
    mean, median = baseline.mean_latency_s, baseline.median_latency_s
    if mean is None or median is None:
        return "The log holds no times."
    text = (
        f"Logged latency over {baseline.n_latency} calls: mean {mean:.1f} s, median {median:.1f} s"
    )
    if median and mean / median >= MIXTURE_RATIO:
        return f"{text}: a mixture of quick and slow calls, so the mean is not a typical call."
    return f"{text}."
