"""Importing private offers: against bare COPY of the same rows, and where nothing has changed."""

from __future__ import annotations

import argparse
import io
import json
import random
import statistics
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg

from bench import stage
from layoverhq.stack import Endpoints

TABLES = ("enterprise_flights", "flight_layovers")
HUBS = 300
# So near to each other that every flight takes its time on all clocks.
ZONES = ("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles")


def add_options(group: argparse._ArgumentGroup) -> None:
    """Declare how large a file is."""
    group.add_argument("--lines", type=int, default=200_000, help="offers in the file")


def imports(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """A first import, the same file again, and bare COPY of what it stored, in turn."""
    from apps.flights.imports import load_offer_imports, receive_import, spool
    from bench.flights import customer
    from layoverhq.tenancy import operator_scope

    tenant, _ = customer()
    body = b"".join(lines(options.lines))
    rates: dict[str, list[float]] = {"first": [], "unchanged": [], "COPY": []}
    worked: list[float] = []

    def load(expected: str) -> float:
        spooled = spool(io.BytesIO(body), expected=len(body))
        with spooled.file:
            job = receive_import(tenant=tenant, body=spooled, idempotency_key=f"{time.time_ns()}")
        began, own = time.perf_counter(), time.process_time()
        with operator_scope():
            load_offer_imports(enterprise_id=tenant.id)
            spent = time.perf_counter() - began
            worked.append(time.process_time() - own)
            job.refresh_from_db()
            if getattr(job, expected) != options.lines:
                raise SystemExit(f"{expected}: {getattr(job, expected)} of {options.lines}")
        return options.lines / spent

    with psycopg.connect(endpoints.superuser_dsn(stage.LARGE), autocommit=True) as server:
        server.execute(
            "select ensure_month_partitions('flight_layovers', current_date, current_date + 60)"
        )
        for _ in range(options.rounds):
            _forget(server, tenant.id)
            rates["first"].append(load("inserted"))
            rates["unchanged"].append(load("unchanged"))
            stored = {table: _dump(server, table, tenant.id) for table in TABLES}
            _forget(server, tenant.id)
            began = time.perf_counter()
            # Policies refuse COPY FROM to all but a superuser.
            with server.transaction(), server.cursor() as cursor:
                for table, (columns, rows) in stored.items():
                    with cursor.copy(f"copy {table} ({columns}) from stdin") as copy:
                        copy.write(rows)
            rates["COPY"].append(options.lines / (time.perf_counter() - began))
        _forget(server, tenant.id)
    print(f"\nImporting {options.lines:,} private offers of two segments ({len(body):,} bytes)")
    print(f"  first import     {statistics.median(rates['first']):8.0f} offers/s")
    print(f"  bare COPY        {statistics.median(rates['COPY']):8.0f} offers/s")
    print(f"  the file again   {statistics.median(rates['unchanged']):8.0f} offers/s, unchanged")
    own = statistics.median(worked[::2]) / options.lines * 1e6
    print(f"  of which the worker's own CPU time: {own:.0f} µs an offer, beside the server's")
    ratio = statistics.median(a / b for a, b in zip(rates["first"], rates["COPY"], strict=True))
    print(f"  first / COPY: {ratio:.2f} (aim: at least 0.7)")


def lines(count: int) -> Iterator[bytes]:
    """Yield offers of random hubs, days and minutes; the same ones each day."""
    from apps.flights.airports import airports

    drawn = random.Random(5)
    hubs = sorted(code for code, zone in airports.get().items() if zone in ZONES)
    hubs = drawn.sample(hubs, HUBS)
    today = datetime.combine(datetime.now().date(), datetime.min.time())
    for number in range(count):
        origin, hub, destination = drawn.sample(hubs, 3)
        departs = today + timedelta(
            days=drawn.randrange(5, 50), minutes=drawn.randrange(5 * 60, 15 * 60, 5)
        )
        yield (
            json.dumps(
                {
                    "price": f"{drawn.randrange(8_000, 90_000) / 100:.2f}",
                    "currency": "USD",
                    "segments": [
                        _segment(origin, hub, departs, 420, f"UA {number % 9_000}"),
                        _segment(
                            hub, destination, departs + timedelta(hours=15), 540, f"UA {number}"
                        ),
                    ],
                }
            ).encode()
            + b"\n"
        )


def _segment(
    origin: str, destination: str, departs: datetime, minutes: int, flight_number: str
) -> dict[str, Any]:
    return {
        "origin": origin,
        "destination": destination,
        "departs_at": departs.isoformat(timespec="minutes"),
        "arrives_at": (departs + timedelta(minutes=minutes)).isoformat(timespec="minutes"),
        "carrier": "UA",
        "flight_number": flight_number,
    }


def _forget(server: psycopg.Connection[Any], tenant_id: Any) -> None:
    for table in TABLES:
        server.execute(f"delete from {table} where enterprise_id = %s", [tenant_id])
        server.execute(f"vacuum analyze {table}")
    server.execute("checkpoint")


def _dump(server: psycopg.Connection[Any], table: str, tenant_id: Any) -> tuple[str, bytes]:
    row = server.execute(
        "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute"
        " where attrelid = %s::regclass and attnum > 0 and not attisdropped",
        [table],
    ).fetchone()
    assert row is not None
    with server.cursor().copy(
        f"copy (select {row[0]} from {table} where enterprise_id = '{tenant_id}') to stdout"
    ) as copy:
        return row[0], b"".join(bytes(block) for block in copy)
