"""Compose itineraries of one and two stops from nonstops: pure functions on numpy arrays.

Tickets are separate: whoever misses a flight buys another, and bags are claimed and checked in
again. So a connection takes what the airport needs at least and some time for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from apps.flights.connection_times import ConnectionTimes
from apps.flights.connections import Legs, followers, places_in_turn, skyline
from apps.flights.ground import Places, Stays, usable_minutes
from apps.flights.network import EARTH_RADIUS_MILES

Ints = NDArray[np.int64]
Positions = NDArray[np.int32]

# What flies more than so many times the direct distance is a detour.
DETOUR: Final = 1.6

# A layover's length is a wish and not a cost: itineraries compete within a class of the longest
# layover's length only, as the demo's do.
CLASS_MINUTES: Final = (90, 180, 300, 480, 660, 840, 1020)
CLASSES: Final = len(CLASS_MINUTES) + 1

DAY_MINUTES: Final = 24 * 60

# The quality of a layover is what it leaves for the city in whole hours: ten minutes more are none.
QUALITY_HOURS: Final = 16

NONE: Final = -1


@dataclass(frozen=True, slots=True)
class Limits:
    """What is composed at most, in minutes, and how much is kept of it."""

    max_stops: int
    max_layover: int
    max_two_stop_layover: int
    max_journey: int
    shortest_layover: int
    few_offers: int
    per_route: int
    per_day: int


@dataclass(frozen=True, slots=True)
class Nonstops:
    """Flights on sale as parallel arrays, in the order of `Legs`; airports count in `codes`.

    `offset` is what the clock shows on arrival, less UTC, and `clock` the minute of the day that it
    shows on departure. `on_day` are the positions that depart on the day, by the origin's calendar.
    `arriving` and `departing` say to what of `minimum` a leg belongs: the minimum of a change from
    leg a to leg b of the same airport is `minimum[arriving[a] + departing[b]]`, `minimum_of` the
    least for a, whatever follows.
    """

    codes: tuple[str, ...]
    legs: Legs
    price: Ints
    offset: Ints
    clock: Ints
    on_day: Positions
    arriving: Ints
    departing: Ints
    minimum: Ints
    minimum_of: Ints


@dataclass(frozen=True, slots=True)
class Asked:
    """City pairs by airport, `[origin, destination]`.

    `wanted` are those asked for; `own` counts the offers that they have without ours; `always` are
    those that get two stops, and the first places of a full day, whatever they have.
    """

    wanted: NDArray[np.bool_]
    own: Ints
    always: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Itineraries:
    """Positions of legs, -1 for no third one, and what they cost together.

    Sorted by city pair, class of layover and price.
    """

    legs: NDArray[np.int32]
    pair: Ints
    kind: Ints
    price: Ints
    minutes: Ints
    quality: Ints
    examined: int = 0

    def __len__(self) -> int:
        return len(self.price)

    def at(self, positions: Ints, examined: int | None = None) -> Itineraries:
        """Return those at the positions, in that order."""
        return Itineraries(
            self.legs[positions],
            self.pair[positions],
            self.kind[positions],
            self.price[positions],
            self.minutes[positions],
            self.quality[positions],
            self.examined if examined is None else examined,
        )


def compose(
    nonstops: Nonstops, asked: Asked, limits: Limits, known: Places, miles: NDArray[np.float64]
) -> Itineraries:
    """Return the itineraries worth offering that depart on the day.

    Two stops are composed for pairs that have few offers even with the ones of one stop. A pair
    keeps `per_route` from its classes in turns; a day keeps `per_day`, of each pair the first
    before the second of any, and of pairs those first that are always wanted or have the fewest.
    """
    airports = len(nonstops.codes)
    found = one_stops(nonstops, asked.wanted, limits, known, miles)
    if limits.max_stops > 1:
        got = np.bincount(found.pair, minlength=airports**2).reshape(airports, airports)
        short = asked.wanted & (asked.always | (asked.own + got < limits.few_offers))
        found = _joined([found, two_stops(nonstops, short, limits, known, miles)])
        found = _unbeaten(found)
    _, owner = np.unique(found.pair, return_inverse=True)
    place = places_in_turn(owner, found.kind)
    kept = np.flatnonzero(place < limits.per_route)
    if len(kept) > limits.per_day:
        rank = np.where(asked.always, -1, asked.own).reshape(-1)[found.pair[kept]]
        kept = np.sort(kept[np.lexsort((kept, rank, place[kept]))[: limits.per_day]])
    return found.at(kept)


def one_stops(
    nonstops: Nonstops,
    wanted: NDArray[np.bool_],
    limits: Limits,
    known: Places,
    miles: NDArray[np.float64],
) -> Itineraries:
    """Return the unbeaten itineraries of two legs between the wanted pairs."""
    farthest = _farthest(wanted, miles)
    fronts, examined = [_nothing()], 0
    sought = _sought(nonstops, wanted)
    for rows, second, seen in _changes(nonstops, sought[:, None], limits, limits.max_layover):
        examined += seen
        origin, destination = nonstops.legs.origin[rows[:, 0]], nonstops.legs.destination[second]
        via = nonstops.legs.origin[second]
        flown = miles[origin, via] + miles[via, destination]
        keep = flown <= farthest[origin, destination]
        legs = np.column_stack([rows[keep], second[keep]])
        # Whoever is beaten within a chunk is beaten in the whole.
        fronts.append(_unbeaten(_priced(nonstops, legs, known)))
    return _unbeaten(_joined(fronts), examined)


def two_stops(
    nonstops: Nonstops,
    wanted: NDArray[np.bool_],
    limits: Limits,
    known: Places,
    miles: NDArray[np.float64],
) -> Itineraries:
    """Return the unbeaten itineraries of three legs between the wanted pairs."""
    farthest = _farthest(wanted, miles)
    reach = _reach(nonstops.legs, wanted, miles)
    fronts, examined = [_nothing()], 0
    sought = _sought(nonstops, wanted)
    longest = limits.max_two_stop_layover
    for rows, second, seen in _changes(nonstops, sought[:, None], limits, longest):
        examined += seen
        origin, via = nonstops.legs.origin[rows[:, 0]], nonstops.legs.origin[second]
        then = nonstops.legs.destination[second]
        flown = miles[origin, via] + miles[via, then]
        begun = np.flatnonzero((flown <= reach[origin, then]) & (then != origin))
        started = np.column_stack([rows[begun], second[begun]])
        for before, third, looked_at in _changes(nonstops, started, limits, longest):
            examined += looked_at
            one, two, three = (nonstops.legs.origin[part] for part in (*before.T, third))
            destination = nonstops.legs.destination[third]
            total = miles[one, two] + miles[two, three] + miles[three, destination]
            keep = (total <= farthest[one, destination]) & (destination != two)
            legs = np.column_stack([before[keep], third[keep]])
            fronts.append(_unbeaten(_priced(nonstops, legs, known)))
    return _unbeaten(_joined(fronts), examined)


def _sought(nonstops: Nonstops, wanted: NDArray[np.bool_]) -> Positions:
    """Return the day's legs from where any pair is wanted."""
    origins = np.flatnonzero(wanted.any(axis=1))
    return nonstops.on_day[np.isin(nonstops.legs.origin[nonstops.on_day], origins)]


def _changes(
    nonstops: Nonstops, before: Positions, limits: Limits, longest: int
) -> Iterator[tuple[Positions, Positions, int]]:
    """Yield what can follow the rows of legs, in chunks: the rows, the next legs, how many seen.

    A change takes what it takes at least and `longest` minutes at most, and the whole stays within
    the longest journey.
    """
    legs = nonstops.legs
    last = before[:, -1]
    landed = legs.arrival[last]
    ends = legs.departure[before[:, 0]] + limits.max_journey
    for start, row, following in followers(
        legs,
        legs.destination[last],
        landed + np.maximum(nonstops.minimum_of[last], limits.shortest_layover),
        np.minimum(landed + longest, ends),
    ):
        rows = before[start:][row]
        arrived = rows[:, -1]
        least = nonstops.minimum[nonstops.arriving[arrived] + nonstops.departing[following]]
        keep = (legs.departure[following] - legs.arrival[arrived] >= least) & (
            legs.arrival[following] <= ends[start:][row]
        )
        yield rows[keep], following[keep], len(row)


def _priced(nonstops: Nonstops, legs: Positions, known: Places) -> Itineraries:
    """Return the itineraries of legs in columns, with what decides between them."""
    departure, arrival = nonstops.legs.departure[legs], nonstops.legs.arrival[legs]
    quality = np.zeros(len(legs), dtype=np.int64)
    longest = np.zeros(len(legs), dtype=np.int64)
    for change in range(legs.shape[1] - 1):
        usable = usable_minutes(known, stays(nonstops, legs[:, change], legs[:, change + 1]))
        quality = np.maximum(quality, np.minimum(usable // 60, QUALITY_HOURS))
        longest = np.maximum(longest, departure[:, change + 1] - arrival[:, change])
    pair = (
        nonstops.legs.origin[legs[:, 0]].astype(np.int64) * len(nonstops.codes)
        + nonstops.legs.destination[legs[:, -1]]
    )
    three = np.full((len(legs), 3), NONE, dtype=np.int32)
    three[:, : legs.shape[1]] = legs
    return Itineraries(
        legs=three,
        pair=pair,
        kind=np.searchsorted(CLASS_MINUTES, longest, "right"),
        price=nonstops.price[legs].sum(axis=1),
        minutes=arrival[:, -1] - departure[:, 0],
        quality=quality,
    )


def stays(nonstops: Nonstops, first: Positions, second: Positions) -> Stays:
    """Return the layovers between the legs at the positions; airports count in `codes`."""
    legs = nonstops.legs
    offset, departure = nonstops.offset[first], legs.departure[second]
    # No clock is put forward or back by half a day.
    ahead = nonstops.clock[second] - departure - offset
    change = (ahead + DAY_MINUTES // 2) % DAY_MINUTES - DAY_MINUTES // 2
    return Stays(
        airport=legs.destination[first].astype(np.int64),
        origin=legs.origin[first].astype(np.int64),
        destination=legs.destination[second].astype(np.int64),
        arrival=legs.arrival[first],
        departure=departure,
        offset=offset,
        change=change,
    )


def _unbeaten(found: Itineraries, examined: int | None = None) -> Itineraries:
    group = found.pair * CLASSES + found.kind
    return found.at(skyline(group, found.price, found.minutes, found.quality), examined)


def _joined(parts: Sequence[Itineraries]) -> Itineraries:
    return Itineraries(
        np.concatenate([part.legs for part in parts]),
        np.concatenate([part.pair for part in parts]),
        np.concatenate([part.kind for part in parts]),
        np.concatenate([part.price for part in parts]),
        np.concatenate([part.minutes for part in parts]),
        np.concatenate([part.quality for part in parts]),
        sum(part.examined for part in parts),
    )


def _nothing() -> Itineraries:
    none = np.empty(0, dtype=np.int64)
    return Itineraries(np.empty((0, 3), dtype=np.int32), none, none, none, none, none)


def _farthest(wanted: NDArray[np.bool_], miles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far one may fly between two airports; no distance is that short if not wanted."""
    farthest: NDArray[np.float64] = np.where(wanted, DETOUR * miles, -1.0)
    np.fill_diagonal(farthest, -1.0)
    return farthest


def _reach(
    legs: Legs, wanted: NDArray[np.bool_], miles: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how far one may have flown from an origin to an airport with a leg to go.

    From there some wanted destination has a nonstop and is no detour.
    """
    flies = np.zeros_like(wanted)
    flies[legs.origin, legs.destination] = True
    left = np.where(flies, -miles, -np.inf)
    reach = np.full(miles.shape, -np.inf)
    for origin in np.flatnonzero(wanted.any(axis=1)):
        ends = np.flatnonzero(wanted[origin])
        # Rounding must not refuse what the sum of the whole way allows.
        reach[origin] = (DETOUR * miles[origin, ends] + left[:, ends]).max(axis=1) + 1e-6
    return reach


def distances(known: Places) -> NDArray[np.float64]:
    """Return the distance in statute miles between any two airports, by their unit vectors."""
    phi, lam = np.radians(known.latitude), np.radians(known.longitude)
    points = np.column_stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
    chord = np.sqrt(np.maximum(2 - 2 * points @ points.T, 0))
    return np.asarray(2 * EARTH_RADIUS_MILES * np.arcsin(np.minimum(chord / 2, 1)))


def minimums(
    codes: Sequence[str],
    legs: Legs,
    carrier: Sequence[str],
    terminals: Sequence[tuple[str, str]],
    border: Ints,
    times: ConnectionTimes,
    *,
    self_transfer: int,
) -> tuple[Ints, Ints, Ints, Ints]:
    """Return `arriving`, `departing`, `minimum` and `minimum_of` of `Nonstops`.

    `terminals` are a leg's own, of departure and of arrival, empty where nobody says;
    `self_transfer` minutes are added to every minimum. Airports are looked at one by one, each with
    the kinds of arrivals and of departures that it has.
    """
    domestic = border[legs.origin] == border[legs.destination]
    letter = np.where(domestic, "D", "I").tolist()
    arrivals: list[dict[tuple[str, str, str], int]] = [{} for _ in codes]
    departures: list[dict[tuple[str, str, str], int]] = [{} for _ in codes]
    arriving, departing = np.empty(len(legs), np.int64), np.empty(len(legs), np.int64)
    origin, destination = legs.origin.tolist(), legs.destination.tolist()
    for leg in range(len(legs)):
        leaves, lands = terminals[leg]
        kinds = arrivals[destination[leg]]
        arriving[leg] = kinds.setdefault((letter[leg], carrier[leg], lands), len(kinds))
        kinds = departures[origin[leg]]
        departing[leg] = kinds.setdefault((letter[leg], carrier[leg], leaves), len(kinds))
    asked = [
        (codes[airport], one, other)
        for airport in range(len(codes))
        for one in arrivals[airport]
        for other in departures[airport]
    ]
    sizes = np.array(
        [len(one) * len(other) for one, other in zip(arrivals, departures, strict=True)],
        dtype=np.int64,
    )
    base = np.cumsum(sizes) - sizes
    width = np.array([len(each) for each in departures], dtype=np.int64)
    minimum = self_transfer + times.minutes(
        airport=[airport for airport, _, _ in asked],
        kind=[one[0] + other[0] for _, one, other in asked],
        arriving_carrier=[one[1] for _, one, _ in asked],
        departing_carrier=[other[1] for _, _, other in asked],
        terminals=[(one[2], other[2]) if one[2] and other[2] else None for _, one, other in asked],
    )
    there = legs.destination
    row = base[there] + arriving * width[there]
    least = np.zeros(len(legs), dtype=np.int64)
    goes_on = width[there] > 0
    if goes_on.any():
        starts = np.unique(row[goes_on])
        lowest = np.minimum.reduceat(minimum, starts) if len(starts) else minimum
        least[goes_on] = lowest[np.searchsorted(starts, row[goes_on])]
    return row, departing, minimum, least
