"""The verdict: fixed criteria, one-sided 95 % bounds, and what the numbers can not claim.

DEPLOY needs every criterion to PASS (an intersection-union test: each at 0.05 keeps the whole at
0.05). INVALID: the numbers must not be used. ABORT: another round of the same cannot help.
Not covered: repeated looks at one test set, forgetting outside of it, whether the machine was idle.
"""

from collections.abc import Sequence

from msgspec import Struct

from journeyman.evaluate import criteria
from journeyman.evaluate.criteria import SUCCESS_TARGET, room_tokens
from journeyman.evaluate.records import (
    ArmResult,
    Criterion,
    Label,
    Leak,
    Paired,
    Plan,
    Rung,
    Verdict,
)
from journeyman.evaluate.words import percent
from journeyman.stats import clopper_pearson_lower, needed_n

SMALLEST_BITS = 4
ROOM_TOKENS = 64
"""A model that writes fewer tokens than this in the time allowed gives no answer to code tasks."""


class Evidence(Struct, frozen=True, kw_only=True):
    """All that a verdict is made from. `success_k` of `success_n` clusters finished (S1)."""

    plan: Plan
    leak: Leak
    tuned: ArmResult | None
    base: ArmResult | None
    success_k: int
    success_n: int
    primary: Paired | None
    sandbox: bool
    reference: Rung | None = None


class Bar(Struct, frozen=True):
    """Something that forbids DEPLOY though no criterion measures it, and what would lift it."""

    reason: str
    action: str


def judge(evidence: Evidence) -> Verdict:
    """The verdict on the tuned model."""
    invalid = invalid_because(evidence)
    tuned = evidence.tuned
    if invalid or tuned is None:
        return Verdict(
            label="INVALID",
            headline="INVALID: these numbers must not be used",
            criteria=(),
            reasons=tuple(bar.reason for bar in invalid),
            claims=(),
            next_steps=tuple(bar.action for bar in invalid),
        )
    found = (
        criteria.success(evidence.success_k, evidence.success_n, tuned),
        criteria.latency(tuned),
        criteria.memory(tuned),
        criteria.no_regression(evidence.primary),
        criteria.gain(evidence.primary),
    )
    bars = barred_because(evidence)
    label = label_of(found, tuned, barred=bool(bars))
    actions = [one.action for one in found if one.action] + [bar.action for bar in bars]
    return Verdict(
        label=label,
        headline=headline(label, found, evidence.primary),
        criteria=found,
        reasons=tuple(bar.reason for bar in bars),
        claims=claims(evidence),
        next_steps=tuple(dict.fromkeys(actions)),
    )


def invalid_because(evidence: Evidence) -> tuple[Bar, ...]:
    """Every reason why the numbers must not be used."""
    leaked = len(evidence.leak.tasks)
    bars = []
    if leaked:
        bars.append(
            Bar(
                f"leak: {leaked} of {evidence.leak.of} test prompts are also in train.jsonl or "
                "val.jsonl",
                "run `journeyman prepare` again (it keeps equal prompts together) and train again",
            )
        )
        return tuple(bars)
    again = "run the same command again: it goes on from where it stopped"
    for result in (evidence.base, evidence.tuned):
        if result is not None and result.recorded < evidence.plan.tasks:
            what = f"{result.recorded} of {evidence.plan.tasks} answers of {result.arm.id}"
            bars.append(Bar(f"incomplete: {what} are recorded", again))
    if evidence.tuned is None:
        bars.append(Bar("incomplete: the tuned model was not evaluated", again))
    return tuple(bars)


def barred_because(evidence: Evidence) -> tuple[Bar, ...]:
    """What forbids DEPLOY: nothing is deployed unchecked, or other than as it was measured."""
    bars = []
    if evidence.plan.tasks_with_checks and not evidence.sandbox:
        bars.append(
            Bar(
                "the checks were not run: no sandbox",
                "make a sandbox available: install bubblewrap",
            )
        )
    reference = evidence.reference.rate if evidence.reference else None
    if reference is not None and reference.k == 0:
        bars.append(
            Bar(
                "not one of the rows' own answers passes its check: the checks cannot be trusted",
                "read the failure codes of the reference in the result, and mend the checks",
            )
        )
    if evidence.tuned is not None and evidence.tuned.arm.engine != "llama.cpp":
        bars.append(
            Bar(
                "measured in torch, not in the engine that serves",
                "convert the adapter (`journeyman convert`) and evaluate the GGUF",
            )
        )
    if not evidence.leak.files:
        bars.append(
            Bar(
                "a leak could not be looked for: no train.jsonl or val.jsonl beside the test rows",
                "keep test.jsonl in the folder that `journeyman prepare` wrote",
            )
        )
    return tuple(bars)


def label_of(found: Sequence[Criterion], tuned: ArmResult, *, barred: bool) -> Label:
    """DEPLOY where all pass and nothing bars it; ABORT where no further round can help."""
    states = {criterion.id: criterion.state for criterion in found}
    if not barred and set(states.values()) == {"PASS"}:
        return "DEPLOY"
    too_slow = states.get("latency") == "FAIL" and _has_no_room(tuned)
    if is_smallest(tuned.arm.quantization) and (states.get("memory") == "FAIL" or too_slow):
        return "ABORT"
    return "ITERATE"


def is_smallest(quantization: str) -> bool:
    """True for 4 bits and fewer: what is lost below that is not worth the bytes saved."""
    bits = quantization.upper().removeprefix("I").removeprefix("T").removeprefix("Q")[:1]
    return bits.isdigit() and int(bits) <= SMALLEST_BITS


def _has_no_room(tuned: ArmResult) -> bool:
    room = room_tokens(tuned)
    return room is not None and room < ROOM_TOKENS


def headline(label: Label, found: Sequence[Criterion], primary: Paired | None) -> str:
    """The verdict in one sentence, and plainly whether tuning gained anything."""
    passed = sum(criterion.state == "PASS" for criterion in found)
    counts = f"{label}: {passed} of {len(found)} criteria hold"
    return f"{counts}; {advice(label, primary)}"


def advice(label: Label, primary: Paired | None) -> str:
    """Which model to use, by what was gained."""
    if label == "DEPLOY":
        return "bring the tuned model into service"
    if primary is None:
        return "keep the base model: whether tuning gained anything was not measured"
    tuned, base = primary.both + primary.fixed, primary.both + primary.broken
    counts = f"{primary.rung}: tuned {tuned}, base {base} of {primary.n}"
    if primary.lower > 0:
        return f"tuning helps ({counts}), but that is not enough to deploy"
    if primary.fixed > primary.broken:
        return f"keep the base model for now: the gain is not proven ({counts})"
    return f"keep the base model: tuning gained nothing ({counts})"


def claims(evidence: Evidence) -> tuple[str, ...]:
    """What these numbers allow to be said, and what they do not."""
    n, checks = evidence.success_n, evidence.plan.tasks_with_checks
    best, wanted = clopper_pearson_lower(n, n), needed_n(SUCCESS_TARGET)
    found = [
        f"with {n} independent tasks the best provable rate is {percent(best)}; "
        f"{percent(SUCCESS_TARGET)} needs {wanted} without a failure",
        "success is S1 (finished); it does not say that an answer is right",
    ]
    if not checks:
        found.append("no task has a check: nothing is known about right answers, S2 is form")
    elif evidence.sandbox:
        found.append(f"right answers (S4) are known for the {checks} tasks that have a check")
    if evidence.reference is not None and (own := evidence.reference.rate) is not None:
        found.append(f"of the rows' own answers {own.k} of {own.n} pass their checks")
    if evidence.plan.clusters < evidence.plan.rows:
        found.append(
            f"{evidence.plan.rows} rows hold {evidence.plan.clusters} independent prompts: "
            "repeats add no evidence"
        )
    found.append("latency holds for this machine, one request at a time, greedy decoding")
    found.append("not measured: what was forgotten, other prompts than these")
    return tuple(found)
