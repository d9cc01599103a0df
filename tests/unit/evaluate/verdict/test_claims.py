"""Claims follow from what ran: a suite is named as not measured if and only if it did not run."""

from typing import get_args

import pytest
from msgspec.structs import replace

from journeyman.evaluate.records.measurements import Latency
from journeyman.evaluate.records.scores import Rung
from journeyman.evaluate.records.suites import (
    Likelihood,
    QuantisationDivergence,
    Suite,
    SuiteArm,
    SuiteName,
)
from journeyman.evaluate.verdict.claims import claims
from journeyman.stats import Mean, wilson
from tests.unit.evaluate.verdict.test_verdict import GOOD, pair, result

MEAN = Mean(1.0, 9, 9, None, None, None, None)
RAN = {
    "humaneval": Suite(name="humaneval", title="HumanEval", paired=(pair(3, 2, 150),)),
    "probes": Suite(name="probes", title="probes", paired=(pair(3, 2, 43),)),
    "likelihood": Suite(
        name="likelihood", title="", likelihood=Likelihood("torch", 64, MEAN, MEAN, MEAN, ())
    ),
    "quantisation": Suite(
        name="quantisation",
        title="",
        divergence=QuantisationDivergence("f", "ab", "q", "Q4_K_M", "text", 508, 0.01, 0.001, 0.1,
                                         0.9, 0.93, 0.01, 9.0, 9.1, 0.05, 0.9, "OK"),
    ),
}  # fmt: skip
UNKNOWN = {
    "humaneval": ("forgetting", "150 public functions"),
    "probes": ("instructions", "43 probes"),
    "likelihood": ("likelihood", "imitated, not whether"),
    "quantisation": ("quantisation", "508 tokens"),
}
NAMES = [name for name in get_args(SuiteName) if name != "held-out"]


def said(*ran: str) -> tuple[str, ...]:
    suites = [
        RAN[name] if name in ran else Suite(name=name, title="", not_measured="not asked for")
        for name in NAMES
    ]
    return claims(replace(GOOD, suites=tuple(suites)))


@pytest.mark.parametrize("name", NAMES)
def test_a_suite_is_not_measured_until_it_ran(name: str) -> None:
    unknown, known = UNKNOWN[name]
    assert unknown in said()[-1]
    assert not any(known in one for one in said())
    assert unknown not in said(name)[-1]
    assert sum(known in one for one in said(name)) == 1


def test_if_every_suite_ran_only_what_none_measures_is_not_measured() -> None:
    assert said(*NAMES)[-1].split(", ") == ["not measured: other prompts", "other sampling"]


def test_humaneval_whose_checks_were_not_run_claims_nothing_about_forgetting() -> None:
    asked = replace(RAN["humaneval"], paired=(), arms=(SuiteArm("tuned", 3, ()),))
    found = claims(replace(GOOD, suites=(asked,)))
    assert any("HumanEval" in one and "not run" in one for one in found)
    assert not any("functions of HumanEval" in one for one in found)


def test_right_answers_are_claimed_for_checks_that_ran_and_can_be_trusted() -> None:
    assert any("188 of 200 tasks" in one for one in claims(replace(GOOD, excluded=12)))
    unrun = claims(replace(GOOD, sandbox="none"))
    assert any("200 tasks were not run: right answers" in one for one in unrun)
    assert not any("(S4)" in one for one in unrun)


@pytest.mark.parametrize(("strictly", "claimed"), [(190, False), (150, True)])
def test_a_rate_that_depends_on_lenient_reading_says_so(strictly: int, claimed: bool) -> None:
    rung = Rung("S4", "", "", wilson(190, 200), strict=wilson(strictly, 200))
    found = claims(replace(GOOD, tuned=replace(result(), rungs=(rung,))))
    assert any("S4" in one and "95 %" in one and "75 %" in one for one in found) is claimed


def test_latency_is_not_claimed_if_nothing_was_timed_or_torch_answered() -> None:
    untimed = replace(result(), latency=Latency(200, 0))
    assert "latency was not measured" in claims(replace(GOOD, tuned=untimed))
    by_torch = claims(replace(GOOD, tuned=result(engine="torch")))
    assert any("latency" in one and "torch" in one for one in by_torch)
