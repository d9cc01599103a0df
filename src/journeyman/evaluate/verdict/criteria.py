"""The criteria for a tuned model, each with the bound that decides it.

PASS: the one-sided bound (95 % at the first test-set use) is on the right side of the target. FAIL:
the opposite bound is on the wrong side. INCONCLUSIVE: neither, with what it would take to decide.
The targets are the plan's.
"""

import math
from statistics import NormalDist

from msgspec.structs import replace

from journeyman.evaluate.records.evaluation import ArmResult, Criterion, State
from journeyman.evaluate.records.measurements import Targets
from journeyman.evaluate.records.scores import PairedOutcomes
from journeyman.evaluate.records.suites import Suite
from journeyman.formatting import percent, points
from journeyman.machine.load import BUSY_SHARE
from journeyman.stats import (
    ALPHA,
    clopper_pearson_lower,
    clopper_pearson_upper,
    needed_n,
)

NEAR_SHARE = 0.95
"""From this share of the memory target on, the result says that it is close to the limit."""

_TARGETS = Targets()

_BY_FAILURE = {
    "limit": "answers are cut off: train on shorter, complete answers (`--policy strict`), or "
    "raise `--max-tokens`",
    "open_think": "answers never end their reasoning: prepare again without `<think>` answers",
    "repetition": "answers repeat themselves: train with a lower learning rate or fewer epochs",
    "error": "the engine failed: read the errors in the result, then evaluate again",
    "not_served": "the engine failed: read the errors in the result, then evaluate again",
}


def success(
    k: int, n: int, tuned: ArmResult, targets: Targets = _TARGETS, alpha: float = ALPHA
) -> Criterion:
    """S1: the share of independent tasks with finished answers is high enough (98 %)."""
    goal, confidence = targets.success, 1 - alpha
    lower = clopper_pearson_lower(k, n, confidence)
    upper = clopper_pearson_upper(k, n, confidence)
    state = _state(passed=lower >= goal, failed=upper < goal)
    wanted = needed_n(goal, failures=n - k, confidence=confidence)
    need = "" if state != "INCONCLUSIVE" else f"{wanted} independent tasks with {n - k} failures"
    return Criterion(
        id="success",
        name="finished answers (S1)",
        target=f">= {percent(goal)}",
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


def latency(tuned: ArmResult, targets: Targets = _TARGETS) -> Criterion:
    """The mean latency of an answer, with the whole prompt read anew, is below 12 s.

    On a machine that did other work it stays undecided.
    """
    mean, goal = tuned.latency.mean, targets.latency_s
    upper, lower = (mean.upper, mean.lower) if mean else (None, None)
    if mean is None or upper is None or lower is None:
        found = f"mean {mean.mean:.1f} s of one task" if mean else "no answer has a latency"
        need = "answers to at least two independent tasks"
        return _undecided_latency(found, need, f"evaluate more held-out tasks: {need}", goal)
    found = (
        f"mean {mean.mean:.2f} s over {mean.n} of {tuned.latency.planned} answers, "
        f"at least {lower:.2f} s, at most {upper:.2f} s"
    )
    busy = busy_because(tuned)
    if busy:
        need = "an idle machine"
        action = "stop other work on the machine and evaluate again"
        return _undecided_latency(f"{found}; {busy}", need, action, goal)
    state = _state(passed=upper < goal, failed=lower > goal)
    if upper < targets.latency_stretch_s:
        found += f" (also below the stretch target of {targets.latency_stretch_s:g} s)"
    need = ""
    if state == "INCONCLUSIVE" and mean.mean < goal:
        ratio = (upper - mean.mean) / (goal - mean.mean)
        need = f"about {math.ceil(mean.clusters * ratio**2)} independent tasks"
    elif state == "INCONCLUSIVE":
        need = f"a mean below {goal:g} s (more tasks alone do not help)"
    action = "" if state == "PASS" else _latency_action(tuned, need, goal)
    return Criterion("latency", "mean latency", f"< {goal:g} s", found, state, need, action)


def busy_because(result: ArmResult) -> str:
    """Why a model's latency cannot be trusted; empty if the machine was otherwise idle."""
    load, cores = result.latency.other_load, result.latency.cores
    if load is None or not cores:
        return "it is not known whether the machine was idle"
    if load <= BUSY_SHARE * cores:
        return ""
    return (
        f"the machine was not idle: other programs kept {load:.2f} of {cores} cores busy "
        f"(limit {BUSY_SHARE * cores:.2g})"
    )


def _undecided_latency(found: str, need: str, action: str, goal: float) -> Criterion:
    return Criterion(
        id="latency",
        name="mean latency",
        target=f"< {goal:g} s",
        found=found,
        state="INCONCLUSIVE",
        need=need,
        action=action,
    )


def tokens_in_time(tuned: ArmResult, goal: float = _TARGETS.latency_s) -> float | None:
    """How many tokens this model writes here in 12 s; None if its speed was not measured."""
    rate, first_s = tuned.latency.tokens_per_s, tuned.latency.first_token_s
    if rate is None or first_s is None:
        return None
    return max(0.0, (goal - first_s) * rate)


def _latency_action(tuned: ArmResult, need: str, goal: float) -> str:
    if need.startswith("about"):
        return f"hold out more prompts: {need}"
    action = "train on shorter answers, or use a smaller model"
    tokens, used = tokens_in_time(tuned, goal), tuned.latency.answer_tokens
    if tokens is None or used is None:
        return action
    return (
        f"{action}: this model writes about {tokens:.0f} tokens in {goal:g} s on this machine, and "
        f"its answers have {used:.0f} on average"
    )


def memory(tuned: ArmResult, targets: Targets = _TARGETS) -> Criterion:
    """The engine's peak memory is at most 10 GiB."""
    peak, goal = tuned.peak_memory_bytes, targets.memory_bytes
    state: State = "INCONCLUSIVE"
    found, action = "not measured by this engine", "evaluate the GGUF: its server is measured"
    if peak is not None:
        state = "PASS" if peak <= goal else "FAIL"
        close = " (close to the limit)" if NEAR_SHARE * goal < peak <= goal else ""
        found = f"{peak / 2**30:.2f} GiB at the peak, mapped pages included{close}"
        smaller = "quantise further, shorten the context, or use a smaller model"
        action = "" if state == "PASS" else smaller
    target = f"<= {goal / 2**30:g} GiB"
    return Criterion("memory", "peak memory", target, found, state, action=action)


def no_regression(
    pairs: PairedOutcomes | None, targets: Targets = _TARGETS, alpha: float = ALPHA
) -> Criterion:
    """On the held-out tasks, the tuned model is not worse than base by more than the margin."""
    return _no_worse("no_regression", "no worse than base", pairs, targets, alpha)


def nothing_forgotten(suite: Suite, targets: Targets = _TARGETS, alpha: float = ALPHA) -> Criterion:
    """On public tasks outside the training set, it is not worse by more than the margin."""
    name = f"nothing forgotten ({suite.title})"
    if suite.not_measured:
        missing = _without_pairs("forgetting", name, f"> {points(-targets.margin)}")
        return replace(
            missing,
            found=f"not measured: {suite.not_measured}",
            action=f"measure forgetting: {suite.not_measured}",
        )
    pairs = next((pair for pair in suite.paired if pair.rung == "S4"), None)
    return _no_worse("forgetting", name, pairs, targets, alpha)


def _no_worse(
    identity: str, name: str, pairs: PairedOutcomes | None, targets: Targets, alpha: float
) -> Criterion:
    small = pairs is not None and pairs.n <= targets.small_n
    margin = targets.small_margin if small else targets.margin
    target = f"> {points(-margin)}"
    if pairs is None:
        return _without_pairs(identity, name, target)
    state = _state(passed=pairs.lower > -margin, failed=pairs.upper < 0)
    need = "" if state != "INCONCLUSIVE" else _pairs_needed(pairs, -margin, alpha)
    action = "" if state == "PASS" else f"read the {pairs.broken} tasks that tuning broke"
    if state == "INCONCLUSIVE" and not pairs.broken:
        action = f"hold out more prompts: {need}"
    return Criterion(
        identity, f"{name} ({pairs.rung})", target, _paired(pairs), state, need, action
    )


def gain(
    pairs: PairedOutcomes | None, targets: Targets = _TARGETS, alpha: float = ALPHA
) -> Criterion:
    """The tuned model is better than base, on the same tasks."""
    name, target = "better than base", "> 0"
    if pairs is None:
        return _without_pairs("gain", name, target)
    state = _state(passed=pairs.lower > 0, failed=pairs.upper < targets.useful_gain)
    need = "" if state != "INCONCLUSIVE" else _pairs_needed(pairs, 0.0, alpha)
    gained = pairs.fixed > pairs.broken
    better = "train on more and better examples, then evaluate on the same tasks"
    action = "" if state == "PASS" else (f"hold out more prompts: {need}" if gained else better)
    return Criterion("gain", f"{name} ({pairs.rung})", target, _paired(pairs), state, need, action)


def _without_pairs(identity: str, name: str, target: str) -> Criterion:
    return Criterion(
        id=identity,
        name=name,
        target=target,
        found="not measured: no base model on the same tasks, or the checks were not run",
        state="INCONCLUSIVE",
        need="both models on the same tasks",
        action="name a base model to compare with: `--base`",
    )


def _paired(primary: PairedOutcomes) -> str:
    return (
        f"{points(primary.difference.difference)} over {primary.n} pairs, at least "
        f"{points(primary.lower)}, at most {points(primary.upper)}; {primary.fixed} fixed, "
        f"{primary.broken} broken, McNemar p {primary.p:.2g}"
    )


def _pairs_needed(primary: PairedOutcomes, bound: float, alpha: float) -> str:
    """About how many pairs would put the lower bound above `bound`, at the same rates."""
    distance = primary.difference.difference - bound
    if distance <= 0:
        return "a better model (more tasks alone do not help)"
    z = NormalDist().inv_cdf(1 - alpha)
    variance = (primary.fixed + primary.broken) / primary.n - primary.difference.difference**2
    # Without a discordant pair the score bound is -z^2 / (n + z^2).
    least = z * z * (1 / distance - 1)
    pairs = max(least, z * z * variance / distance**2, primary.n + 1)
    return f"about {math.ceil(pairs)} pairs"


def _state(*, passed: bool, failed: bool) -> State:
    return "PASS" if passed else "FAIL" if failed else "INCONCLUSIVE"
