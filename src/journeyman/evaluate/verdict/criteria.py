"""The requirements on a tuned model, each with the bound that decides it.

PASS: the one-sided bound (95 % at the first look) is on the right side of the target. FAIL: the
opposite bound is on the wrong side. INCONCLUSIVE: neither, and what it would take to know. Targets
are the plan's.
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
"""From this share of the memory target on, the page says that little is left."""

_TARGETS = Targets()

_BY_FAILURE = {
    "limit": "answers are cut off: train on shorter, complete answers (`--policy strict`), or "
    "raise `--max-tokens`",
    "open_think": "answers never leave their reasoning: prepare again without `<think>` answers",
    "repetition": "answers repeat themselves: train with a lower learning rate or fewer epochs",
    "error": "the engine failed: read the errors in the result, then evaluate again",
    "not_served": "the engine failed: read the errors in the result, then evaluate again",
}


def success(
    k: int, n: int, tuned: ArmResult, targets: Targets = _TARGETS, alpha: float = ALPHA
) -> Criterion:
    """S1: the share of independent tasks whose answers are finished is high enough (98 %)."""
    goal = targets.success
    lower, upper = (bound(k, n, 1 - alpha) for bound in (clopper_pearson_lower,
                                                         clopper_pearson_upper))  # fmt: skip
    state = _state(passed=lower >= goal, failed=upper < goal)
    wanted = needed_n(goal, failures=n - k, confidence=1 - alpha)
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
    """The mean time of an answer, of a prompt that is read whole, is below 12 s.

    A machine that did other work decides nothing, whatever the times were.
    """
    mean, goal = tuned.latency.mean, targets.latency_s
    upper, lower = (mean.upper, mean.lower) if mean else (None, None)
    if mean is None or upper is None or lower is None:
        found = f"mean {mean.mean:.1f} s of one task" if mean else "no answer has a latency"
        need = "answers to two independent tasks at least"
        return _undecided_latency(found, need, f"evaluate more held-out tasks: {need}", goal)
    found = (
        f"mean {mean.mean:.2f} s over {mean.n} of {tuned.latency.planned} answers, "
        f"at least {lower:.2f} s, at most {upper:.2f} s"
    )
    busy = busy_because(tuned)
    if busy:
        need = "an idle machine"
        action = "stop other work and evaluate again for times that can be relied on"
        return _undecided_latency(f"{found}; {busy}", need, action, goal)
    state = _state(passed=upper < goal, failed=lower > goal)
    if upper < targets.latency_stretch_s:
        found += f" (stretch < {targets.latency_stretch_s:g} s reached)"
    need = ""
    if state == "INCONCLUSIVE" and mean.mean < goal:
        ratio = (upper - mean.mean) / (goal - mean.mean)
        need = f"about {math.ceil(mean.clusters * ratio**2)} independent tasks"
    elif state == "INCONCLUSIVE":
        need = f"a mean below {goal:g} s: more tasks alone do not help"
    action = "" if state == "PASS" else _latency_action(tuned, need, goal)
    return Criterion("latency", "mean latency", f"< {goal:g} s", found, state, need, action)


def busy_because(result: ArmResult) -> str:
    """Why an arm's times cannot be relied on; empty where the machine was idle but for it."""
    load, cores = result.latency.other_load, result.latency.cores
    if load is None or not cores:
        return "whether the machine was idle is not known"
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


def room_tokens(tuned: ArmResult, goal: float = _TARGETS.latency_s) -> float | None:
    """How many tokens this model writes here in 12 s; None where the rate was not measured."""
    rate, first_s = tuned.latency.tokens_per_s, tuned.latency.first_token_s
    if rate is None or first_s is None:
        return None
    return max(0.0, (goal - first_s) * rate)


def _latency_action(tuned: ArmResult, need: str, goal: float) -> str:
    if need.startswith("about"):
        return f"hold out more prompts: {need}"
    cure = "train on shorter answers, or take a smaller model"
    room, used = room_tokens(tuned, goal), tuned.latency.answer_tokens
    if room is None or used is None:
        return cure
    return (
        f"{cure}: {goal:g} s hold about {room:.0f} tokens on this machine, "
        f"answers have {used:.0f} on average"
    )


def memory(tuned: ArmResult, targets: Targets = _TARGETS) -> Criterion:
    """The engine's peak memory is at most 10 GiB."""
    peak, goal = tuned.peak_memory_bytes, targets.memory_bytes
    state: State = "INCONCLUSIVE"
    found, action = "not measured by this engine", "evaluate the GGUF: its server is measured"
    if peak is not None:
        state = "PASS" if peak <= goal else "FAIL"
        close = " (little is left)" if NEAR_SHARE * goal < peak <= goal else ""
        found = f"{peak / 2**30:.2f} GiB at its peak, mapped pages counted{close}"
        action = "" if state == "PASS" else "quantise further, shorten the context, or go smaller"
    target = f"<= {goal / 2**30:g} GiB"
    return Criterion("memory", "peak memory", target, found, state, action=action)


def no_regression(
    pairs: PairedOutcomes | None, targets: Targets = _TARGETS, alpha: float = ALPHA
) -> Criterion:
    """On the held-out tasks, tuned is not worse than base by more than the margin."""
    return _no_worse("no_regression", "no worse than base", pairs, targets, alpha)


def nothing_forgotten(suite: Suite, targets: Targets = _TARGETS, alpha: float = ALPHA) -> Criterion:
    """On public tasks that nobody trained for, tuned is not worse by more than the margin."""
    name = f"nothing forgotten ({suite.title})"
    if suite.not_measured:
        missing = _without_pairs("forgetting", name, f"> {points(-targets.margin)}")
        return replace(
            missing,
            found=f"not measured: {suite.not_measured}",
            action=f"measure what was forgotten: {suite.not_measured}",
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
    """Tuned is better than base, on the same tasks."""
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
        found="not measured: no base on the same tasks, or its checks were not run",
        state="INCONCLUSIVE",
        need="both models on the same tasks",
        action="evaluate beside a base model: --base",
    )


def _paired(primary: PairedOutcomes) -> str:
    return (
        f"{points(primary.difference.difference)} over {primary.n} pairs, at least "
        f"{points(primary.lower)}, at most {points(primary.upper)}; {primary.fixed} fixed, "
        f"{primary.broken} broken, McNemar p {primary.p:.2g}"
    )


def _pairs_needed(primary: PairedOutcomes, bound: float, alpha: float) -> str:
    """About how many pairs put the lower bound above `bound`, were the rates to stay as found."""
    distance = primary.difference.difference - bound
    if distance <= 0:
        return "another model: more tasks alone do not help"
    z = NormalDist().inv_cdf(1 - alpha)
    variance = (primary.fixed + primary.broken) / primary.n - primary.difference.difference**2
    # With no discordant pair the score bound is -z^2 / (n + z^2).
    least = z * z * (1 / distance - 1)
    pairs = max(least, z * z * variance / distance**2, primary.n + 1)
    return f"about {math.ceil(pairs)} pairs"


def _state(*, passed: bool, failed: bool) -> State:
    return "PASS" if passed else "FAIL" if failed else "INCONCLUSIVE"
