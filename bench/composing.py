"""Composing itineraries of a day: against bisect in plain Python and a self-join in SQL."""

from __future__ import annotations

import argparse
import statistics
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import psycopg

from bench import stage
from layoverhq.stack import Endpoints

DAY = date(2026, 12, 2)
# Within it the largest database has nothing else.
DAYS_AHEAD = 45
SELF_JOIN = """
select count(*)
from bench_legs a
join bench_minimum m on m.airport = a.destination
join bench_legs b
    on b.origin = a.destination
    and b.departs between a.arrives + greatest(m.minutes, 90) and a.arrives + 1200
    and b.departs <= a.departs + 2160
join bench_miles direct on direct.origin = a.origin and direct.destination = b.destination
join bench_miles one on one.origin = a.origin and one.destination = a.destination
join bench_miles two on two.origin = b.origin and two.destination = b.destination
where a.on_day
    and b.arrives - a.departs <= 2160
    and one.miles + two.miles <= 1.6 * direct.miles
"""


def day(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """Itineraries of one and two stops between all city pairs of the demo's network."""
    from apps.flights import composing

    nonstops, known, limits = legs_of_the_demo()
    airports = len(nonstops.codes)
    miles = composing.distances(known)
    wanted = ~np.eye(airports, dtype=bool)
    one = composing.one_stops(nonstops, wanted, limits, known, miles)
    got = np.bincount(one.pair, minlength=airports**2).reshape(airports, airports)
    few = wanted & (got < limits.few_offers)
    two = composing.two_stops(nonstops, few, limits, known, miles)

    print(
        f"\nComposing a day: {len(nonstops.on_day):,} legs of the day, {len(nonstops.price):,} read"
    )
    contenders: dict[str, Callable[[], Any]] = {
        "one stop, numpy": lambda: composing.one_stops(nonstops, wanted, limits, known, miles),
        "one stop, bisect": lambda: by_bisect(nonstops, limits, known, miles),
        "two stops, numpy": lambda: composing.two_stops(nonstops, few, limits, known, miles),
    }
    times: dict[str, list[float]] = {name: [] for name in (*contenders, "one stop, SQL join")}
    plain = by_bisect(nonstops, limits, known, miles)
    assert sorted(plain) == outcomes(one), "the same itineraries"
    with psycopg.connect(endpoints.superuser_dsn(stage.LARGE), autocommit=True) as server:
        joined = prepare_join(server, nonstops, miles)
        for number in range(options.rounds + 1):
            for name, run in contenders.items():
                began = time.perf_counter()
                run()
                if number:
                    times[name].append(time.perf_counter() - began)
            began = time.perf_counter()
            row = server.execute(SELF_JOIN).fetchone()
            if number:
                times["one stop, SQL join"].append(time.perf_counter() - began)
        assert row is not None
        assert joined == row[0]
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, found in (("one stop, numpy", one), ("two stops, numpy", two)):
        seconds = medians[name]
        print(
            f"  {name:<20} {seconds:6.2f} s, {found.examined:,} pairs looked at,"
            f" {found.examined / seconds / 1e6:.1f} million/s; {len(found):,} unbeaten of"
            f" {len(np.unique(found.pair)):,} city pairs"
        )
    print(f"  {'one stop, bisect':<20} {medians['one stop, bisect']:6.2f} s, the same itineraries")
    print(
        f"  {'one stop, SQL join':<20} {medians['one stop, SQL join']:6.2f} s to count"
        f" {row[0]:,} possible ones, without the choice among them"
    )
    for name in ("one stop, bisect", "one stop, SQL join"):
        print(f"  {name} / numpy: {medians[name] / medians['one stop, numpy']:.1f}")


def stored(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """A day of the demo's offers read, composed and stored; then again, nothing or little new."""
    from django.utils import timezone

    from apps.flights.composed_days import compose_day
    from apps.flights.models import Flight
    from apps.flights.operations import load_demo_days
    from layoverhq.tenancy import operator_scope

    first = timezone.now().date() + timedelta(days=DAYS_AHEAD)
    days = [first + timedelta(days=shift) for shift in range(4)]
    with psycopg.connect(endpoints.superuser_dsn(stage.LARGE), autocommit=True) as server:
        try:
            with operator_scope():
                loaded = load_demo_days(days=days)
                server.execute("analyze flights")

                def run(anew: bool = False) -> tuple[float, Any]:
                    began = time.perf_counter()
                    composed = compose_day(day=first, now=timezone.now(), anew=anew)
                    return time.perf_counter() - began, composed

                print(f"\nComposing and storing a day, beside {loaded:,} offers of four days")
                seconds, composed = run()
                assert composed is not None
                print(
                    f"  first                {seconds:6.2f} s: {composed.legs:,} legs,"
                    f" {composed.pairs:,} pairs, {composed.offers:,} offers of"
                    f" {composed.routes:,} city pairs ({composed.routes_asked:,} asked)"
                )
                seconds, nothing = run()
                assert nothing is None
                print(f"  nothing changed      {seconds:6.2f} s")
                seconds, composed = run(anew=True)
                written = composed.inserted + composed.updated + composed.deleted
                print(f"  composed anew        {seconds:6.2f} s, {written} offers written")
                some = Flight.objects.filter(departure_day=first, layover_count=0, enterprise=None)
                Flight.objects.filter(
                    departure_day=first, pk__in=list(some.values_list("pk", flat=True)[:800])
                ).update(price_minor=1)
                seconds, composed = run()
                written = composed.inserted + composed.updated + composed.deleted
                print(f"  800 legs dearer or cheaper {seconds:6.2f} s, {written:,} offers written")
        finally:
            around = [first - timedelta(days=1), days[-1]]
            for table, column in (
                ("flights", "departure_day"),
                ("flight_layovers", "departure_day"),
                ("inventory_loads", "day"),
                ("composed_days", "day"),
            ):
                server.execute(f"delete from {table} where {column} between %s and %s", around)


def legs_of_the_demo() -> tuple[Any, Any, Any]:
    """Return the demo's legs around a day as they would be read, without the database."""
    from airportsdata import load

    from apps.flights.composing import Limits, Nonstops, minimums
    from apps.flights.connection_times import KINDS, ConnectionTimes, Rule
    from apps.flights.fares import digests, fares, unit_draws
    from apps.flights.ground import places
    from apps.flights.network import network, schedule

    net, plan = network(), schedule(DAY, before_days=1, after_days=3)
    airports = load("IATA")
    known = places(
        [
            {
                "iata": code,
                "country": "US",
                "latitude": airports[code]["lat"],
                "longitude": airports[code]["lon"],
                "exit_minutes": None,
                "transfer_minutes": None,
                "buffer_minutes": None,
            }
            for code in net.codes
        ]
    )
    hubs = {"ATL": 55, "JFK": 60, "LAX": 60, "ORD": 50}
    times = ConnectionTimes(
        [
            *(Rule(None, kind, None, None, None, None, 45) for kind in KINDS),
            *(Rule(hub, "DD", None, None, None, None, minutes) for hub, minutes in hubs.items()),
        ]
    )
    legs = plan.legs
    draw = unit_draws(digests([legs.origin, legs.destination, legs.departure, legs.arrival]))
    names = fares(net.codes).carriers
    arriving, departing, minimum, minimum_of = minimums(
        net.codes,
        legs,
        [names[int(each * len(names))] for each in draw],
        [("", "")] * len(legs),
        known.border,
        times,
        self_transfer=60,
    )
    nonstops = Nonstops(
        codes=net.codes,
        legs=legs,
        price=(5_000 + draw * 20_000).astype(np.int64),
        offset=plan.arrival_local - legs.arrival,
        clock=plan.departure_local % (24 * 60),
        on_day=plan.on_day,
        arriving=arriving,
        departing=departing,
        minimum=minimum,
        minimum_of=minimum_of,
    )
    limits = Limits(
        max_stops=2,
        max_layover=1200,
        max_two_stop_layover=360,
        max_journey=2160,
        shortest_layover=90,
        few_offers=5,
        per_route=8,
        per_day=10_000,
    )
    return nonstops, known, limits


def by_bisect(nonstops: Any, limits: Any, known: Any, miles: Any) -> list[tuple[int, ...]]:
    """Return the same as `one_stops` the way one writes it in Python: sorted lists and bisect."""
    legs, flown = nonstops.legs, miles.tolist()
    origin, destination = legs.origin.tolist(), legs.destination.tolist()
    departs, arrives = legs.departure.tolist(), legs.arrival.tolist()
    price, offset, least = (
        each.tolist() for each in (nonstops.price, nonstops.offset, nonstops.minimum_of)
    )
    transfer, leave, buffer = (
        each.tolist() for each in (known.transfer, known.exit // 2, known.buffer // 2)
    )
    leaving: dict[int, list[int]] = defaultdict(list)
    for position, airport in enumerate(origin):
        leaving[airport].append(position)
    clock = {airport: [departs[p] for p in positions] for airport, positions in leaving.items()}

    def opened(local: int) -> int:
        days, minute = divmod(local, 1440)
        return days * 840 + min(max(minute - 480, 0), 840)

    groups: dict[tuple[int, int], list[tuple[int, int, int]]] = defaultdict(list)
    bounds = (90, 180, 300, 480, 660, 840, 1020)
    for first in nonstops.on_day.tolist():
        via, start, landed = destination[first], origin[first], arrives[first]
        if via not in clock:
            continue
        ends = departs[first] + limits.max_journey
        low = bisect_left(clock[via], landed + max(least[first], limits.shortest_layover))
        high = bisect_right(clock[via], min(landed + limits.max_layover, ends))
        begins = landed + leave[via] + transfer[via]
        open_before = opened(begins + offset[first])
        for second in leaving[via][low:high]:
            end = destination[second]
            if end == start or arrives[second] > ends:
                continue
            if flown[start][via] + flown[via][end] > 1.6 * flown[start][end]:
                continue
            back = max(departs[second] - buffer[via] - transfer[via], begins)
            usable = opened(back + offset[first]) - open_before
            kind = bisect_right(bounds, departs[second] - landed)
            groups[start * len(flown) + end, kind].append(
                (
                    price[first] + price[second],
                    arrives[second] - departs[first],
                    -min(usable // 60, 16),
                )
            )
    found = []
    for (pair, kind), offers in groups.items():
        kept: list[tuple[int, int, int]] = []
        for offer in sorted(offers):
            if not any(each[1] <= offer[1] and each[2] <= offer[2] for each in kept):
                kept.append(offer)
        found += [(pair, kind, cost, minutes, -quality) for cost, minutes, quality in kept]
    return found


def outcomes(found: Any) -> list[tuple[int, ...]]:
    """Return what decides between the itineraries, in order."""
    columns = (found.pair, found.kind, found.price, found.minutes, found.quality)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def prepare_join(server: psycopg.Connection[Any], nonstops: Any, miles: Any) -> int:
    """Put the legs into temporary tables with the index that the join wants; return its count."""
    legs = nonstops.legs
    on_day = np.zeros(len(legs), dtype=bool)
    on_day[nonstops.on_day] = True
    server.execute(
        "create temporary table bench_legs (origin int, destination int, departs bigint,"
        " arrives bigint, on_day boolean)"
    )
    server.execute("create temporary table bench_miles (origin int, destination int, miles float)")
    server.execute("create temporary table bench_minimum (airport int primary key, minutes int)")
    with server.cursor() as cursor:
        with cursor.copy("copy bench_legs from stdin") as copy:
            for row in zip(
                legs.origin.tolist(), legs.destination.tolist(), legs.departure.tolist(),
                legs.arrival.tolist(), on_day.tolist(), strict=True,
            ):  # fmt: skip
                copy.write_row(row)
        with cursor.copy("copy bench_miles from stdin") as copy:
            for (origin, destination), distance in np.ndenumerate(miles):
                if origin != destination:
                    copy.write_row((origin, destination, float(distance)))
        with cursor.copy("copy bench_minimum from stdin") as copy:
            lowest = dict(zip(legs.destination.tolist(), nonstops.minimum_of.tolist(), strict=True))
            for airport, minutes in lowest.items():
                copy.write_row((airport, minutes))
    server.execute("create index on bench_legs (origin, departs)")
    server.execute("create index on bench_miles (origin, destination) include (miles)")
    server.execute("vacuum analyze bench_legs, bench_miles, bench_minimum")
    row = server.execute(SELF_JOIN).fetchone()
    assert row is not None
    return int(row[0])
