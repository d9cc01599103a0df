"""The five requirements on a tuned model, each with the bound that decides it.

PASS: the one-sided 95 % bound is on the right side of the target. FAIL: the opposite bound is on
the wrong side. INCONCLUSIVE: neither, and what it would take to know. Targets are the user's.
"""

import math
from statistics import NormalDist

from journeyman.evaluate.records import ArmResult, Criterion, Paired, State
from journeyman.evaluate.words import percent, points
from journeyman.stats import (
    CONFIDENCE,
    clopper_pearson_lower,
    clopper_pearson_upper,
    needed_n,
)

SUCCESS_TARGET = 0.98
LATENCY_TARGET_S = 12.0
LATENCY_STRETCH_S = 10.0
MEMORY_TARGET_BYTES = 10 * 2**30
MARGIN = 0.05
SMALL_MARGIN = 0.10
SMALL_N = 60
"""Up to this many pairs only the wide margin can be proven with flips in both directions."""
USEFUL_GAIN = 0.05
"""A gain that is proven to be smaller than this is not worth another model."""

_BY_FAILURE = {
    "limit": "answers are cut off: train on shorter, complete answers (`--policy strict`), or "
    "raise `--max-tokens`",
    "open_think": "answers never leave their reasoning: prepare again without `<think>` answers",
    "repetition": "answers repeat themselves: train with a lower learning rate or fewer epochs",
    "error": "the engine failed: read the errors in the result, then evaluate again",
    "not_served": "the engine failed: read the errors in the result, then evaluate again",
}


def success(k: int, n: int, tuned: ArmResult) -> Criterion:
    """S1: the share of independent tasks whose answers are finished is at least 98 %."""
    lower, upper = clopper_pearson_lower(k, n), clopper_pearson_upper(k, n)
    state = _state(passed=lower >= SUCCESS_TARGET, failed=upper < SUCCESS_TARGET)
    wanted = needed_n(SUCCESS_TARGET, failures=n - k)
    need = "" if state != "INCONCLUSIVE" else f"{wanted} independent tasks with {n - k} failures"
    return Criterion(
        id="success",
        name="finished answers (S1)",
        target=f">= {percent(SUCCESS_TARGET)}",
        found=f"{k} of {n}, {percent(k / n)}, at least {percent(lower)}, at most {percent(upper)}",
        state=state,
        need=need,
        action="" if state == "PASS" else _success_action(k, n, tuned, need),
    )


def _success_action(k: int, n: int, tuned: ArmResult, need: str) -> str:
    if k == n:
        return f"hold out more prompts: {need}"
    rung = next(rung for rung in tuned.rungs if rung.id == "S1")
    worst = next(iter(rung.codes), "")
    cause = _BY_FAILURE.get(worst, f"most failures are `{worst}`: read them in the result")
    return f"{cause}; then {need}" if need else cause


def latency(tuned: ArmResult) -> Criterion:
    """The mean time of an answer is below 12 s."""
    mean = tuned.latency.mean
    upper, lower = (mean.upper, mean.lower) if mean else (None, None)
    if mean is None or upper is None or lower is None:
        found = f"mean {mean.mean:.1f} s of one task" if mean else "no answer has a latency"
        return _undecided_latency(found)
    state = _state(passed=upper < LATENCY_TARGET_S, failed=lower > LATENCY_TARGET_S)
    found = (
        f"mean {mean.mean:.2f} s over {mean.n} of {tuned.latency.planned} answers, "
        f"at least {lower:.2f} s, at most {upper:.2f} s"
    )
    if upper < LATENCY_STRETCH_S:
        found += f" (stretch < {LATENCY_STRETCH_S:g} s reached)"
    need = ""
    if state == "INCONCLUSIVE" and mean.mean < LATENCY_TARGET_S:
        ratio = (upper - mean.mean) / (LATENCY_TARGET_S - mean.mean)
        need = f"about {math.ceil(mean.clusters * ratio**2)} independent tasks"
    elif state == "INCONCLUSIVE":
        need = f"a mean below {LATENCY_TARGET_S:g} s: more tasks alone do not help"
    action = "" if state == "PASS" else _latency_action(tuned, need)
    return Criterion(
        "latency", "mean latency", f"< {LATENCY_TARGET_S:g} s", found, state, need, action
    )


def _undecided_latency(found: str) -> Criterion:
    need = "answers to two independent tasks at least"
    return Criterion(
        id="latency",
        name="mean latency",
        target=f"< {LATENCY_TARGET_S:g} s",
        found=found,
        state="INCONCLUSIVE",
        need=need,
        action=f"evaluate more held-out tasks: {need}",
    )


def room_tokens(tuned: ArmResult) -> float | None:
    """How many tokens this model writes here in 12 s; None where the rate was not measured."""
    rate, first_s = tuned.latency.tokens_per_s, tuned.latency.first_token_s
    if rate is None or first_s is None:
        return None
    return max(0.0, (LATENCY_TARGET_S - first_s) * rate)


def _latency_action(tuned: ArmResult, need: str) -> str:
    if need.startswith("about"):
        return f"hold out more prompts: {need}"
    cure = "train on shorter answers, or take a smaller model"
    room, used = room_tokens(tuned), tuned.latency.answer_tokens
    if room is None or used is None:
        return cure
    return (
        f"{cure}: {LATENCY_TARGET_S:g} s hold about {room:.0f} tokens on this machine, "
        f"answers have {used:.0f} on average"
    )


def memory(tuned: ArmResult) -> Criterion:
    """The engine's peak memory is at most 10 GiB."""
    peak = tuned.peak_memory_bytes
    state: State = "INCONCLUSIVE"
    found, action = "not measured by this engine", "evaluate the GGUF: its server is measured"
    if peak is not None:
        state = "PASS" if peak <= MEMORY_TARGET_BYTES else "FAIL"
        found = f"{peak / 2**30:.2f} GiB at its peak"
        action = "" if state == "PASS" else "quantise further, shorten the context, or go smaller"
    target = f"<= {MEMORY_TARGET_BYTES / 2**30:g} GiB"
    return Criterion("memory", "peak memory", target, found, state, action=action)


def no_regression(primary: Paired | None) -> Criterion:
    """Tuned is not worse than base by more than the margin, on the same tasks."""
    margin = SMALL_MARGIN if primary is not None and primary.n <= SMALL_N else MARGIN
    name, target = "no worse than base", f"> {points(-margin)}"
    if primary is None:
        return _without_pairs("no_regression", name, target)
    state = _state(passed=primary.lower > -margin, failed=primary.upper < 0)
    need = "" if state != "INCONCLUSIVE" else _pairs_needed(primary, -margin)
    action = "" if state == "PASS" else f"read the {primary.broken} tasks that tuning broke"
    if state == "INCONCLUSIVE" and not primary.broken:
        action = f"hold out more prompts: {need}"
    return Criterion(
        "no_regression", f"{name} ({primary.rung})", target, _paired(primary), state, need, action
    )


def gain(primary: Paired | None) -> Criterion:
    """Tuned is better than base, on the same tasks."""
    name, target = "better than base", "> 0"
    if primary is None:
        return _without_pairs("gain", name, target)
    state = _state(passed=primary.lower > 0, failed=primary.upper < USEFUL_GAIN)
    need = "" if state != "INCONCLUSIVE" else _pairs_needed(primary, 0.0)
    gained = primary.fixed > primary.broken
    better = "train on more and better examples, then evaluate on the same tasks"
    action = "" if state == "PASS" else (f"hold out more prompts: {need}" if gained else better)
    return Criterion(
        "gain", f"{name} ({primary.rung})", target, _paired(primary), state, need, action
    )


def _without_pairs(identity: str, name: str, target: str) -> Criterion:
    return Criterion(
        id=identity,
        name=name,
        target=target,
        found="not measured: no base on the same tasks, or its checks were not run",
        state="INCONCLUSIVE",
        need="both models on the same tasks",
        action="evaluate beside a base model: --base",
    )


def _paired(primary: Paired) -> str:
    return (
        f"{points(primary.difference.difference)} over {primary.n} pairs, at least "
        f"{points(primary.lower)}, at most {points(primary.upper)}; {primary.fixed} fixed, "
        f"{primary.broken} broken, McNemar p {primary.p:.2g}"
    )


def _pairs_needed(primary: Paired, bound: float) -> str:
    """About how many pairs put the lower bound above `bound`, were the rates to stay as found."""
    distance = primary.difference.difference - bound
    if distance <= 0:
        return "another model: more tasks alone do not help"
    z = NormalDist().inv_cdf(CONFIDENCE)
    variance = (primary.fixed + primary.broken) / primary.n - primary.difference.difference**2
    # With no discordant pair the score bound is -z^2 / (n + z^2).
    least = z * z * (1 / distance - 1)
    pairs = max(least, z * z * variance / distance**2, primary.n + 1)
    return f"about {math.ceil(pairs)} pairs"


def _state(*, passed: bool, failed: bool) -> State:
    return "PASS" if passed else "FAIL" if failed else "INCONCLUSIVE"
