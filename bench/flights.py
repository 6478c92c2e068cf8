"""Searching and loading offers: against bare psycopg, bare COPY and the ORM."""

from __future__ import annotations

import argparse
import datetime
import http.client
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import psycopg

from bench import stage
from bench.timing import in_turn, milliseconds
from layoverhq.stack import Endpoints
from layoverhq.stack.ports import free_ports

LAYOVER = (120, 480)
PAGE = 20
Route = tuple[str, str, Any]
# A path, and what is posted there; None where it is got.
Asked = tuple[str, bytes | None]


def add_options(group: argparse._ArgumentGroup) -> None:
    """Declare how large the inventories are, and how much is asked of them."""
    group.add_argument("--offers", type=int, default=5_000_000, help="for the search")
    group.add_argument("--small", type=int, default=1_000_000, help="for the comparison of sizes")
    group.add_argument("--large", type=int, default=10_000_000, help="likewise")
    group.add_argument("--questions", type=int, default=300)


def bare(endpoints: Endpoints, database: str, tenant: Any) -> Callable[[Route], Any]:
    """Return the search's own SQL, sent by psycopg alone, in one round trip."""
    from apps.flights.queries import SEARCH
    from layoverhq import context
    from layoverhq.postgres.base import begin_statement

    connection = psycopg.connect(
        endpoints.url("layoverhq_app", database),
        autocommit=True,
        cursor_factory=psycopg.ClientCursor,
    )
    with context.bind(enterprise_id=tenant.id):
        begin, settings = begin_statement(timeout_ms=30_000)

    def run(route: Route) -> Any:
        cursor = connection.execute(
            f"{begin}; {SEARCH}; commit",
            {**settings, "asked": json.dumps(record(route))},
        )
        cursor.nextset()
        cursor.nextset()
        return cursor.fetchone()

    return run


def record(route: Route) -> dict[str, Any]:
    """Return the search as the application would hand it to SQL."""
    from apps.flights.grammar import parse_flight_search
    from apps.flights.queries import search_record

    if route not in _records:
        from django.utils import timezone

        from apps.flights.airports import airports

        _records[route] = search_record(
            parse_flight_search(query(route), zones=airports.get(), now=timezone.now())
        )
    return _records[route]


_records: dict[Route, dict[str, Any]] = {}


def query(route: Route) -> str:
    """Return the query string of the project's own endpoint."""
    origin, destination, day = route
    low, high = LAYOVER
    return urlencode(
        {
            "origin": origin,
            "destination": destination,
            "departure_date": day.isoformat(),
            "layover": f"{low}m..{high}m",
            "limit": PAGE,
        }
    )


def usual_query(route: Route) -> str:
    """Return the query string of the peer."""
    origin, destination, day = route
    return urlencode(
        {
            "origin": origin,
            "destination": destination,
            "departure_date": day.isoformat(),
            "layover_low": LAYOVER[0],
            "layover_high": LAYOVER[1],
            "limit": PAGE,
        }
    )


class Client:
    """One kept-alive HTTP connection, with as little of Python's own time as can be."""

    def __init__(self, port: int, token: str) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.headers = f" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"

    def ask(self, path: str, body: bytes | None = None) -> bytes:
        """Get the path, or post JSON there; return the answer's body."""
        if body is None:
            self.connection.sendall(f"GET {path}{self.headers}\r\n".encode())
        else:
            described = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            self.connection.sendall(f"POST {path}{self.headers}{described}".encode() + body)
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._block()
        head = received[:end].lower()
        length = int(head.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        while len(received) < end + 4 + length:
            received += self._block()
        answer = received[end + 4 :]
        if not head.startswith(b"http/1.1 200"):
            raise SystemExit(f"{path}: {head[:30]!r} {answer[:300]!r}")
        return answer

    def _block(self) -> bytes:
        block = self.connection.recv(65536)
        if not block:
            raise SystemExit("the server closed the connection")
        return block


@contextmanager
def server(workers: int) -> Iterator[int]:
    """Serve the large database and yield the port."""
    port = next(free_ports(8300))
    process = subprocess.Popen(
        [sys.executable, "manage.py", "serve"],
        cwd=stage.ROOT,
        env={**os.environ, "PORT": str(port), "WEB_WORKERS": str(workers)},
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", "/healthz")
                connection.getresponse().read()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise SystemExit("the server does not answer") from None
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def filled(endpoints: Endpoints, options: argparse.Namespace) -> list[Route]:
    """Fill the large database for the search and return what is asked."""
    stage.fill(endpoints, stage.LARGE, options.offers)
    return stage.routes(endpoints, stage.LARGE, options.questions)


def customer() -> tuple[Any, str]:
    """Return a fresh enterprise's reference and a key of its."""
    from apps.tenants.models import Scope
    from apps.tenants.operations import issue_api_key, onboard_enterprise
    from layoverhq.tenancy import operator_scope

    with operator_scope():
        enterprise = onboard_enterprise(name="Bench", slug=f"bench-{time.time_ns()}")
        issued = issue_api_key(enterprise=enterprise, name="bench", scopes=Scope.values)
    return enterprise.ref, issued.token


def search(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """The API against its own SQL, and against the endpoint written the usual way."""
    asked = filled(endpoints, options)
    tenant, token = customer()
    with server(workers=1) as port:
        client = Client(port, token)
        answer = json.loads(client.ask(f"/api/v1/flights/search?{query(asked[0])}"))
        peer = json.loads(client.ask(f"/bench/usual?{usual_query(asked[0])}"))
        same = [offer["id"] for offer in answer["results"]] == [
            offer["id"] for offer in peer["results"]
        ]
        samples = in_turn(
            {
                "bare psycopg, the same SQL": bare(endpoints, stage.LARGE, tenant),
                "API": lambda route: client.ask(f"/api/v1/flights/search?{query(route)}"),
                "ORM and ModelSerializer": lambda route: client.ask(
                    f"/bench/usual?{usual_query(route)}"
                ),
            },
            asked,
            rounds=options.rounds,
        )
    print(f"\nSearch, one client ({len(answer['results'])} offers a page, same answers: {same})")
    for name, times in samples.items():
        print(f"  {name:<28} p50 / p99 ms: {milliseconds(times)}")
    base = statistics.median(samples["bare psycopg, the same SQL"])
    print(f"  API p50 / bare p50: {statistics.median(samples['API']) / base:.2f} (aim: at most 3)")

    with server(workers=2) as port:
        rates: dict[str, list[float]] = {"API": [], "ORM and ModelSerializer": []}
        requests: dict[str, list[Asked]] = {
            "API": [(f"/api/v1/flights/search?{query(route)}", None) for route in asked],
            "ORM and ModelSerializer": [
                (f"/bench/usual?{usual_query(route)}", None) for route in asked
            ],
        }
        for number in range(options.rounds + 1):
            for name in rates:
                rate = throughput(port, token, requests[name])
                if number:
                    rates[name].append(rate)
    print("\nThroughput, eight clients on the same two cores")
    for name, values in rates.items():
        print(f"  {name:<28} {statistics.median(values):8.0f} requests/s")
    ratio = statistics.median(
        ours / theirs
        for ours, theirs in zip(rates["API"], rates["ORM and ModelSerializer"], strict=True)
    )
    print(f"  API / ORM and ModelSerializer: {ratio:.2f} (aim: at least 3)")


def throughput(port: int, token: str, requests: list[Asked]) -> float:
    """Return requests a second of eight clients in two processes."""
    with multiprocessing.get_context("fork").Pool(2) as clients:
        began = time.perf_counter()
        counts = clients.starmap(_hammer, [(port, token, requests)] * 2)
        return sum(counts) / (time.perf_counter() - began)


def _hammer(port: int, token: str, requests: list[Asked]) -> int:
    from concurrent.futures import ThreadPoolExecutor

    def run(_: int) -> int:
        client = Client(port, token)
        for path, body in requests:
            client.ask(path, body)
        return len(requests)

    with ThreadPoolExecutor(4) as threads:
        return sum(threads.map(run, range(4)))


def row_level_security(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """The same search with the policies in force and switched off."""
    asked = filled(endpoints, options)
    tenant, _ = customer()
    tables = ("flights", "enterprise_flights", "flight_layovers", "enterprises")
    samples: dict[str, list[float]] = {"enable": [], "disable": []}
    with psycopg.connect(endpoints.superuser_dsn(stage.LARGE), autocommit=True) as owner:
        try:
            for _ in range(options.rounds):
                for state, times in samples.items():
                    for table in tables:
                        owner.execute(f"alter table {table} {state} row level security")
                    run = bare(endpoints, stage.LARGE, tenant)
                    times += in_turn({state: run}, asked, rounds=1)[state]
        finally:
            for table in tables:
                owner.execute(f"alter table {table} enable row level security")
    print("\nRow-level security, bare psycopg")
    print(f"  on   p50 / p99 ms: {milliseconds(samples['enable'])}")
    print(f"  off  p50 / p99 ms: {milliseconds(samples['disable'])}")
    ratio = statistics.median(samples["enable"]) / statistics.median(samples["disable"])
    print(f"  on / off p50: {ratio:.2f} (aim: at most 1.1)")


def loading(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """The demo's loader against bare COPY of the same rows into the same indexed tables."""
    filled(endpoints, options)
    from apps.flights.airports import ground
    from apps.flights.demo import copy_lines, demo_offers
    from apps.flights.operations import COPY

    ours: list[float] = []
    copied: list[float] = []
    with (
        psycopg.connect(endpoints.superuser_dsn(stage.LARGE), autocommit=True) as server,
        psycopg.connect(
            endpoints.url("layoverhq_operator", stage.LARGE), autocommit=True
        ) as operator,
    ):
        today = server.execute("select current_date").fetchone()
        assert today is not None
        for number in range(options.rounds):
            day = today[0] + datetime.timedelta(days=20 + number)
            server.execute(
                "select ensure_month_partitions(p, %s, %s)"
                " from unnest(array['flights', 'flight_layovers']) as p",
                [day, day],
            )
            text = "".join(
                copy_lines(demo_offers(day, minimum_layover_minutes=90), known=ground.get())
            )
            _forget_day(server, day)
            began = time.perf_counter()
            with operator.transaction(), operator.cursor() as cursor:
                cursor.execute("set local synchronous_commit = off")
                cursor.execute("select open_offer_staging()")
                with cursor.copy(COPY) as copy:
                    copy.write(text)
                cursor.execute("select offers from store_staged_offers(%s, 'bench', true)", [day])
                row = cursor.fetchone()
            assert row is not None
            ours.append(row[0] / (time.perf_counter() - began))
            stored = {table: _dump(server, table, day) for table in ("flights", "flight_layovers")}
            _forget_day(server, day)
            began = time.perf_counter()
            # Policies refuse COPY FROM to all but a superuser.
            with server.transaction(), server.cursor() as cursor:
                cursor.execute("set local synchronous_commit = off")
                for table, (columns, rows) in stored.items():
                    with cursor.copy(f"copy {table} ({columns}) from stdin") as copy:
                        copy.write(rows)
            copied.append(row[0] / (time.perf_counter() - began))
            _forget_day(server, day)
    print("\nLoading a day of the demo network")
    print(f"  the loader   {statistics.median(ours):8.0f} offers/s, with their layovers")
    print(f"  bare COPY    {statistics.median(copied):8.0f} offers/s")
    ratio = statistics.median(a / b for a, b in zip(ours, copied, strict=True))
    print(f"  loader / COPY: {ratio:.2f} (aim: at least 0.7)")


def _forget_day(server: psycopg.Connection[Any], day: datetime.date) -> None:
    server.execute("delete from flights where departure_day = %s", [day])
    server.execute("delete from flight_layovers where departure_day = %s", [day])
    server.execute("delete from inventory_loads where day = %s", [day])
    server.execute("vacuum flights, flight_layovers")


def _dump(server: psycopg.Connection[Any], table: str, day: datetime.date) -> tuple[str, bytes]:
    row = server.execute(
        "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute"
        " where attrelid = %s::regclass and attnum > 0 and not attisdropped",
        [table],
    ).fetchone()
    assert row is not None
    with server.cursor().copy(
        f"copy (select {row[0]} from {table} where departure_day = '{day}') to stdout"
    ) as copy:
        return row[0], b"".join(bytes(block) for block in copy)


def sizes(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """The same search in a small and in a large inventory."""
    stage.fill(endpoints, stage.SMALL, options.small)
    stage.fill(endpoints, stage.LARGE, options.large)
    tenant, _ = customer()
    asked = {
        name: stage.routes(endpoints, name, options.questions)
        for name in (stage.SMALL, stage.LARGE)
    }
    runs = {name: bare(endpoints, name, tenant) for name in asked}
    samples: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(options.rounds):
        for name, run in runs.items():
            samples[name] += in_turn({name: run}, asked[name], rounds=1)[name]
    print("\nSize of the inventory, bare psycopg")
    for name, times in samples.items():
        print(f"  {name:<12} p50 / p99 ms: {milliseconds(times)}")
    ratio = statistics.median(samples[stage.LARGE]) / statistics.median(samples[stage.SMALL])
    print(f"  large / small p50: {ratio:.2f} (aim: at most 1.3)")
