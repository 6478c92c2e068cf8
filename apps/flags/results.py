"""What came of an experiment: its units by variant, each goal's numbers, and how they grew.

One query a goal reads the experiment's exposures once, by their primary key, and the goal's events
by their index, and joins them by hash: seconds for millions, which is why answers are kept for a
while. Operators' only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.core.cache import cache
from django.db import connections
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import RedisError

from apps.flags.models import Experiment, ExperimentGoal
from apps.flags.statistics import (
    MINIMUM_CONVERSIONS,
    MINIMUM_UNITS,
    SRM_ALPHA,
    Comparison,
    Interval,
    Sample,
    compare_means,
    compare_rates,
    mean_interval,
    sample_ratio,
    wilson,
)
from layoverhq.tenancy import current_alias

KEPT_SECONDS = 10
# What took long is kept for so many times as long, so that few pages wait for it.
KEPT_TIMES = 60
CHART_DAYS = 400

UNITS = """
select
    variant,
    (exposed_at at time zone 'UTC')::date as day,
    count(*) filter (where not contaminated),
    count(*) filter (where contaminated)
from flag_exposures
where started_at = %(started_at)s and experiment_id = %(experiment)s
group by variant, day
order by day, variant
"""

# Sum and sum of squares grow with each event of a unit: a square of a sum by (2 × before + value) ×
# value. A conversion counts a unit's first event only, as 1.
GOAL = """
with counted as (
    select
        x.variant,
        (e.occurred_at at time zone 'UTC')::date as day,
        v.value,
        coalesce(
            sum(v.value) over (
                partition by x.enterprise_id, x.unit order by e.occurred_at, e.id
                rows between unbounded preceding and 1 preceding
            ),
            0
        ) as before
    from flag_exposures x
    join tracked_events e
        on e.event = %(event)s
        and e.enterprise_id = x.enterprise_id
        and e.unit = x.unit
        and e.occurred_at >= x.exposed_at
        and e.occurred_at < x.exposed_at + %(window)s
    cross join lateral (
        select case when %(conversion)s then 1.0 else coalesce(e.value, 0) end as value
    ) as v
    where x.started_at = %(started_at)s
        and x.experiment_id = %(experiment)s
        and not x.contaminated
        -- so that partitions outside are not read
        and e.occurred_at >= %(started_at)s
        and e.occurred_at < %(until)s
)
select
    variant,
    day,
    sum(value),
    sum(case when %(conversion)s then 1 else (2 * before + value) * value end)
from counted
where not %(conversion)s or before = 0
group by variant, day
order by day, variant
"""


@dataclass(frozen=True, slots=True)
class VariantResult:
    """A goal's numbers of one variant; the control has no comparison."""

    variant: str
    is_control: bool
    sample: Sample
    interval: Interval | None
    comparison: Comparison | None
    # None where the data are too few to say
    better: bool | None = None

    @property
    def mean(self) -> float:
        return self.sample.mean


@dataclass(frozen=True, slots=True)
class Point:
    """Where a variant stood at a day's end."""

    day: date
    units: int
    mean: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class GoalResult:
    """A goal's numbers by variant, the control first, and how they grew day by day.

    `shortage` says why they tell nothing yet; empty where they do.
    """

    goal: ExperimentGoal
    variants: list[VariantResult]
    series: dict[str, list[Point]]
    shortage: str


@dataclass(frozen=True, slots=True)
class Results:
    """All that an experiment shows. `alpha` is what each comparison may err by."""

    as_of: datetime
    units: dict[str, int]
    contaminated: int
    sample_ratio_p_value: float | None
    alpha: float
    goals: list[GoalResult]

    @property
    def is_mismatched(self) -> bool:
        """Whether units came otherwise than they were divided, so that nothing can be concluded."""
        return self.sample_ratio_p_value is not None and self.sample_ratio_p_value < SRM_ALPHA


def experiment_results(experiment: Experiment, now: datetime) -> Results:
    """Return what an experiment that has started shows, or showed a little while ago."""
    key = f"experiment-results:{experiment.pk}:{experiment.version}"
    # Without the cache it is computed each time.
    with suppress(RedisError, ConnectionInterrupted):
        kept: Results | None = cache.get(key)
        if kept is not None:
            return kept
    began = time.monotonic()
    found = computed_results(experiment, now)
    took = time.monotonic() - began
    with suppress(RedisError, ConnectionInterrupted):
        cache.set(key, found, max(KEPT_SECONDS, round(took * KEPT_TIMES)))
    return found


def computed_results(experiment: Experiment, now: datetime) -> Results:
    """Return what an experiment that has started shows now."""
    control = experiment.control_variant
    variants = [control, *(each for each in experiment.split if each != control)]
    growth: dict[str, dict[date, int]] = {variant: {} for variant in variants}
    contaminated = 0
    for variant, day, units, spoilt in _rows(UNITS, _parameters(experiment)):
        contaminated += spoilt
        if variant in growth:
            growth[variant][day] = units
    units = {variant: sum(days.values()) for variant, days in growth.items()}
    # Bonferroni: all comparisons of a goal together err by no more than the experiment's alpha.
    alpha = float(experiment.alpha) / max(1, len(variants) - 1)
    return Results(
        as_of=now,
        units=units,
        contaminated=contaminated,
        sample_ratio_p_value=sample_ratio(units, experiment.split),
        alpha=alpha,
        goals=[
            _goal_result(experiment, goal, variants, growth, alpha, now)
            for goal in experiment.goals.all()
        ],
    )


def _parameters(experiment: Experiment) -> dict[str, Any]:
    return {"started_at": experiment.started_at, "experiment": experiment.pk}


def _rows(query: str, parameters: Mapping[str, Any]) -> list[Any]:
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(query, parameters)
        return list(cursor.fetchall())


def _goal_result(
    experiment: Experiment,
    goal: ExperimentGoal,
    variants: Sequence[str],
    growth: Mapping[str, Mapping[date, int]],
    alpha: float,
    now: datetime,
) -> GoalResult:
    window = timedelta(hours=goal.window_hours)
    until = now if experiment.stopped_at is None else min(now, experiment.stopped_at + window)
    is_rate = goal.kind == ExperimentGoal.Kind.CONVERSION
    rows = _rows(
        GOAL,
        {
            **_parameters(experiment),
            "event": goal.event,
            "window": window,
            "conversion": is_rate,
            "until": until + timedelta(minutes=5),
        },
    )
    sums: dict[str, dict[date, tuple[float, float]]] = {variant: {} for variant in variants}
    for variant, day, total, squares in rows:
        if variant in sums:
            sums[variant][day] = (float(total), float(squares))
    samples = {
        variant: Sample(
            sum(growth[variant].values()),
            sum(total for total, _ in sums[variant].values()),
            sum(squares for _, squares in sums[variant].values()),
        )
        for variant in variants
    }
    shortage = _shortage(samples, is_rate)
    control = samples[variants[0]]
    found = []
    for variant in variants:
        sample = samples[variant]
        comparison = None
        if variant != variants[0]:
            compare = compare_rates if is_rate else compare_means
            comparison = compare(sample, control, alpha)
        found.append(
            VariantResult(
                variant,
                variant == variants[0],
                sample,
                _interval(sample, is_rate, 1 - alpha),
                comparison,
                None if shortage else _verdict(comparison, alpha),
            )
        )
    series = {
        variant: _series(growth[variant], sums[variant], is_rate, 1 - alpha, until.date())
        for variant in variants
    }
    return GoalResult(goal, found, series, shortage)


def _interval(sample: Sample, is_rate: bool, level: float) -> Interval | None:
    if not sample.units:
        return None
    return wilson(sample.total, sample.units, level) if is_rate else mean_interval(sample, level)


def _verdict(comparison: Comparison | None, alpha: float) -> bool | None:
    """Return whether a variant is better (or worse) by the test that may be looked at daily."""
    if comparison is None or comparison.sequential_p_value is None:
        return None
    return comparison.difference > 0 if comparison.sequential_p_value <= alpha else None


def _shortage(samples: Mapping[str, Sample], is_rate: bool) -> str:
    for variant, sample in samples.items():
        if sample.units < MINIMUM_UNITS:
            return (
                f"{variant} has met {sample.units} units; it takes {MINIMUM_UNITS} to say anything."
            )
        if is_rate and not (
            MINIMUM_CONVERSIONS <= sample.total <= sample.units - MINIMUM_CONVERSIONS
        ):
            return (
                f"{variant} has {sample.total:g} conversions of {sample.units} units; it takes"
                f" {MINIMUM_CONVERSIONS} that convert, and as many that do not."
            )
    if not any(sample.variance for sample in samples.values()):
        return "No unit has a value yet."
    return ""


def _series(
    growth: Mapping[date, int],
    sums: Mapping[date, tuple[float, float]],
    is_rate: bool,
    level: float,
    until: date,
) -> list[Point]:
    """Return where a variant stood at each day's end, from its first unit on."""
    days = sorted({*growth, *sums})
    points: list[Point] = []
    if not days:
        return points
    units, total, squares = 0, 0.0, 0.0
    last = min(max(days[-1], until), days[0] + timedelta(days=CHART_DAYS))
    for offset in range((last - days[0]).days + 1):
        day = days[0] + timedelta(days=offset)
        units += growth.get(day, 0)
        more = sums.get(day, (0.0, 0.0))
        total, squares = total + more[0], squares + more[1]
        sample = Sample(units, total, squares)
        points.append(Point(day, units, sample.mean, _interval(sample, is_rate, level)))
    return points
