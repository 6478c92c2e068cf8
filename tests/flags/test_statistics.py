"""The statistics give the numbers that their literature prints, and do not cry wolf."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from django.conf import settings

from apps.flags.statistics import (
    MINIMUM_UNITS,
    SRM_ALPHA,
    Sample,
    compare_means,
    compare_rates,
    confidence_sequence,
    lift_interval,
    mean_interval,
    newcombe,
    sample_ratio,
    sequential_test,
    two_proportions,
    welch,
    wilson,
)


def rate(conversions: int, units: int) -> Sample:
    return Sample(units, conversions, conversions)


def of_moments(units: int, mean: float, deviation: float) -> Sample:
    """Return a sample with this mean and standard deviation (of n - 1)."""
    return Sample(units, units * mean, deviation**2 * (units - 1) + units * mean**2)


# R. G. Newcombe, “Two-sided confidence intervals for the single proportion: comparison of seven
# methods”, Statistics in Medicine 17 (1998), 857-872: table I, method 3.
@pytest.mark.parametrize(
    ("conversions", "units", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson__newcombe_1998_table_1__same_limits(conversions, units, low, high):
    found = wilson(conversions, units)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


# R. G. Newcombe, “Interval estimation for the difference between independent proportions:
# comparison of eleven methods”, Statistics in Medicine 17 (1998), 873-890: table II, method 10.
@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0000),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ],
)
def test_difference__newcombe_1998_table_2__same_limits(one, other, low, high):
    found = newcombe(rate(*one), rate(*other))
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_lift__agresti_2007_aspirin_study__same_relative_risk():
    # A. Agresti, “An Introduction to Categorical Data Analysis”, 2nd edition (2007), sections
    # 2.2.2 and 2.2.3: heart attacks of 189 of 11,034 on placebo and 104 of 11,037 on aspirin; a
    # difference of 0.0077 (0.005 to 0.011), a relative risk of 1.82 (1.43 to 2.30).
    placebo, aspirin = rate(189, 11_034), rate(104, 11_037)
    compared = compare_rates(placebo, aspirin, 0.05)
    assert round(compared.difference, 4) == 0.0077
    assert compared.interval is not None
    assert (round(compared.interval.low, 3), round(compared.interval.high, 3)) == (0.005, 0.011)
    assert compared.lift is not None
    assert round(compared.lift + 1, 2) == 1.82
    found = lift_interval(placebo, aspirin)
    assert found is not None
    assert found.low + 1 == pytest.approx(1.43, abs=0.01)
    assert found.high + 1 == pytest.approx(2.30, abs=0.01)


def test_two_proportions__square_of_z__is_pearsons_chi_squared():
    from scipy.stats import chi2_contingency

    table = [[189, 11_034 - 189], [104, 11_037 - 104]]
    expected = chi2_contingency(table, correction=False).pvalue
    assert two_proportions(rate(189, 11_034), rate(104, 11_037)) == pytest.approx(expected)


def test_welch__nist_handbook_autos__same_statistic():
    # NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.5.3 (AUTO83B.DAT): miles per
    # gallon of 249 US and 79 Japanese cars; without equal variances T = -12.94627 with 136.8750
    # degrees of freedom, so that the difference's standard error is -10.33643 / -12.94627.
    american, japanese = of_moments(249, 20.14458, 6.41470), of_moments(79, 30.48101, 6.10771)
    tested = welch(american, japanese)
    assert tested is not None
    interval, p_value = tested
    from scipy.stats import t

    error = (20.14458 - 30.48101) / -12.94627
    half = t.ppf(0.975, 136.8750) * error
    assert interval.low == pytest.approx(-10.33643 - half, abs=1e-3)
    assert interval.high == pytest.approx(-10.33643 + half, abs=1e-3)
    assert p_value == pytest.approx(2 * t.sf(12.94627, 136.8750), rel=1e-3)


def test_welch__growthbooks_own_example__same_interval_and_p_value():
    # GrowthBook's gbstats, tests/frequentist/test_tests.py, test_two_sided_ttest.
    compared = compare_means(of_moments(3461, 0.7, 6.2), of_moments(3407, 0.41, 3.9), 0.05)
    assert compared.interval is not None
    assert compared.p_value is not None
    assert compared.interval.low == pytest.approx(0.04538, abs=5e-6)
    assert compared.interval.high == pytest.approx(0.53462, abs=5e-6)
    assert compared.p_value == pytest.approx(0.02016, abs=5e-6)


def test_mean_interval__nist_handbook_heat_flow__same_limits():
    # NIST/SEMATECH e-Handbook, section 1.3.5.2 (ZARR13.DAT): 195 values, mean 9.261460, standard
    # deviation 0.022789: 9.258242 to 9.264679.
    found = mean_interval(of_moments(195, 9.261460, 0.022789))
    assert found is not None
    assert found.low == pytest.approx(9.258242, abs=2e-6)
    assert found.high == pytest.approx(9.264679, abs=2e-6)


def test_sample_ratio__kohavi_2020_scenario_1__same_p_value():
    # R. Kohavi, D. Tang, Y. Xu, “Trustworthy Online Controlled Experiments” (2020), chapter 21,
    # scenario 1: 821,588 against 815,482 units of an equal split, p = 1.8E-6.
    found = sample_ratio({"control": 821_588, "treatment": 815_482}, {"control": 1, "treatment": 1})
    assert found == pytest.approx(1.8e-6, abs=5e-8)
    assert found < SRM_ALPHA


def test_sample_ratio__units_as_divided__says_nothing():
    split = {"a": 5_000, "b": 3_000, "c": 2_000}
    assert sample_ratio({"a": 500, "b": 300, "c": 200}, split) == pytest.approx(1.0)
    assert sample_ratio({}, split) is None
    # A variant that nobody met is a mismatch, and not a smaller table.
    none_of_c = sample_ratio({"a": 625, "b": 375}, split)
    assert none_of_c is not None
    assert none_of_c < SRM_ALPHA


def test_confidence_sequence__growthbooks_own_example__same_interval_and_p_value():
    # GrowthBook's gbstats, tests/frequentist/test_tests.py, test_sequential_test_runs: a relative
    # effect of 0.50336 with standard error 0.33341 of 3,000 and 3,461 units, tuned for 1,000.
    interval, p_value = confidence_sequence(0.50336, 0.33341**2, 6_461, 0.05, 1_000)
    assert interval.low == pytest.approx(-0.55844, abs=1e-4)
    assert interval.high == pytest.approx(1.56516, abs=1e-4)
    assert p_value == 1


def test_confidence_sequence__interval_that_touches_nought__has_p_value_alpha():
    for alpha in (0.01, 0.05, 0.1):
        interval, _ = confidence_sequence(0.0, 0.0004, 20_000, alpha, 5_000)
        _, p_value = confidence_sequence(interval.high, 0.0004, 20_000, alpha, 5_000)
        assert p_value == pytest.approx(alpha)


def peeks(seed: int, *, runs: int, days: int, a_day: int, lift: float) -> tuple[float, float]:
    """Return how many of the runs cried wolf on some day: by the sequential test, by the z-test."""
    random = np.random.default_rng(seed)
    base = 0.2
    control = np.cumsum(random.binomial(a_day, base, (runs, days)), axis=1)
    variant = np.cumsum(random.binomial(a_day, base * (1 + lift), (runs, days)), axis=1)
    sequentially = fixed = 0
    for run in range(runs):
        found = [
            compare_rates(
                rate(int(variant[run, day]), a_day * (day + 1)),
                rate(int(control[run, day]), a_day * (day + 1)),
                0.05,
            )
            for day in range(days)
        ]
        sequentially += any((each.sequential_p_value or 1) <= 0.05 for each in found)
        fixed += any((each.p_value or 1) <= 0.05 for each in found)
    return sequentially / runs, fixed / runs


def test_sequential_test__looked_at_daily_without_an_effect__errs_by_alpha_at_most():
    sequentially, fixed = peeks(20_260_331, runs=1_000, days=30, a_day=200, lift=0.0)
    # Three standard errors of a rate of 0.05 over 1,000 runs are 0.02: it is far below.
    assert sequentially <= 0.05
    # What the usual test does to whoever looks daily.
    assert fixed > 0.15


def test_sequential_test__with_an_effect__finds_it_and_covers_it():
    sequentially, _ = peeks(7, runs=100, days=30, a_day=500, lift=0.2)
    assert sequentially > 0.95


def test_sequential_interval__at_every_day__covers_the_truth():
    random = np.random.default_rng(11)
    missed = 0
    for _ in range(400):
        values = random.lognormal(1.0, 0.8, (2, 20 * 100))
        outside = False
        for day in range(1, 21):
            one, other = (
                Sample(day * 100, float(v[: day * 100].sum()), float((v[: day * 100] ** 2).sum()))
                for v in values
            )
            tested = sequential_test(one, other)
            assert tested is not None
            outside |= not tested[0].low <= 0 <= tested[0].high
        missed += outside
    assert missed / 400 <= 0.05


@pytest.mark.parametrize(("share", "buyers"), [(0.01, 0.02), (0.1, 0.1), (0.3, 0.02), (0.5, 0.1)])
def test_sequential_test__skewed_values_and_a_small_share__errs_by_alpha_at_most(share, buyers):
    random = np.random.default_rng(2_026)
    runs, looks, a_look = 200, 20, 2_000
    few = round(a_look * share)
    wrong = 0
    for _ in range(runs):
        sums = np.zeros((2, 3))
        erred = False
        for _ in range(looks):
            for row, units in enumerate((few, a_look - few)):
                values = random.lognormal(0, 1, units) * (random.random(units) < buyers)
                sums[row] += (units, values.sum(), (values**2).sum())
            if sums[0, 0] >= MINIMUM_UNITS:
                one, other = (Sample(int(row[0]), float(row[1]), float(row[2])) for row in sums)
                tested = sequential_test(one, other)
                erred |= tested is not None and tested[1] <= 0.05
        wrong += erred
    assert wrong / runs <= 0.05


def test_sequential_test__small_share__still_finds_an_effect():
    # 2 % of the units met a variant that doubles the rate.
    tested = sequential_test(rate(200, 1_000), rate(4_900, 49_000))
    assert tested is not None
    assert tested[1] < 0.001


def test_sample_ratio__too_few_for_the_test__says_nothing():
    # One unit of the hundredth share among the first ten is no sign of anything.
    assert sample_ratio({"a": 9, "b": 1}, {"a": 9_900, "b": 100}) is None
    assert sample_ratio({"a": 480, "b": 20}, {"a": 9_900, "b": 100}) < SRM_ALPHA


def test_comparison__without_data__says_nothing():
    nobody, few = Sample(0, 0, 0), rate(0, 5)
    assert mean_interval(nobody) is None
    compared = compare_rates(nobody, few, 0.05)
    assert (compared.interval, compared.p_value, compared.sequential_p_value) == (None, None, None)
    assert compare_rates(few, few, 0.05).p_value is None
    assert compare_rates(few, few, 0.05).lift is None
    assert compare_means(nobody, few, 0.05).interval is None
    assert not math.isnan(compare_means(few, few, 0.05).difference)


def test_scipy__in_a_process_that_serves__is_not_imported():
    code = (
        "import os, sys, django; django.setup();"
        "import layoverhq.urls, apps.flags.results, apps.flags.middleware;"
        "sys.exit('scipy' in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=settings.BASE_DIR, check=False)
    assert process.returncode == 0
