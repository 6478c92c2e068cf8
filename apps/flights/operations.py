"""Writes: the demo's inventory, what is known of cities, and the deletion of what has expired.

All run with the operator's role: open an operator_scope around them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from datetime import date, datetime, timedelta
from itertools import islice
from typing import TextIO
from zoneinfo import ZoneInfo

import structlog
from django.db import connections
from django.utils import timezone
from tqdm import tqdm

from apps.configs.runtime import configs
from apps.flights.airports import ground
from apps.flights.demo import PROVIDER, DemoOffers, busiest_routes, copy_lines, demo_offers, prepare
from apps.flights.models import EnterpriseFlight, LayoverPlace, LayoverWeather
from apps.flights.queries import missing_days
from apps.tenants.models import Enterprise
from layoverhq.tenancy import atomic, current_alias

log = structlog.get_logger(__name__)

HORIZON_DAYS = 14
NEGOTIATED_ROUTES = 50
CLEANUP_BATCH = 10_000
COPY_LINES = 2_000
# One composes while the server stores for the other.
LOADERS = 2

# The last clock of the network: a day is over when it is over there.
LAST_ZONE = ZoneInfo("Pacific/Honolulu")

COPY = """
copy pg_temp.staged_offers (
    departs, arrives, departure_minute, price_minor, origin_airport, destination_airport,
    layover_min_minutes, layover_max_minutes, usable_minutes, daylight_minutes, overnight,
    carriers, layover_airports, layover_minutes, layover_usable, layover_daylight,
    layover_overnight, layovers, segments
) from stdin
"""


def load_demo_days(*, days: Iterable[date], progress: TextIO | None = None) -> int:
    """Load those of the days that do not stand yet and return how many offers came in.

    A day is one transaction: it stands whole or not at all, and a run that is cut off is begun
    again. No layover is shorter than the platform's `layover.min_duration`. Progress goes to the
    stream, if any.
    """
    missing = missing_days(PROVIDER, days)
    if not missing:
        return 0
    _ensure_partitions(missing[0], missing[-1])
    prepare()
    shortest = configs.get("layover.min_duration")
    loaded = 0
    with (
        ThreadPoolExecutor(max_workers=LOADERS) as pool,
        tqdm(
            total=len(missing),
            desc="Demo network",
            unit="day",
            file=progress,
            disable=progress is None,
        ) as bar,
    ):
        pending = [pool.submit(copy_context().run, _load_day, day, shortest) for day in missing]
        try:
            for done in as_completed(pending):
                loaded += done.result()
                bar.set_postfix(offers=f"{loaded:,}", refresh=False)
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return loaded


def roll_demo_horizon(
    *, today: date | None = None, days: int = HORIZON_DAYS, progress: TextIO | None = None
) -> int:
    """Load the demo's inventory for `days` days from `today` on; return how many offers came in.

    Enterprises of the demo, those with modelled negotiated offers, get theirs for new days.
    """
    first = today or timezone.now().astimezone(LAST_ZONE).date()
    loaded = load_demo_days(
        days=[first + timedelta(days=shift) for shift in range(days)], progress=progress
    )
    if loaded:
        buyers = EnterpriseFlight.objects.filter(modelled=True).values("enterprise_id").distinct()
        for enterprise in Enterprise.objects.living().filter(pk__in=buyers):
            load_negotiated_demo_offers(enterprise=enterprise)
    log.info("demo_horizon_rolled", first=first.isoformat(), days=days, offers=loaded)
    return loaded


def load_negotiated_demo_offers(*, enterprise: Enterprise) -> int:
    """Give the enterprise negotiated offers on the busiest routes, wherever it has none yet.

    They cost 5 to 10 per cent less than the shared offers that they are made of, and none has a
    layover shorter than the enterprise's `layover.min_duration`. Returns how many came in.
    """
    origins, destinations = zip(*busiest_routes(NEGOTIATED_ROUTES), strict=True)
    with atomic(), connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "select negotiate_demo_offers(%s, %s, %s, %s, %s)",
            [
                enterprise.pk,
                f"{enterprise.slug}-negotiated",
                list(origins),
                list(destinations),
                configs.get("layover.min_duration", enterprise),
            ],
        )
        return int(cursor.fetchone()[0])


def set_layover_places(*, appeal: Mapping[str, Sequence[int]], now: datetime) -> None:
    """Note how much cities have to offer, by the airport: 17 numbers of 0 to 100.

    The first is for less than one usable hour, the last for 16 and more.
    """
    LayoverPlace.objects.bulk_create(
        [
            LayoverPlace(airport_id=airport, appeal=list(by_hour), updated_at=now)
            for airport, by_hour in appeal.items()
        ],
        update_conflicts=True,
        unique_fields=["airport"],
        update_fields=["appeal", "updated_at"],
    )


def set_layover_weather(*, comfort: Mapping[tuple[str, datetime], int], now: datetime) -> None:
    """Note how pleasant hours are, 0 to 100, by the airport and the hour's beginning."""
    LayoverWeather.objects.bulk_create(
        [
            LayoverWeather(airport_id=airport, hour=hour, comfort=percent, observed_at=now)
            for (airport, hour), percent in comfort.items()
        ],
        update_conflicts=True,
        unique_fields=["airport", "hour"],
        update_fields=["comfort", "observed_at"],
    )


def purge_layover_weather(*, before: datetime) -> int:
    """Delete what is known of hours before that; return how many."""
    return LayoverWeather.objects.filter(hour__lt=before).delete()[0]


def cleanup_expired_flights() -> int:
    """Delete the offers that expired over an hour ago, a batch a transaction; return how many."""
    deleted = 0
    while True:
        with connections[current_alias()].cursor() as cursor:
            cursor.execute("select cleanup_expired_flights(%s)", [CLEANUP_BATCH])
            batch = int(cursor.fetchone()[0])
        if batch == 0:
            return deleted
        deleted += batch


def _ensure_partitions(first: date, last: date) -> None:
    with atomic(), connections[current_alias()].cursor() as cursor:
        for parent in ("flights", "flight_layovers"):
            cursor.execute("select ensure_month_partitions(%s, %s, %s)", [parent, first, last])


def _load_day(day: date, shortest: int) -> int:
    """Compose and store a day on a connection of this thread's own."""
    try:
        return _store_day(day, demo_offers(day, minimum_layover_minutes=shortest))
    finally:
        connections[current_alias()].close()


def _store_day(day: date, offers: DemoOffers) -> int:
    """Store the day's offers, unless another process has done so meanwhile."""
    with atomic(), connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"{PROVIDER} {day}"]
        )
        if not missing_days(PROVIDER, [day]):
            return 0
        # A day that is lost with the server is composed again.
        cursor.execute("set local synchronous_commit = off")
        cursor.execute("select open_offer_staging()")
        lines = copy_lines(offers, known=ground.get())
        with cursor.copy(COPY) as copy:
            while chunk := "".join(islice(lines, COPY_LINES)):
                copy.write(chunk)
        cursor.execute("select offers from store_staged_offers(%s, %s, true)", [day, PROVIDER])
        return int(cursor.fetchone()[0])
