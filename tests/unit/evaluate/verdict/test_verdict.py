"""The verdict's truth table: each criterion passed, failed and undecided, and each label."""

import pytest
from msgspec.structs import replace

from journeyman.evaluate.records.evaluation import (
    Arm,
    ArmResult,
    Contamination,
    EvaluationPlan,
    Verdict,
)
from journeyman.evaluate.records.measurements import Latency
from journeyman.evaluate.records.scores import PairedOutcomes, Rung
from journeyman.evaluate.verdict import criteria
from journeyman.evaluate.verdict.evidence import VerdictEvidence
from journeyman.evaluate.verdict.validity import gates
from journeyman.evaluate.verdict.verdict import is_smallest, judge
from journeyman.stats import Mean, PairedDifference, tango_interval, wilson

GIB = 2**30
ARM = Arm("tuned", "t.gguf", "llama.cpp", "ab", "t.gguf", "base", "Q4_K_M")


def mean(value: float, spread: float = 0.1) -> Mean:
    low, high = value - spread, value + spread
    return Mean(value, 200, 200, low=low, high=high, lower=low, upper=high)


def result(
    latency: Mean | None = None, memory: int | None = 5 * GIB, **changes: object
) -> ArmResult:
    rung = Rung("S1", "finished", "", wilson(190, 200), {"limit": 10})
    times = Latency(200, 200, latency or mean(8.0), first_token_s=1.0, tokens_per_s=20.0,
                    answer_tokens=400, other_load=0.0, cores=2)  # fmt: skip
    arm = replace(ARM, **changes)
    return ArmResult(arm, 200, (rung,), times, memory, 1.0, {})


def pair(fixed: int, broken: int, n: int = 200) -> PairedOutcomes:
    both = (n - fixed - broken) // 2
    ends = tango_interval(fixed, broken, n, confidence=0.9)
    return PairedOutcomes("S4", n, both, fixed, broken, n - both - fixed - broken,
                  tango_interval(fixed, broken, n), ends.low, ends.high, 1.0)  # fmt: skip


PLAN = EvaluationPlan("test.jsonl", "cd", 200, 200, 200, 200, 512, None, 42, None)
GOOD = VerdictEvidence(
    plan=PLAN,
    leak=Contamination(of=200, files=("train.jsonl",)),
    tuned=result(),
    base=replace(result(), arm=replace(ARM, id="base")),
    success_k=200,
    success_n=200,
    primary=pair(40, 2),
    sandbox="strict",
)


def judged(evidence: VerdictEvidence) -> Verdict:
    """The verdict with the gates of what the evidence holds."""
    arms = [result for result in (evidence.base, evidence.tuned) if result is not None]
    return judge(replace(evidence, validity=gates(evidence.plan, evidence.leak, arms, (), ())))


@pytest.mark.parametrize(
    ("k", "n", "state"),
    [
        (149, 149, "PASS"),
        (148, 148, "INCONCLUSIVE"),
        (235, 236, "PASS"),
        (31, 31, "INCONCLUSIVE"),
        (15, 31, "FAIL"),
        (29, 31, "INCONCLUSIVE"),  # at most 98.8 %
        (28, 31, "FAIL"),  # at most 97.3 %
    ],
)
def test_success_is_decided_by_exact_bounds(k: int, n: int, state: str) -> None:
    assert criteria.success(k, n, result()).state == state


def test_success_says_how_many_tasks_it_needs() -> None:
    assert "149 independent tasks" in criteria.success(31, 31, result()).need
    assert "236 independent tasks with 1 failures" in criteria.success(30, 31, result()).need


def test_success_names_the_cure_of_the_commonest_failure() -> None:
    assert "cut off" in criteria.success(15, 31, result()).action


@pytest.mark.parametrize(
    ("value", "spread", "state"),
    [
        (11.0, 0.5, "PASS"),
        (11.0, 1.0, "INCONCLUSIVE"),
        (13.0, 2.0, "INCONCLUSIVE"),
        (13.0, 0.5, "FAIL"),
    ],
)
def test_latency_is_decided_by_its_bound_and_not_by_its_mean(
    value: float, spread: float, state: str
) -> None:
    assert criteria.latency(result(mean(value, spread))).state == state


def test_latency_of_nothing_is_undecided_and_not_zero() -> None:
    nothing = replace(result(), latency=Latency(planned=31, answered=0))
    assert criteria.latency(nothing).state == "INCONCLUSIVE"


def test_a_slow_model_is_given_the_tokens_that_fit_into_the_target() -> None:
    # (12 s - 1 s) at 20 tokens a second.
    assert "about 220 tokens" in criteria.latency(result(mean(20.0))).action


@pytest.mark.parametrize(
    ("memory", "state"),
    [(10 * GIB, "PASS"), (10 * GIB + 1, "FAIL"), (None, "INCONCLUSIVE")],
)
def test_memory_has_a_hard_limit(memory: int | None, state: str) -> None:
    assert criteria.memory(result(memory=memory)).state == state


@pytest.mark.parametrize(
    ("fixed", "broken", "n", "regression", "gain"),
    [
        (0, 0, 164, "PASS", "FAIL"),  # -1.6 to +1.6: no worse, and no gain worth having
        (3, 3, 164, "PASS", "FAIL"),  # -2.9 to +2.9
        (0, 0, 31, "PASS", "INCONCLUSIVE"),  # -8.0 to +8.0; the margin is 10 points here
        (1, 1, 31, "INCONCLUSIVE", "INCONCLUSIVE"),  # -10.6
        (6, 0, 31, "PASS", "PASS"),
        (0, 6, 31, "FAIL", "FAIL"),
        (30, 5, 164, "PASS", "PASS"),
        (2, 20, 164, "FAIL", "FAIL"),
    ],
)
def test_pairs_decide_by_tangos_bounds(
    fixed: int, broken: int, n: int, regression: str, gain: str
) -> None:
    pairs = pair(fixed, broken, n)
    assert criteria.no_regression(pairs).state == regression
    assert criteria.gain(pairs).state == gain


def test_without_pairs_nothing_is_decided() -> None:
    assert criteria.no_regression(None).state == "INCONCLUSIVE"
    assert criteria.gain(None).state == "INCONCLUSIVE"


def test_the_need_of_equal_models_is_the_closed_form() -> None:
    # z^2 (1/0.05 - 1) = 2.706 * 19 = 51.4, yet 61 pairs are there: one more is said.
    undecided = replace(pair(0, 0, 61), lower=-0.06)
    assert "about 62 pairs" in criteria.no_regression(undecided).need


def test_all_passed_is_deploy() -> None:
    verdict = judged(GOOD)
    assert verdict.label == "DEPLOY"
    assert verdict.next_steps == ()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"sandbox": "none"}, "sandbox"),
        ({"tuned": result(engine="torch")}, "torch"),
        ({"leak": Contamination(of=200)}, "contamination"),
        ({"reference": Rung("S4", "", "", wilson(0, 200))}, "reference answer"),
    ],
)
def test_what_was_not_seen_is_not_deployed(changes: dict[str, object], word: str) -> None:
    verdict = judged(replace(GOOD, **changes))
    assert verdict.label == "ITERATE"
    assert any(word in reason for reason in verdict.reasons)
    assert verdict.next_steps


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({"success_k": 31, "success_n": 31}, "ITERATE"),
        ({"primary": pair(0, 0)}, "ITERATE"),
        ({"primary": None}, "ITERATE"),
        ({"tuned": result(mean(20.0))}, "ITERATE"),
        ({"tuned": result(memory=11 * GIB)}, "ABORT"),
        ({"tuned": result(memory=11 * GIB, quantization="Q8_0")}, "ITERATE"),
        ({"tuned": replace(result(), recorded=199)}, "INVALID"),
        ({"tuned": None}, "INVALID"),
        ({"leak": Contamination(tasks=("a",), of=200, files=("train.jsonl",))}, "INVALID"),
    ],
)
def test_labels(changes: dict[str, object], label: str) -> None:
    assert judged(replace(GOOD, **changes)).label == label


def test_a_model_without_time_for_an_answer_is_aborted() -> None:
    slow = result(mean(60.0))
    slow = replace(slow, latency=replace(slow.latency, tokens_per_s=5.0))  # 55 tokens in 12 s
    assert judge(replace(GOOD, tuned=slow)).label == "ABORT"


def test_contamination_says_how_many() -> None:
    verdict = judged(replace(GOOD, leak=Contamination(tasks=("a",) * 20, of=31, files=("t",))))
    assert "20 of 31" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (pair(2, 5), "keep the base model: tuning gained nothing"),
        (pair(5, 4), "keep the base model for now"),
        (None, "keep the base model: whether"),
    ],
)
def test_the_headline_says_plainly_to_keep_the_base(
    pairs: PairedOutcomes | None, words: str
) -> None:
    assert words in judge(replace(GOOD, primary=pairs)).headline


def test_a_claim_says_what_31_tasks_can_prove() -> None:
    claims = judge(replace(GOOD, success_k=31, success_n=31)).claims
    assert all(part in claims[0] for part in ("31 independent tasks", "90.8 %", "98 %", "149"))


def test_quantisations_of_four_bits_and_fewer() -> None:
    assert all(map(is_smallest, ("Q4_K_M", "IQ4_XS", "Q3_K_S", "q2_k", "TQ1_0")))
    assert not any(map(is_smallest, ("Q5_K_M", "Q8_0", "F16", "BF16", "")))


def test_difference_of_pairs_is_two_sided_and_wider() -> None:
    found = pair(6, 0, 31)
    assert isinstance(found.difference, PairedDifference)
    assert found.difference.low < found.lower
