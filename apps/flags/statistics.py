"""What the numbers of an experiment say. Sources stand with each formula; tests check them.

scipy is imported when it is first needed: it takes longer to import than the rest of a process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

SRM_ALPHA = 0.001
# Units that the smallest share should have before their distribution is tested.
MINIMUM_EXPECTED = 5
# The sequential test is narrowest at about so many units of both variants together; chosen before
# any data, as it must be.
TUNED_FOR = 5_000
# Normal approximations are worth nothing below: units a variant, and conversions with the others.
MINIMUM_UNITS = 100
MINIMUM_CONVERSIONS = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """A variant's units: how many, the sum of their values and of their squares.

    For conversions a value is 0 or 1, so that both sums are the number of conversions.
    """

    units: int
    total: float
    squares: float

    @property
    def mean(self) -> float:
        return self.total / self.units if self.units else 0.0

    @property
    def variance(self) -> float:
        """The sample variance (of n - 1)."""
        if self.units < 2:
            return 0.0
        spread = self.squares - self.total * self.total / self.units
        return max(0.0, spread) / (self.units - 1)


@dataclass(frozen=True, slots=True)
class Interval:
    """Ends of a confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A variant against the control. `lift` is relative: 0.1 is 10 % more than the control.

    None where the data do not say. `p_value` holds for one look at a sample size that was fixed
    beforehand; `sequential_p_value` and `sequential` however often one looks.
    """

    difference: float
    interval: Interval | None
    lift: float | None
    lift_interval: Interval | None
    p_value: float | None
    sequential: Interval | None
    sequential_p_value: float | None


def wilson(conversions: float, units: int, level: float = 0.95) -> Interval:
    """Return Wilson's score interval of a rate (Newcombe 1998a, method 3)."""
    z = _z(level)
    rate = conversions / units
    middle = conversions + z * z / 2
    half = z * math.sqrt(conversions * (1 - rate) + z * z / 4)
    return Interval(
        max(0.0, (middle - half) / (units + z * z)), min(1.0, (middle + half) / (units + z * z))
    )


def newcombe(one: Sample, other: Sample, level: float = 0.95) -> Interval:
    """Return the interval of a difference of rates, one - other (Newcombe 1998b, method 10)."""
    left, right = wilson(one.total, one.units, level), wilson(other.total, other.units, level)
    difference = one.mean - other.mean
    return Interval(
        difference - math.hypot(one.mean - left.low, right.high - other.mean),
        difference + math.hypot(left.high - one.mean, other.mean - right.low),
    )


def mean_interval(sample: Sample, level: float = 0.95) -> Interval | None:
    """Return Student's interval of a mean."""
    if sample.units < 2:
        return None
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, sample.units - 1)) * math.sqrt(
        sample.variance / sample.units
    )
    return Interval(sample.mean - half, sample.mean + half)


def two_proportions(one: Sample, other: Sample) -> float | None:
    """Return the two-sided p-value of the pooled z-test of two rates."""
    pooled = (one.total + other.total) / (one.units + other.units)
    error = math.sqrt(pooled * (1 - pooled) * (1 / one.units + 1 / other.units))
    return _two_sided((one.mean - other.mean) / error) if error else None


def welch(one: Sample, other: Sample, level: float = 0.95) -> tuple[Interval, float] | None:
    """Return the interval of a difference of means, one - other, and its p-value (Welch's test)."""
    parts = (_squared_error(one), _squared_error(other))
    error = math.sqrt(sum(parts))
    if not error or min(one.units, other.units) < 2:
        return None
    from scipy.stats import t

    freedom = sum(parts) ** 2 / (
        parts[0] ** 2 / (one.units - 1) + parts[1] ** 2 / (other.units - 1)
    )
    difference = one.mean - other.mean
    half = float(t.ppf((1 + level) / 2, freedom)) * error
    p_value = 2 * float(t.sf(abs(difference) / error, freedom))
    return Interval(difference - half, difference + half), p_value


def lift_interval(one: Sample, other: Sample, level: float = 0.95) -> Interval | None:
    """Return the interval of one's mean over the other's, less 1: delta method on the logarithm.

    None where a mean is not positive.
    """
    if one.mean <= 0 or other.mean <= 0:
        return None
    error = math.sqrt(_relative_error(one) + _relative_error(other))
    ratio = math.log(one.mean / other.mean)
    half = _z(level) * error
    return Interval(math.exp(ratio - half) - 1, math.exp(ratio + half) - 1)


def sequential_test(
    one: Sample, other: Sample, alpha: float = 0.05
) -> tuple[Interval, float] | None:
    """Return an interval of the difference of means and a p-value that hold at every look.

    A much smaller sample borrows the larger's variance. Few units of skewed values miss the largest
    ones in mean and variance at once: where 1 % of the units met a variant, and 2 % of all bought
    something, two equal variants were called different in 40 % of simulations instead of 5 %.
    """
    fewer, more = sorted((one, other), key=lambda sample: sample.units)
    borrowed = more.variance * (1 - fewer.units / more.units) if more.units else 0.0
    variance = max(fewer.variance, borrowed) / max(1, fewer.units) + _squared_error(more)
    if not variance:
        return None
    return confidence_sequence(
        one.mean - other.mean, variance, one.units + other.units, alpha, TUNED_FOR
    )


def confidence_sequence(
    estimate: float, variance: float, units: int, alpha: float, tuned_for: int
) -> tuple[Interval, float]:
    """Return the interval and p-value of an estimate with this variance (its error, squared).

    The asymptotic confidence sequence of Waudby-Smith et al. (2024, theorem 2.2): the mixture SPRT
    of Johari et al. (2022) with a normal mixture of rho² times the variance of a unit.
    """
    rho_squared = _rho_squared(alpha, tuned_for)
    spread = units * rho_squared + 1
    half = math.sqrt(
        variance * 2 * spread / (units * rho_squared) * math.log(math.sqrt(spread) / alpha)
    )
    evidence = estimate**2 * units * rho_squared / (2 * variance * spread)
    p_value = min(1.0, math.exp(0.5 * math.log(spread) - evidence))
    return Interval(estimate - half, estimate + half), p_value


def _rho_squared(alpha: float, tuned_for: int) -> float:
    """Return the rho² by which a sequence is narrowest at so many units, nearly (appendix B)."""
    doubled = -2 * math.log(alpha)
    return (doubled + math.log(doubled + 1)) / tuned_for


def sample_ratio(units: Mapping[str, int], split: Mapping[str, int]) -> float | None:
    """Return the p-value of the chi-squared test that units came as they were divided.

    None where nobody came, or so few that a variant would get less than 5 (Cochran 1954): there the
    test cries wolf by the first unit of a small share. Below SRM_ALPHA something is wrong, and the
    results with it (Fabijan et al., KDD 2019).
    """
    total = sum(units.values())
    shares = {variant: share for variant, share in split.items() if share}
    if not total or len(shares) < 2:
        return None
    from scipy.stats import chi2

    whole = sum(shares.values())
    expected = {variant: total * share / whole for variant, share in shares.items()}
    if min(expected.values()) < MINIMUM_EXPECTED:
        return None
    statistic = sum(
        (units.get(variant, 0) - share) ** 2 / share for variant, share in expected.items()
    )
    return float(chi2.sf(statistic, len(shares) - 1))


def compare_rates(one: Sample, control: Sample, alpha: float) -> Comparison:
    """Compare two rates: Newcombe's interval, the pooled z-test, the sequential test."""
    return _compared(
        one,
        control,
        alpha,
        newcombe(one, control, 1 - alpha) if one.units and control.units else None,
        two_proportions(one, control) if one.units and control.units else None,
    )


def compare_means(one: Sample, control: Sample, alpha: float) -> Comparison:
    """Compare two means: Welch's interval and test, the sequential test."""
    tested = welch(one, control, 1 - alpha) if one.units and control.units else None
    return _compared(
        one, control, alpha, tested[0] if tested else None, tested[1] if tested else None
    )


def _compared(
    one: Sample, control: Sample, alpha: float, interval: Interval | None, p_value: float | None
) -> Comparison:
    told = one.units > 1 and control.units > 1
    sequential = sequential_test(one, control, alpha) if told else None
    return Comparison(
        difference=one.mean - control.mean,
        interval=interval,
        lift=one.mean / control.mean - 1 if control.mean > 0 else None,
        lift_interval=lift_interval(one, control, 1 - alpha) if told else None,
        p_value=p_value,
        sequential=sequential[0] if sequential else None,
        sequential_p_value=sequential[1] if sequential else None,
    )


def _squared_error(sample: Sample) -> float:
    return sample.variance / sample.units if sample.units else 0.0


def _relative_error(sample: Sample) -> float:
    """Return the squared error of a mean's logarithm.

    Of the population's variance, by n, as the literature has it for rates; for means the
    difference from n - 1 is none at the sizes that are told.
    """
    return _squared_error(sample) * (sample.units - 1) / sample.units / sample.mean**2


def _z(level: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf((1 + level) / 2))


def _two_sided(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2))
