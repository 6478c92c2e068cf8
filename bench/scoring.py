"""Searches sorted by score, against the same searches sorted by price."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import psycopg

from bench import stage
from bench.flights import Client, Route, customer, filled, query, server
from bench.timing import in_turn, milliseconds, percentile
from layoverhq.stack import Endpoints

SORTS = ("price", "score")


def score(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """The database alone, and the API, by price and by score."""
    asked = filled(endpoints, options)
    tenant, token = customer()
    with psycopg.connect(endpoints.superuser_dsn(stage.LARGE), autocommit=True) as owner:
        # Every city has an appeal: what is missing would be quicker.
        owner.execute(
            "insert into layover_places (airport, appeal)"
            " select distinct airport, array_fill(50::smallint, array[17]) from flight_layovers"
            " on conflict do nothing"
        )
        owner.execute("analyze layover_places, arrival_delays")
    by_sort: dict[str, Callable[[Route], Any]] = {
        sort: database(endpoints, tenant, sort) for sort in SORTS
    }
    _tell("Sorted by score, the database alone", in_turn(by_sort, asked, rounds=options.rounds))
    with server(workers=1) as port:
        client = Client(port, token)
        _tell(
            "Sorted by score, the API",
            in_turn(
                {
                    sort: lambda route, sort=sort: client.ask(  # type: ignore[misc]
                        f"/api/v1/flights/search?{query(route)}&{urlencode({'sort': sort})}"
                    )
                    for sort in SORTS
                },
                asked,
                rounds=options.rounds,
            ),
        )


def database(endpoints: Endpoints, tenant: Any, sort: str) -> Callable[[Route], Any]:
    """Return the search's SQL in one order, sent by psycopg alone in one round trip."""
    from django.utils import timezone

    from apps.flights.airports import airports
    from apps.flights.grammar import parse_flight_search
    from apps.flights.queries import SEARCH, asked_record
    from layoverhq import context
    from layoverhq.postgres.base import begin_statement

    connection = psycopg.connect(
        endpoints.url("layoverhq_app", stage.LARGE),
        autocommit=True,
        cursor_factory=psycopg.ClientCursor,
    )
    with context.bind(enterprise_id=tenant.id):
        begin, settings = begin_statement(timeout_ms=30_000)
    records: dict[Route, str] = {}

    def run(route: Route) -> Any:
        if route not in records:
            search = parse_flight_search(
                f"{query(route)}&sort={sort}", zones=airports.get(), now=timezone.now()
            )
            records[route] = json.dumps(asked_record(tenant, search))
        cursor = connection.execute(
            f"{begin}; {SEARCH}; commit", {**settings, "asked": records[route]}
        )
        cursor.nextset()
        cursor.nextset()
        return cursor.fetchone()

    return run


def _tell(title: str, samples: dict[str, list[float]]) -> None:
    print(f"\n{title}")
    for sort, times in samples.items():
        print(f"  by {sort:<8} p50 / p99 ms: {milliseconds(times)}")
    middle = statistics.median(samples["score"]) / statistics.median(samples["price"])
    high = percentile(samples["score"], 0.99) / percentile(samples["price"], 0.99)
    print(f"  score / price p50: {middle:.2f}, p99: {high:.2f} (aim: at most 1.5)")
