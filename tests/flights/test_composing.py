"""Composed itineraries against a brute force that looks at every combination."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.flights import connections as builder
from apps.flights.composing import (
    CLASS_MINUTES,
    DETOUR,
    NONE,
    QUALITY_HOURS,
    Asked,
    Itineraries,
    Limits,
    Nonstops,
    compose,
    distances,
    minimums,
    one_stops,
    two_stops,
)
from apps.flights.connection_times import KINDS, ConnectionTimes, Rule
from apps.flights.connections import skyline, sorted_legs
from apps.flights.ground import Places, Stays, places, spendable
from apps.flights.network import great_circle_miles

CODES = ("AAA", "BBB", "CCC", "DDD")
CARRIERS = ("UA", "LH")
TERMINALS = ("", "1", "2")
DEFAULTS = tuple(Rule(None, kind, None, None, None, None, 40) for kind in KINDS)

LIMITS = Limits(
    max_stops=2,
    max_layover=900,
    max_two_stop_layover=400,
    max_journey=2000,
    shortest_layover=30,
    few_offers=1_000,
    per_route=1_000,
    per_day=100_000,
)


@dataclass(frozen=True)
class Flight:
    origin: int
    destination: int
    departs: int
    minutes: int
    price: int
    carrier: str
    terminals: tuple[str, str]
    offset: int
    # minute of the day on the origin's clock
    clock: int

    @property
    def arrives(self) -> int:
        return self.departs + self.minutes


flights = st.builds(
    Flight,
    st.integers(0, len(CODES) - 1),
    st.integers(0, len(CODES) - 1),
    # In the year 2025, across a midnight.
    st.integers(0, 120).map(lambda tens: 29_000_000 + 10 * tens),
    st.integers(1, 20).map(lambda tens: 10 * tens),
    st.integers(0, 4).map(lambda hundreds: 100 * hundreds),
    st.sampled_from(CARRIERS),
    st.tuples(st.sampled_from(TERMINALS), st.sampled_from(TERMINALS)),
    st.sampled_from((-480, 0, 60)),
    st.integers(0, 23).map(lambda hour: 60 * hour),
).filter(lambda flight: flight.origin != flight.destination)


@st.composite
def journeys(draw: st.DrawFn) -> list[Flight]:
    """Flights that follow each other, as chance would seldom have it, from west to east."""
    legs, moment = [], 29_000_000
    for origin, destination in itertools.pairwise(range(len(CODES))):
        moment += 10 * draw(st.integers(4, 30))
        flight = draw(flights)
        legs.append(replace(flight, origin=origin, destination=destination, departs=moment))
        moment = legs[-1].arrives
    return legs


schedules = st.builds(
    lambda chance, *chains: [*chance, *itertools.chain(*chains)],
    st.lists(flights, min_size=2, max_size=8),
    journeys(),
    journeys(),
)

rules = st.builds(
    lambda airport, kind, one, other, pair, minutes: Rule(
        airport, kind, one, other, *((pair if airport else None) or (None, None)), minutes
    ),
    st.sampled_from((None, *CODES)),
    st.sampled_from(KINDS),
    st.sampled_from((None, *CARRIERS)),
    st.sampled_from((None, *CARRIERS)),
    st.sampled_from((None, ("1", "1"), ("1", "2"))),
    st.integers(0, 10).map(lambda tens: 10 * tens),
)

worlds = st.lists(
    st.tuples(
        st.sampled_from(("DE", "US", "TR")), st.integers(40, 42), st.integers(-10, 10),
    ),
    min_size=len(CODES),
    max_size=len(CODES),
).map(
    lambda rows: places(
        [
            {
                "iata": code, "country": country, "latitude": latitude, "longitude": longitude,
                "exit_minutes": None, "transfer_minutes": 10, "buffer_minutes": 20,
            }
            for code, (country, latitude, longitude) in zip(
                CODES, sorted(rows, key=lambda row: row[2]), strict=True
            )
        ]
    )
)  # fmt: skip

# Nearly everything is wanted, so that there is something to find.
wishes = st.lists(st.integers(0, 9), min_size=len(CODES) ** 2, max_size=len(CODES) ** 2).map(
    lambda cells: np.array(cells).reshape(len(CODES), len(CODES)) > 0
)
few_wishes = st.lists(st.booleans(), min_size=len(CODES) ** 2, max_size=len(CODES) ** 2).map(
    lambda cells: np.array(cells).reshape(len(CODES), len(CODES))
)

rule_sets = st.lists(rules, max_size=6).map(
    lambda found: ConnectionTimes(
        {
            (r.airport, r.kind, r.arriving_carrier, r.departing_carrier, r.terminals): r
            for r in (*DEFAULTS, *found)
        }.values()
    )
)


def nonstops_of(
    schedule: list[Flight], times: ConnectionTimes, known: Places, *, self_transfer: int = 20
) -> tuple[Nonstops, list[Flight]]:
    """Return a schedule as arrays, and in their order; every second flight is the day's."""
    legs, order = sorted_legs(
        np.array([flight.origin for flight in schedule], dtype=np.int32),
        np.array([flight.destination for flight in schedule], dtype=np.int32),
        np.array([flight.departs for flight in schedule], dtype=np.int64),
        np.array([flight.arrives for flight in schedule], dtype=np.int64),
    )
    ordered = [schedule[place] for place in order.tolist()]
    arriving, departing, minimum, minimum_of = minimums(
        CODES,
        legs,
        [flight.carrier for flight in ordered],
        [flight.terminals for flight in ordered],
        known.border,
        times,
        self_transfer=self_transfer,
    )
    return Nonstops(
        codes=CODES,
        legs=legs,
        price=np.array([flight.price for flight in ordered], dtype=np.int64),
        offset=np.array([flight.offset for flight in ordered], dtype=np.int64),
        clock=np.array([flight.clock for flight in ordered], dtype=np.int64),
        on_day=np.arange(0, len(ordered), 2, dtype=np.int32),
        arriving=arriving,
        departing=departing,
        minimum=minimum,
        minimum_of=minimum_of,
    ), ordered


def change_minutes(
    times: ConnectionTimes, known: Places, before: Flight, after: Flight, self_transfer: int = 20
) -> int:
    def letter(flight: Flight) -> str:
        same = known.border[flight.origin] == known.border[flight.destination]
        return "D" if same else "I"

    pair = (before.terminals[1], after.terminals[0])
    (found,) = times.minutes(
        airport=[CODES[after.origin]],
        kind=[letter(before) + letter(after)],
        arriving_carrier=[before.carrier],
        departing_carrier=[after.carrier],
        terminals=[pair if all(pair) else None],
    )
    return int(found) + self_transfer


def usable_hours(known: Places, before: Flight, after: Flight) -> int:
    forward = (after.clock - after.departs - before.offset) % 1440
    change = forward - 1440 if forward >= 720 else forward
    stay = Stays(
        *(
            np.array([value], dtype=np.int64)
            for value in (
                before.destination, before.origin, after.destination, before.arrives,
                after.departs, before.offset, change,
            )
        )
    )  # fmt: skip
    return min(int(spendable(known, stay).usable[0]) // 60, QUALITY_HOURS)


Outcome = tuple[int, int, int, int, int, int]


def brute_force(
    ordered: list[Flight],
    stops: int,
    wanted: np.ndarray,
    limits: Limits,
    known: Places,
    times: ConnectionTimes,
) -> Iterator[tuple[tuple[int, ...], Outcome]]:
    """Yield every itinerary that may be offered: positions, and what decides between them."""
    miles = great_circle_miles(known.latitude, known.longitude)
    longest = limits.max_layover if stops == 1 else limits.max_two_stop_layover
    for positions in itertools.permutations(range(len(ordered)), stops + 1):
        if positions[0] % 2:
            continue
        journey = [ordered[position] for position in positions]
        changes = list(itertools.pairwise(journey))
        airports = [journey[0].origin, *(flight.destination for flight in journey)]
        waits = [after.departs - before.arrives for before, after in changes]
        minutes = journey[-1].arrives - journey[0].departs
        flown = sum(miles[one, other] for one, other in itertools.pairwise(airports))
        if (
            all(before.destination == after.origin for before, after in changes)
            and len(set(airports)) == len(airports)
            and wanted[airports[0], airports[-1]]
            and flown <= DETOUR * miles[airports[0], airports[-1]]
            and minutes <= limits.max_journey
            and all(
                max(change_minutes(times, known, before, after), limits.shortest_layover)
                <= wait
                <= longest
                for (before, after), wait in zip(changes, waits, strict=True)
            )
        ):
            yield (
                positions,
                (
                    airports[0],
                    airports[-1],
                    sum(max(waits) >= bound for bound in CLASS_MINUTES),
                    sum(flight.price for flight in journey),
                    minutes,
                    max(usable_hours(known, before, after) for before, after in changes),
                ),
            )


def unbeaten(outcomes: list[Outcome]) -> set[Outcome]:
    def beats(one: Outcome, other: Outcome) -> bool:
        return (
            one[:3] == other[:3]
            and one != other
            and one[3] <= other[3]
            and one[4] <= other[4]
            and one[5] >= other[5]
        )

    return {each for each in outcomes if not any(beats(other, each) for other in outcomes)}


def told(found: Itineraries) -> dict[tuple[int, ...], Outcome]:
    rows = zip(
        found.legs.tolist(),
        found.pair.tolist(),
        found.kind.tolist(),
        found.price.tolist(),
        found.minutes.tolist(),
        found.quality.tolist(),
        strict=True,
    )
    return {
        tuple(position for position in legs if position != NONE): (
            *divmod(pair, len(CODES)), kind, price, minutes, quality,
        )
        for legs, pair, kind, price, minutes, quality in rows
    }  # fmt: skip


@pytest.mark.parametrize("stops", [1, 2])
@given(
    schedules,
    wishes,
    worlds,
    rule_sets,
    st.integers(1, 60),
)
def test_stops__any_schedule__are_the_unbeaten_of_the_brute_force(
    stops: int,
    schedule: list[Flight],
    wanted: np.ndarray,
    known: Places,
    times: ConnectionTimes,
    chunk: int,
) -> None:
    nonstops, ordered = nonstops_of(schedule, times, known)
    miles = great_circle_miles(known.latitude, known.longitude)
    search = one_stops if stops == 1 else two_stops
    with patch.object(builder, "PAIRS_PER_CHUNK", chunk):
        found = told(search(nonstops, wanted, LIMITS, known, miles))
    possible = dict(brute_force(ordered, stops, wanted, LIMITS, known, times))
    assert found.items() <= possible.items()
    assert set(found.values()) == unbeaten(list(possible.values()))
    assert len(found) == len(set(found.values()))


@given(
    schedules,
    wishes,
    worlds,
    st.lists(st.integers(0, 3), min_size=len(CODES) ** 2, max_size=len(CODES) ** 2),
    few_wishes,
    st.integers(1, 3),
    st.integers(0, 5),
)
def test_compose__limits__keep_the_first_of_each_pair_before_a_second(
    schedule: list[Flight],
    wanted: np.ndarray,
    known: Places,
    own: list[int],
    always: np.ndarray,
    few: int,
    per_day: int,
) -> None:
    times = ConnectionTimes(DEFAULTS)
    nonstops, ordered = nonstops_of(schedule, times, known)
    miles = great_circle_miles(known.latitude, known.longitude)
    counts = np.array(own).reshape(len(CODES), len(CODES))
    asked = Asked(wanted | always, counts, always)
    limits = replace(LIMITS, few_offers=few, per_route=2, per_day=per_day)
    found = told(compose(nonstops, asked, limits, known, miles))

    one = set(
        unbeaten(
            [o for _, o in brute_force(ordered, 1, wanted | always, limits, known, times)]
        )
    )  # fmt: skip
    got = np.zeros_like(counts)
    for outcome in one:
        got[outcome[:2]] += 1
    short = (wanted | always) & (always | (counts + got < few))
    two = unbeaten([o for _, o in brute_force(ordered, 2, short, limits, known, times)])
    best = unbeaten([*one, *two])
    assert set(found.values()) <= best
    places_of = {pair: [o for o in best if o[:2] == pair] for pair in {o[:2] for o in best}}
    kept = {pair: sum(o[:2] == pair for o in found.values()) for pair in places_of}
    assert sum(kept.values()) == min(per_day, sum(min(2, len(o)) for o in places_of.values()))
    if per_day >= len(places_of):
        assert all(kept.values())
    else:
        assert max(kept.values()) <= 1

        def rank(pair: tuple[int, int]) -> int:
            return -1 if always[pair] else int(counts[pair])

        taken = [rank(pair) for pair, number in kept.items() if number]
        left = [rank(pair) for pair, number in kept.items() if not number]
        assert max(taken, default=-1) <= min(left)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.integers(0, 5), st.integers(0, 5), st.integers(0, 3),
        ),
        max_size=40,
    ),
    st.booleans(),
)  # fmt: skip
def test_skyline__any_offers__keeps_the_unbeaten_and_no_other(
    rows: list[tuple[int, int, int, int]], wide: bool
) -> None:
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    # High prices fit no packed key.
    price = columns[1] << 59 if wide else columns[1]
    kept = skyline(columns[0], price, columns[2], columns[3]).tolist()

    def beats(one: int, other: int) -> bool:
        (g, p, m, q), (h, r, n, s) = rows[one], rows[other]
        better = g == h and p <= r and m <= n and q >= s
        return better and ((p, m, q) != (r, n, s) or one < other)

    everyone = range(len(rows))
    assert sorted(kept) == [
        each for each in everyone if not any(beats(other, each) for other in everyone)
    ]
    assert [rows[each][:2] for each in kept] == sorted(rows[each][:2] for each in kept)


def test_distances__any_airports__are_great_circles() -> None:
    rng = np.random.default_rng(5)
    known = places(
        [
            {
                "iata": code, "country": "US", "latitude": latitude, "longitude": longitude,
                "exit_minutes": None, "transfer_minutes": None, "buffer_minutes": None,
            }
            for code, latitude, longitude in zip(
                map(str, range(60)), rng.uniform(-90, 90, 60), rng.uniform(-180, 180, 60),
                strict=True,
            )
        ]
    )  # fmt: skip
    expected = great_circle_miles(known.latitude, known.longitude)
    assert np.allclose(distances(known), expected, atol=1e-3)
