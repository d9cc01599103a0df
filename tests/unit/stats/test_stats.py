"""Published values, closed forms, and scipy as the reference."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from journeyman.stats import (
    bootstrap_mean,
    clopper_pearson_lower,
    clopper_pearson_upper,
    mcnemar_exact,
    needed_n,
    quantile,
    tango_interval,
    wilson,
)

Counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(Counts)
def test_wilson_equals_scipy(counts: tuple[int, int]) -> None:
    k, n = counts
    reference = scipy_stats.binomtest(k, n).proportion_ci(method="wilson")
    found = wilson(k, n)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-9)


@given(Counts)
def test_clopper_pearson_bounds_equal_scipy(counts: tuple[int, int]) -> None:
    k, n = counts
    exact = scipy_stats.binomtest(k, n).proportion_ci(0.9, method="exact")
    assert clopper_pearson_lower(k, n) == pytest.approx(exact.low, abs=1e-9)
    assert clopper_pearson_upper(k, n) == pytest.approx(exact.high, abs=1e-9)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(31, 31, 0.890, 1.0), (29, 31, 0.793, 0.982), (15, 31, 0.320, 0.652)],
)
def test_wilson_gives_the_known_values(k: int, n: int, low: float, high: float) -> None:
    assert (wilson(k, n).low, wilson(k, n).high) == pytest.approx((low, high), abs=5e-4)


@pytest.mark.parametrize(("k", "bound"), [(31, 0.908), (30, 0.856), (29, 0.811), (15, 0.327)])
def test_what_31_tasks_can_prove(k: int, bound: float) -> None:
    assert clopper_pearson_lower(k, 31) == pytest.approx(bound, abs=5e-4)


def test_two_sided_clopper_pearson_of_the_logged_baseline() -> None:
    # 298 of 302: 96.6 to 99.6 %. Two-sided 95 % is one-sided 97.5 % on each side.
    assert clopper_pearson_lower(298, 302, 0.975) == pytest.approx(0.966, abs=5e-4)
    assert clopper_pearson_upper(298, 302, 0.975) == pytest.approx(0.996, abs=5e-4)
    assert clopper_pearson_lower(31, 31, 0.975) == pytest.approx(0.888, abs=5e-4)


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        (0.98, [149, 236, 313, 386, 456, 523]),
        (0.95, [59, 93, 124, 153, 181, 208]),
        (0.90, [29, 46, 61, 76, 89, 103]),
    ],
)
def test_needed_n_gives_the_known_table(target: float, wanted: list[int]) -> None:
    assert [needed_n(target, failures=f) for f in range(6)] == wanted


@given(st.floats(0.5, 0.995), st.integers(0, 8))
def test_needed_n_is_the_smallest_that_proves_it(target: float, failures: int) -> None:
    n = needed_n(target, failures=failures)
    assert clopper_pearson_lower(n - failures, n) >= target - 1e-9
    assert n == failures + 1 or clopper_pearson_lower(n - 1 - failures, n - 1) < target + 1e-9


def test_mcnemar_needs_six_to_none() -> None:
    assert mcnemar_exact(6, 0) == 0.03125
    assert mcnemar_exact(5, 0) == 0.0625
    assert mcnemar_exact(0, 0) == 1.0


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_equals_the_exact_sign_test(fixed: int, broken: int) -> None:
    if fixed + broken:
        reference = scipy_stats.binomtest(fixed, fixed + broken).pvalue
        assert mcnemar_exact(fixed, broken) == pytest.approx(reference)


@pytest.mark.parametrize(
    ("fixed", "broken", "n", "lower"),
    [
        (0, 0, 31, -0.080),
        (1, 1, 31, -0.106),
        (3, 3, 31, -0.144),
        (0, 0, 164, -0.016),
        (3, 3, 164, -0.029),
        (0, 3, 164, -0.045),
        (0, 0, 60, -0.043),
    ],
)
def test_tango_gives_the_known_one_sided_bounds(
    fixed: int, broken: int, n: int, lower: float
) -> None:
    assert tango_interval(fixed, broken, n, confidence=0.9).low == pytest.approx(lower, abs=5e-4)


def test_tango_without_discordant_pairs_has_its_closed_form() -> None:
    z = scipy_stats.norm.ppf(0.975)
    found = tango_interval(0, 0, 31)
    assert found.low == pytest.approx(-z * z / (31 + z * z))  # -0.110
    assert found.high == pytest.approx(-found.low)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 40))
def test_tango_is_mirrored_and_holds_its_estimate(fixed: int, broken: int, same: int) -> None:
    n = fixed + broken + same + 1
    found, mirrored = tango_interval(fixed, broken, n), tango_interval(broken, fixed, n)
    assert found.low <= found.difference + 1e-12
    assert found.difference - 1e-12 <= found.high
    assert found.low == pytest.approx(-mirrored.high, abs=1e-9)


@pytest.mark.parametrize("call", [lambda: wilson(3, 2), lambda: tango_interval(2, 2, 3)])
def test_counts_that_cannot_be_are_refused(call: object) -> None:
    with pytest.raises(ValueError, match=r"not a share|more than"):
        call()  # type: ignore[operator]


def test_bootstrap_is_equal_for_equal_seeds() -> None:
    # Skewed, so that the bootstrap's upper end lies outside of Student's t.
    generator = random.Random(5)
    values = [generator.expovariate(1) ** 3 for _ in range(60)]
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)


def test_bootstrap_agrees_with_the_normal_interval_if_that_holds() -> None:
    generator = random.Random(7)
    values = [generator.gauss(10, 2) for _ in range(400)]
    found = bootstrap_mean(values, seed=3)
    half = 1.96 * 2 / math.sqrt(400)
    assert found.low is not None
    assert found.high is not None
    assert (found.low, found.high) == pytest.approx(
        (found.mean - half, found.mean + half), abs=0.03
    )


def test_few_values_are_bounded_by_students_t() -> None:
    # t(0.95, 2 df) = 2.920; the sample deviation of 1, 2, 3 is 1.
    assert bootstrap_mean([1.0, 2.0, 3.0], seed=1).upper == pytest.approx(
        2 + 2.920 / 3**0.5, abs=1e-3
    )


def test_repeats_in_a_cluster_add_no_certainty() -> None:
    values = [1.0, 5.0, 9.0, 4.0, 2.0]
    repeated = bootstrap_mean(values * 10, seed=1, clusters=list(range(5)) * 10)
    alone = bootstrap_mean(values, seed=1)
    assert repeated.clusters == 5
    assert repeated.upper == pytest.approx(alone.upper)


def test_one_cluster_has_no_interval() -> None:
    assert bootstrap_mean([1.0, 3.0], seed=1, clusters=["a", "a"]).upper is None


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30))
def test_quantile_equals_the_standard_library(values: list[float]) -> None:
    import statistics

    quarters = statistics.quantiles(values, n=4, method="inclusive")
    assert [quantile(values, q) for q in (0.25, 0.5, 0.75)] == pytest.approx(quarters, abs=1e-9)
