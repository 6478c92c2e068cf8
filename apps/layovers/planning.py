"""A plan for the hours in town: which experiences fit, and in which order; exact over a few.

A traveller starts at the airport's kerb and has to be back there. Between two places the way leads
over the base of each (the city's centre, or the airport), so that a plan is never too hopeful.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final

from apps.flights.ground import CLOSES, OPENS
from apps.layovers.hours import ALWAYS, OpeningHours, parse_hours
from apps.layovers.scoring import appeal, experience_value

MINUTE: Final = timedelta(minutes=1)

# The search is exact over so many, the best by rating; a plan has at most so many stops.
MOST_CANDIDATES: Final = 7
MOST_STOPS: Final = 5

CENTRE: Final = "centre"
AIRPORT: Final = "airport"


@dataclass(frozen=True, slots=True)
class Sight:
    """What a plan needs to know of an experience; minutes, and tenths of a star."""

    key: str
    name: str
    rating_tenths: int
    duration_minutes: int
    base: str
    travel_minutes: int
    hours: OpeningHours


@dataclass(frozen=True, slots=True)
class Stop:
    """A visit: the way there, and from when to when, on the city's clock."""

    sight: Sight
    travel_minutes: int
    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """Stops in order; `back` is when the traveller is at the airport's kerb again."""

    stops: tuple[Stop, ...]
    back: datetime | None

    @property
    def appeal(self) -> float:
        """What the stops are worth together, from 0 to 1."""
        return appeal(stop.sight.rating_tenths for stop in self.stops)


NOTHING: Final = Plan((), None)


def way_minutes(here: Sight | None, there: Sight | None, transfer: int) -> int:
    """Return the minutes between two places; None is the airport's kerb.

    `transfer` is what it takes from the kerb to the centre.
    """
    return sum(end.travel_minutes if end else 0 for end in (here, there)) + transfer * (
        _base(here) != _base(there)
    )


def _base(sight: Sight | None) -> str:
    return sight.base if sight else AIRPORT


def best_plan(sights: Sequence[Sight], *, begin: datetime, end: datetime, transfer: int) -> Plan:
    """Return the plan that is worth most, and of these the one that is back first.

    `begin` and `end` are when the traveller is at the kerb and has to be again, by the city's
    clock, without a zone. Visits are within a place's hours and the city's, 8 to 22.
    """
    candidates = _candidates(sights, begin, end, transfer)
    best: tuple[float, float, Plan] = (0.0, 0.0, NOTHING)

    def extend(stops: tuple[Stop, ...], at: datetime, missed: float) -> None:
        nonlocal best
        here = stops[-1].sight if stops else None
        if stops:
            back = at + way_minutes(here, None, transfer) * MINUTE
            found = (1 - missed, -back.timestamp(), Plan(stops, back))
            if found[:2] > best[:2]:
                best = found
        if len(stops) == MOST_STOPS:
            return
        taken = {stop.sight.key for stop in stops}
        for sight in candidates:
            if sight.key in taken:
                continue
            way = way_minutes(here, sight, transfer)
            begins = _visit(sight, at + way * MINUTE, end)
            if begins is None:
                continue
            ends = begins + sight.duration_minutes * MINUTE
            if ends + way_minutes(sight, None, transfer) * MINUTE <= end:
                extend(
                    (*stops, Stop(sight, way, begins, ends)),
                    ends,
                    missed * (1 - appeal([sight.rating_tenths])),
                )

    extend((), begin, 1.0)
    return best[2]


def _candidates(
    sights: Sequence[Sight], begin: datetime, end: datetime, transfer: int
) -> list[Sight]:
    """Return the best of those that fit on their own."""
    fitting = []
    for sight in sights:
        way = way_minutes(None, sight, transfer) * MINUTE
        begins = _visit(sight, begin + way, end)
        if begins and begins + sight.duration_minutes * MINUTE + way <= end:
            fitting.append(sight)
    fitting.sort(key=lambda each: (-experience_value(each.rating_tenths), each.duration_minutes))
    return fitting[:MOST_CANDIDATES]


def _visit(sight: Sight, arrival: datetime, end: datetime) -> datetime | None:
    """Return when a visit begins for who is there from `arrival` on, None if it never does."""
    stay = sight.duration_minutes * MINUTE
    for opens, closes in sight.hours.spans(arrival, end):
        for first, last in _waking(opens, closes):
            if first + stay <= last:
                return first
    return None


def _waking(begin: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Cut a span to the hours at which a city can be visited."""
    parts = []
    day = begin.date()
    while day <= end.date():
        midnight = datetime.combine(day, time())
        first = max(begin, midnight + OPENS * MINUTE)
        last = min(end, midnight + CLOSES * MINUTE)
        if first < last:
            parts.append((first, last))
        day += timedelta(days=1)
    return parts


def appeal_by_hours(sights: Sequence[Sight], hours: int) -> list[int]:
    """Return what 0 to `hours` usable hours are worth, 0 to 100, whatever the time of day.

    As usable time lies in town, the ways from the airport and back are not counted again.
    """
    opens = datetime(2001, 1, 1) + OPENS * MINUTE
    always = parse_hours(ALWAYS)
    free = [
        Sight(
            each.key, each.name, each.rating_tenths, each.duration_minutes, CENTRE,
            each.travel_minutes, always,
        )
        for each in sights
    ]  # fmt: skip
    # A city's day has 14 hours: what is longer is worth what they are.
    longest = (CLOSES - OPENS) // 60
    found: list[int] = []
    for hour in range(min(hours, longest) + 1):
        plan = best_plan(free, begin=opens, end=opens + hour * 60 * MINUTE, transfer=0)
        found.append(round(100 * plan.appeal))
    return found + [found[-1]] * (hours - len(found) + 1)
