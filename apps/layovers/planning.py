"""A plan for the hours in town: which experiences fit, and in which order; exact over a few.

A traveller starts at the airport's kerb and has to be back there. Between two places the way leads
over the base of each (the city's centre, or the airport), so that a plan is never too hopeful.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final

from apps.flights.ground import CLOSES, OPENS
from apps.layovers.hours import ALWAYS, OpeningHours, parse_hours
from apps.layovers.scoring import appeal

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


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A sight with what the search asks again and again; minutes after the begin."""

    sight: Sight
    # the spans in which it can be visited, in order
    windows: tuple[tuple[int, int], ...]
    # what is missed of the appeal without it is this share of what was missed before
    missed: float

    def visit(self, arrival: int) -> int | None:
        """Return when a visit begins for who is there from then on, None if it never does."""
        for opens, closes in self.windows:
            first = max(opens, arrival)
            if first + self.sight.duration_minutes <= closes:
                return first
        return None


def best_plan(sights: Sequence[Sight], *, begin: datetime, end: datetime, transfer: int) -> Plan:
    """Return the plan that is worth most, and of these the one that is back first.

    `begin` and `end` are when the traveller is at the kerb and has to be again, by the city's
    clock, without a zone. Visits are within a place's hours and the city's, 8 to 22.
    """
    last = (end - begin) // MINUTE
    candidates = _candidates(sights, begin, end, transfer)
    best: tuple[float, int, tuple[tuple[_Candidate, int], ...]] = (1.0, 0, ())

    def extend(visits: tuple[tuple[_Candidate, int], ...], at: int, missed: float) -> None:
        nonlocal best
        here = visits[-1][0].sight if visits else None
        if visits:
            back = at + way_minutes(here, None, transfer)
            if (missed, back) < best[:2]:
                best = (missed, back, visits)
        open_ = [each for each in candidates if all(each is not taken for taken, _ in visits)]
        # The best are first: not even all of these could do better.
        least = missed
        for each in open_[: MOST_STOPS - len(visits)]:
            least *= each.missed
        if len(visits) == MOST_STOPS or least > best[0]:
            return
        for each in open_:
            arrival = at + way_minutes(here, each.sight, transfer)
            begins = each.visit(arrival)
            if begins is None:
                continue
            ends = begins + each.sight.duration_minutes
            if ends + way_minutes(each.sight, None, transfer) <= last:
                extend((*visits, (each, begins)), ends, missed * each.missed)

    extend((), 0, 1.0)
    return _told(best[2], begin, transfer)


def _told(visits: Sequence[tuple[_Candidate, int]], begin: datetime, transfer: int) -> Plan:
    """Return the visits as stops on the city's clock."""
    stops: list[Stop] = []
    here: Sight | None = None
    for each, at in visits:
        begins = begin + at * MINUTE
        ends = begins + each.sight.duration_minutes * MINUTE
        stops.append(Stop(each.sight, way_minutes(here, each.sight, transfer), begins, ends))
        here = each.sight
    if not stops:
        return NOTHING
    return Plan(tuple(stops), stops[-1].ends + way_minutes(here, None, transfer) * MINUTE)


def _candidates(
    sights: Sequence[Sight], begin: datetime, end: datetime, transfer: int
) -> list[_Candidate]:
    """Return the best of those that fit on their own, the best first."""
    last = (end - begin) // MINUTE
    fitting = []
    for sight in sights:
        way = way_minutes(None, sight, transfer)
        candidate = _Candidate(
            sight, tuple(_windows(sight, begin, end)), 1 - appeal([sight.rating_tenths])
        )
        begins = candidate.visit(way)
        if begins is not None and begins + sight.duration_minutes + way <= last:
            fitting.append(candidate)
    fitting.sort(key=lambda each: (each.missed, each.sight.duration_minutes))
    return fitting[:MOST_CANDIDATES]


def _windows(sight: Sight, begin: datetime, end: datetime) -> Iterator[tuple[int, int]]:
    """Yield when a place is open, within the hours at which a city can be visited."""
    for opens, closes in sight.hours.spans(begin, end):
        day = opens.date()
        while day <= closes.date():
            midnight = datetime.combine(day, time())
            first = max(opens, midnight + OPENS * MINUTE)
            last = min(closes, midnight + CLOSES * MINUTE)
            if first < last:
                yield (first - begin) // MINUTE, (last - begin) // MINUTE
            day += timedelta(days=1)


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
