"""Layovers by place against a JSONB index, offers half of which are expired, popular routes."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import psycopg

from bench import stage
from bench.flights import PAGE, bare, customer, filled
from bench.timing import in_turn, milliseconds
from layoverhq.stack import Endpoints

# An airport and a day.
Place = tuple[str, Any]
LAYOVER = (480, 1200)
PLACES = 60
GIN = (stage.ROOT / "bench" / "sql" / "gin_layovers.sql").read_text()
MATERIALISED = (stage.ROOT / "bench" / "sql" / "materialised_routes.sql").read_text()


def by_place(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """Layovers of 8 to 20 hours in a city, the cheapest first: side table against JSONB."""
    filled(endpoints, options)
    tenant, _ = customer()
    asked = places(endpoints)
    with psycopg.connect(endpoints.superuser_dsn(stage.LARGE), autocommit=True) as owner:
        began = time.perf_counter()
        owner.execute(GIN)
        print(f"\nThe GIN index took {time.perf_counter() - began:.0f} s")
        try:
            owner.execute("vacuum analyze flights")
            ours = place_search(endpoints, tenant, "price")
            most_usable = place_search(endpoints, tenant, "usable")
            theirs = gin_search(endpoints, tenant)
            same = all(ids(ours(place)) == theirs(place) for place in asked)
            samples = in_turn(
                {
                    "side table, by price": ours,
                    "side table, the most usable first": most_usable,
                    "JSONB, GIN index": theirs,
                },
                asked,
                rounds=options.rounds,
            )
        finally:
            owner.execute("drop function gin_layovers; drop index bench_layovers_gin")
    print(f"Layovers of 8 to 20 hours in a city and on a day (same answers by price: {same})")
    for name, times in samples.items():
        print(f"  {name:<34} p50 / p99 ms: {milliseconds(times)}")
    medians = {name: statistics.median(times) for name, times in samples.items()}
    ratio = medians["JSONB, GIN index"] / medians["side table, by price"]
    print(f"  JSONB p50 / side table p50: {ratio:.1f} (aim: at least 5)")


def places(endpoints: Endpoints) -> list[Place]:
    """Return random airports and days that have layovers; the same ones each time."""
    with psycopg.connect(endpoints.superuser_dsn(stage.LARGE)) as server:
        return server.execute(
            """
            with hub as (
                select array_agg(iata order by iata) as codes
                from (
                    select iata from airports where country = 'US' order by iata limit 300
                ) as chosen
            )
            select
                codes[1 + abs(hashint8(n)) %% 300], current_date + 2 + abs(hashint8(n * 7)) %% 13
            from hub, generate_series(1, %s) as n
            """,
            [PLACES],
        ).fetchall()


def connection_of(
    endpoints: Endpoints, tenant: Any
) -> Callable[[str, dict[str, Any]], tuple[Any, ...]]:
    """Return what runs a query as the tenant, by psycopg alone, in one round trip."""
    from layoverhq import context
    from layoverhq.postgres.base import begin_statement

    connection = psycopg.connect(
        endpoints.url("layoverhq_app", stage.LARGE),
        autocommit=True,
        cursor_factory=psycopg.ClientCursor,
    )
    with context.bind(enterprise_id=tenant.id):
        begin, settings = begin_statement(timeout_ms=120_000)

    def run(query: str, parameters: dict[str, Any]) -> tuple[Any, ...]:
        cursor = connection.execute(f"{begin}; {query}; commit", {**settings, **parameters})
        cursor.nextset()
        cursor.nextset()
        row = cursor.fetchone()
        assert row is not None
        return row

    return run


def place_search(endpoints: Endpoints, tenant: Any, sort: str) -> Callable[[Place], str]:
    """Return the project's own search."""
    from apps.flights.grammar import Bounds
    from apps.flights.layover_search import SEARCH, LayoverSearch, place_record

    run = connection_of(endpoints, tenant)
    records = {
        place: json.dumps(
            place_record(LayoverSearch(*place, layover=Bounds(*LAYOVER), sort=sort, limit=PAGE))
        )
        for place in places(endpoints)
    }
    return lambda place: str(run(SEARCH, {"place": records[place], "asked": "{}"})[0])


def gin_search(endpoints: Endpoints, tenant: Any) -> Callable[[Place], list[str]]:
    """Return the same search over the offers' own JSONB; it has a function and a plan, too."""
    run = connection_of(endpoints, tenant)
    low, high = LAYOVER

    def search(place: Place) -> list[str]:
        airport, day = place
        row = run(
            "select gin_layovers(%(airport)s, %(day)s, %(low)s, %(high)s, %(page)s)",
            {"airport": airport, "day": day, "low": low, "high": high, "page": PAGE},
        )
        return [json.loads(body)["id"] for body in row[0] or []]

    return search


def ids(body: str) -> list[str]:
    return [result["offer"]["id"] for result in json.loads(body)["results"]]


def expired(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """The same search where none is expired, and where as many again are."""
    stage.prepare(endpoints, stage.EXPIRED)
    stage.fill(endpoints, stage.SMALL, options.small)
    stage.fill(endpoints, stage.EXPIRED, options.small, expired=True)
    tenant, _ = customer()
    asked = {
        name: stage.routes(endpoints, name, options.questions)
        for name in (stage.SMALL, stage.EXPIRED)
    }
    runs = {name: bare(endpoints, name, tenant) for name in asked}
    prices = {
        name: [
            [offer["price_minor"] for offer in json.loads(run(route)[0])["results"]]
            for route in asked[name]
        ]
        for name, run in runs.items()
    }
    same = prices[stage.SMALL] == prices[stage.EXPIRED]
    samples: dict[str, list[float]] = {name: [] for name in asked}
    for number in range(options.rounds + 1):
        for name, run in runs.items():
            times = in_turn({name: run}, asked[name], rounds=1)[name]
            samples[name] += times if number else []
    print(f"\nSearch by route and day, bare psycopg (same answers: {same})")
    print(f"  none expired  p50 / p99 ms: {milliseconds(samples[stage.SMALL])}")
    print(f"  half expired  p50 / p99 ms: {milliseconds(samples[stage.EXPIRED])}")
    ratio = statistics.median(samples[stage.EXPIRED]) / statistics.median(samples[stage.SMALL])
    print(f"  half / none p50: {ratio:.2f} (aim: at most 1.3)")


def popular(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """Counting popular routes: a day's roll-up against a materialised view's refresh."""
    filled(endpoints, options)
    from django.utils import timezone

    from apps.flights.models import PopularLayoverRoute, RouteDay, RouteDayRefresh
    from apps.flights.popularity import refresh_popular_routes, refresh_route_day
    from layoverhq.tenancy import operator_scope

    with operator_scope():
        for model in (RouteDay, RouteDayRefresh, PopularLayoverRoute):
            model.objects.all().delete()
        began = time.perf_counter()
        days = refresh_popular_routes(now=timezone.now())
        first = time.perf_counter() - began
        again = [
            _seconds(lambda day=day: refresh_route_day(day=day, now=timezone.now()))
            for day in RouteDayRefresh.objects.values_list("day", flat=True)
        ]
        routes = PopularLayoverRoute.objects.count()
    with psycopg.connect(endpoints.superuser_dsn(stage.LARGE), autocommit=True) as owner:
        owner.execute(MATERIALISED)
        try:
            refreshes = [
                _seconds(
                    lambda: owner.execute("refresh materialized view concurrently bench_routes")
                )
                for _ in range(3)
            ]
        finally:
            owner.execute("drop materialized view bench_routes")
    print(f"\nPopular routes ({routes:,} of them)")
    print(f"  {days} days for the first time         {first:6.1f} s")
    print(f"  one day again, nothing changed  {statistics.median(again):6.2f} s")
    print(
        f"  a materialised view, refreshed  {statistics.median(refreshes):6.1f} s, whatever changed"
    )


def _seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
