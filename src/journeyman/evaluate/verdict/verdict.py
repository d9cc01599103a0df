"""The verdict: fixed criteria, one-sided bounds, and what the numbers can not claim.

DEPLOY needs every criterion to PASS (an intersection-union test: each at the plan's alpha keeps the
whole at alpha). INVALID: the numbers must not be used. ABORT: another round cannot help.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from journeyman.evaluate.records.evaluation import ArmResult, Criterion, Label, Verdict
from journeyman.evaluate.records.scores import PairedOutcomes
from journeyman.evaluate.verdict import criteria
from journeyman.evaluate.verdict.claims import SuccessCount, claims
from journeyman.evaluate.verdict.criteria import room_tokens

EXIT_CODES: Mapping[Label, int] = {"DEPLOY": 0, "ITERATE": 10, "ABORT": 11, "INVALID": 12}
"""What a script is told; apart from the exit codes of errors (`journeyman.errors`)."""

SMALLEST_BITS = 4
ROOM_TOKENS = 64
"""A model that writes fewer tokens than this in the time allowed gives no answer to code tasks."""


class DeployBlocker(Struct, frozen=True):
    """Something that forbids DEPLOY though no criterion measures it, and what would lift it."""

    reason: str
    action: str


def judge(evidence: SuccessCount) -> Verdict:
    """The verdict on the tuned model."""
    invalid = [gate for gate in evidence.validity if gate.ok is False]
    tuned = evidence.tuned
    if invalid or tuned is None:
        return Verdict(
            label="INVALID",
            headline="INVALID: these numbers must not be used",
            criteria=(),
            reasons=tuple(gate.text for gate in invalid) or ("there is no tuned model",),
            claims=(),
            next_steps=tuple(dict.fromkeys(gate.action for gate in invalid if gate.action)),
        )
    found = found_criteria(evidence, tuned)
    bars = barred_because(evidence)
    label = label_of(found, tuned, barred=bool(bars), look=evidence.plan.look)
    actions = [one.action for one in found if one.action] + [bar.action for bar in bars]
    if evidence.plan.look > 1 and label != "DEPLOY":
        actions.append("hold out fresh prompts: every further look at these rows costs more")
    return Verdict(
        label=label,
        headline=headline(label, found, evidence.primary),
        criteria=found,
        reasons=tuple(bar.reason for bar in bars),
        claims=claims(evidence),
        next_steps=tuple(dict.fromkeys(actions)),
    )


def found_criteria(evidence: SuccessCount, tuned: ArmResult) -> tuple[Criterion, ...]:
    """Each requirement with what was found. Forgetting is one where its suite was planned."""
    targets, alpha = evidence.plan.targets, evidence.plan.alpha
    public = [suite for suite in evidence.suites if suite.name == "humaneval"]
    return (
        criteria.success(evidence.success_k, evidence.success_n, tuned, targets, alpha),
        criteria.latency(tuned, targets),
        criteria.memory(tuned, targets),
        criteria.no_regression(evidence.primary, targets, alpha),
        *(criteria.nothing_forgotten(suite, targets, alpha) for suite in public),
        criteria.gain(evidence.primary, targets, alpha),
    )


def barred_because(evidence: SuccessCount) -> tuple[DeployBlocker, ...]:
    """What forbids DEPLOY: nothing is deployed unchecked, or other than as it was measured."""
    bars = []
    if evidence.plan.tasks_with_checks and evidence.degraded:
        bars.append(
            DeployBlocker(
                "the checks were run in the degraded sandbox, as asked for: it keeps code less "
                "apart than a deployment may rest on",
                "evaluate with `--sandbox strict`, on a machine that allows user namespaces",
            )
        )
    elif evidence.plan.tasks_with_checks and not evidence.sandbox:
        bars.append(
            DeployBlocker(
                "the checks were not run: no sandbox",
                "make a sandbox available: install bubblewrap",
            )
        )
    reference = evidence.reference.rate if evidence.reference else None
    if reference is not None and reference.k == 0:
        bars.append(
            DeployBlocker(
                "not one of the rows' own answers passes its check: the checks cannot be trusted",
                "read the failure codes of the reference in the result, and mend the checks",
            )
        )
    if evidence.tuned is not None and evidence.tuned.arm.engine != "llama.cpp":
        bars.append(
            DeployBlocker(
                "measured in torch, not in the engine that serves",
                "convert the adapter (`journeyman convert`) and evaluate the GGUF",
            )
        )
    if not evidence.leak.files:
        bars.append(
            DeployBlocker(
                "a leak could not be looked for: no train.jsonl or val.jsonl beside the test rows",
                "keep test.jsonl in the folder that `journeyman prepare` wrote",
            )
        )
    return tuple(bars)


def label_of(found: Sequence[Criterion], tuned: ArmResult, *, barred: bool, look: int = 1) -> Label:
    """DEPLOY where all pass and nothing bars it; ABORT where no further round can help.

    That is: too large or too slow at the smallest quantisation, or proven to be no better (or to be
    worse) for the second time.
    """
    states = {criterion.id: criterion.state for criterion in found}
    if not barred and set(states.values()) == {"PASS"}:
        return "DEPLOY"
    too_slow = states.get("latency") == "FAIL" and _has_no_room(tuned)
    if is_smallest(tuned.arm.quantization) and (states.get("memory") == "FAIL" or too_slow):
        return "ABORT"
    worse = {"gain", "no_regression", "forgetting"} & {k for k, v in states.items() if v == "FAIL"}
    return "ABORT" if worse and look > 1 else "ITERATE"


def is_smallest(quantization: str) -> bool:
    """True for 4 bits and fewer: what is lost below that is not worth the bytes saved."""
    bits = quantization.upper().removeprefix("I").removeprefix("T").removeprefix("Q")[:1]
    return bits.isdigit() and int(bits) <= SMALLEST_BITS


def _has_no_room(tuned: ArmResult) -> bool:
    room = room_tokens(tuned)
    return room is not None and room < ROOM_TOKENS


def headline(label: Label, found: Sequence[Criterion], primary: PairedOutcomes | None) -> str:
    """The verdict in one sentence, and plainly whether tuning gained anything."""
    passed = sum(criterion.state == "PASS" for criterion in found)
    counts = f"{label}: {passed} of {len(found)} criteria hold"
    return f"{counts}; {advice(label, primary)}"


def advice(label: Label, primary: PairedOutcomes | None) -> str:
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
