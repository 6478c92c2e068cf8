"""The demo's inventory: real where it says so, the same every time, and fit for layovers."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import airportsdata
import numpy as np
import pytest
from numpy.typing import NDArray

from apps.flights.demo import (
    DETOUR,
    MAXIMUM_LAYOVER_MINUTES,
    MINIMUM_CONNECTION_MINUTES,
    DemoOffers,
    busiest_routes,
    copy_lines,
    demo_offers,
)
from apps.flights.fares import fares
from apps.flights.ground import places
from apps.flights.network import Schedule, network, schedule

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SPRING_FORWARD = date(2027, 3, 14)
FALL_BACK = date(2027, 11, 7)
# As `layover.min_duration` is declared.
SHORTEST = 90


@pytest.fixture(scope="module")
def offers() -> DemoOffers:
    return demo_offers(date(2026, 12, 2), minimum_layover_minutes=SHORTEST)


def test_network__week__has_every_airport_placed_and_timed() -> None:
    net = network()
    assert len(net.codes) == 221
    assert sum(len(day) for day in net.weekdays) > 116_000
    assert all(ZoneInfo(zone) for zone in net.zones)
    sfo, jfk = net.codes.index("SFO"), net.codes.index("JFK")
    assert net.miles[sfo, jfk] == pytest.approx(2586, abs=10)


@pytest.mark.parametrize("day", [SPRING_FORWARD, FALL_BACK, date(2026, 12, 2)])
def test_schedule__any_day__agrees_with_zoneinfo(day: date) -> None:
    plan = schedule(day, before_days=0, after_days=0)
    net = network()
    sample = np.random.default_rng(7).choice(plan.on_day, 400, replace=False)
    for leg in [*sample.tolist(), *_early_legs(plan)]:
        zone = ZoneInfo(net.zones[plan.legs.origin[leg]])
        departs = EPOCH + timedelta(minutes=int(plan.legs.departure[leg]))
        assert _clock(departs, zone) == plan.departure_local[leg]
        assert departs.astimezone(zone).date() == day
        lands = EPOCH + timedelta(minutes=int(plan.legs.arrival[leg]))
        there = ZoneInfo(net.zones[plan.legs.destination[leg]])
        assert _clock(lands, there) == plan.arrival_local[leg]


def _clock(moment: datetime, zone: ZoneInfo) -> int:
    local = moment.astimezone(zone).replace(tzinfo=UTC)
    return (local - EPOCH) // timedelta(minutes=1)


def _early_legs(plan: Schedule) -> list[int]:
    """Return the departures around the hour at which clocks change."""
    minute = plan.departure_local % 1440
    return np.flatnonzero((minute > 0) & (minute < 240)).tolist()


def test_schedule__clocks_go_forward__flight_time_stays() -> None:
    net = network()
    night = schedule(SPRING_FORWARD - timedelta(days=1), before_days=0, after_days=0)
    usual = schedule(SPRING_FORWARD - timedelta(days=8), before_days=0, after_days=0)
    week = 7 * 1440
    flying = night.legs.arrival - night.legs.departure
    assert sorted(flying) == sorted(usual.legs.arrival - usual.legs.departure)
    # Flights that land after the change land an hour later by the clock, in UTC as ever.
    assert sorted(night.legs.arrival) == sorted(usual.legs.arrival + week)
    late = (
        np.isin(night.legs.destination, [net.codes.index("JFK")])
        & (night.arrival_local % 1440 > 180)
        & (night.arrival_local // 1440 > night.departure_local // 1440)
    )
    assert late.any()
    assert set(night.arrival_local[late] - night.legs.arrival[late]) == {-240}


def test_demo_offers__one_day__has_the_size_that_a_start_can_afford(offers: DemoOffers) -> None:
    assert 60_000 < len(offers) < 90_000


def test_demo_offers__one_stops__are_connections_that_a_traveller_would_take(
    offers: DemoOffers,
) -> None:
    legs, net = offers.schedule.legs, network()
    stops = offers.second >= 0
    first, second = offers.first[stops], offers.second[stops]
    layover = layovers(offers)
    assert layover.min() == SHORTEST
    assert layover.max() <= MAXIMUM_LAYOVER_MINUTES
    via, origin, destination = legs.origin[second], legs.origin[first], legs.destination[second]
    assert (via == legs.destination[first]).all()
    assert (origin != destination).all()
    flown = net.miles[origin, via] + net.miles[via, destination]
    assert (flown <= DETOUR * net.miles[origin, destination]).all()


def layovers(offers: DemoOffers) -> NDArray[np.int64]:
    """Return the minutes of every one-stop offer's layover."""
    legs, stops = offers.schedule.legs, offers.second >= 0
    return legs.departure[offers.second[stops]] - legs.arrival[offers.first[stops]]


@pytest.mark.parametrize(
    ("minimum", "shortest"),
    [
        (0, MINIMUM_CONNECTION_MINUTES),
        (MINIMUM_CONNECTION_MINUTES, MINIMUM_CONNECTION_MINUTES),
        (300, 300),
        (MAXIMUM_LAYOVER_MINUTES, MAXIMUM_LAYOVER_MINUTES),
    ],
)
def test_demo_offers__minimum_layover__is_the_shortest_but_never_below_the_connection_time(
    offers: DemoOffers, minimum: int, shortest: int
) -> None:
    assert layovers(demo_offers(offers.day, minimum_layover_minutes=minimum)).min() == shortest


def test_demo_offers__minimum_beyond_the_longest_layover__leaves_the_nonstops(
    offers: DemoOffers,
) -> None:
    few = demo_offers(offers.day, minimum_layover_minutes=MAXIMUM_LAYOVER_MINUTES + 1)
    assert len(few) == (offers.second < 0).sum() > 0
    assert (few.second < 0).all()


def test_demo_offers__prices__lie_between_the_real_quartiles(offers: DemoOffers) -> None:
    legs, net = offers.schedule.legs, network()
    fare = fares(net.codes)
    last = np.where(offers.second >= 0, offers.second, offers.first)
    pair = legs.origin[offers.first].astype(np.int64) * len(net.codes) + legs.destination[last]
    assert fare.known[pair].all()
    assert (offers.price_minor >= fare.quartiles[0, pair]).all()
    assert (offers.price_minor <= fare.quartiles[2, pair]).all()


def test_demo_offers__same_day__are_the_same(offers: DemoOffers) -> None:
    again = demo_offers(offers.day, minimum_layover_minutes=SHORTEST)
    known = places(
        [
            {
                **{name: found[name] for name in ("iata", "country")},
                "latitude": found["lat"],
                "longitude": found["lon"],
                **dict.fromkeys(("exit_minutes", "transfer_minutes", "buffer_minutes")),
            }
            for found in airportsdata.load("IATA").values()
        ]
    )
    lines = list(copy_lines(offers, known=known))
    assert list(copy_lines(again, known=known)) == lines


def test_demo_offers__busy_route__has_plenty_of_long_layovers_at_several_hubs(
    offers: DemoOffers,
) -> None:
    legs, codes = offers.schedule.legs, network().codes
    last = np.where(offers.second >= 0, offers.second, offers.first)
    here = (
        (legs.origin[offers.first] == codes.index("SFO"))
        & (legs.destination[last] == codes.index("JFK"))
        & (offers.second >= 0)
    )
    layover = legs.departure[last[here]] - legs.arrival[offers.first[here]]
    long = (layover >= 480) & (layover <= 1200)
    assert long.sum() >= 10
    assert (layover <= 180).sum() >= 5
    assert len(set(legs.destination[offers.first[here]][long])) >= 3


def test_busiest_routes__known_pairs__begin_with_the_most_flown() -> None:
    routes = busiest_routes(50)
    assert len(set(routes)) == 50
    assert ("SFO", "JFK") in busiest_routes(500)
