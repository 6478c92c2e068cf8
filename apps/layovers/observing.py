"""Weather that is kept: asked for where it is too old, once for all who want it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

import structlog
from django.db import connections
from psycopg.types.json import Jsonb

from apps.configs.runtime import configs
from apps.flights.airports import ground
from apps.layovers import shared
from apps.layovers.analysis import (
    BEYOND_FORECAST,
    FRESH,
    LAST_KNOWN,
    OFF,
    UNAVAILABLE,
    Hour,
    Weather,
)
from apps.layovers.models import LayoverAnalysis, WeatherObservation
from apps.layovers.open_meteo import (
    FORECAST_DAYS,
    MOST_PLACES,
    SOURCE,
    Place,
    fetch_weather,
)
from apps.layovers.versions import UNTOUCHED, layover_inputs
from layoverhq.remote import RemoteFault
from layoverhq.tenancy import current_alias

log = structlog.get_logger(__name__)

# After a failure nobody asks for so long.
PAUSE: Final = timedelta(seconds=60)
# What is older says nothing of the weather any more.
OLDEST: Final = timedelta(hours=48)


def is_due(airport: str, *, now: datetime) -> bool:
    """Return whether the airport's weather is older than `weather.cache_ttl`, and may be asked."""
    known = layover_inputs.get().get(airport, UNTOUCHED)
    if known.weather_failed_at and now - known.weather_failed_at < PAUSE:
        return False
    ttl = timedelta(seconds=configs.get("weather.cache_ttl"))
    return known.weather_fetched_at is None or now - known.weather_fetched_at >= ttl


def refresh_weather(airports: Sequence[str]) -> int:
    """Ask for the weather at these airports and keep it; return for how many it could be had."""
    places = ground.get()
    had = 0
    waiting = iter(airport for airport in dict.fromkeys(airports) if airport in places.index)
    while batch := list(islice(waiting, MOST_PLACES)):
        try:
            found = fetch_weather(
                [
                    Place(
                        airport,
                        float(places.latitude[places.index[airport]]),
                        float(places.longitude[places.index[airport]]),
                    )
                    for airport in batch
                ]
            )
        except RemoteFault as fault:
            log.warning("weather_unavailable", airports=len(batch), problem=str(fault))
            _run("select record_weather_failure(%s, %s)", [batch, fault.detail])
        else:
            _run("select record_weather(%s)", [Jsonb(_rows(found))])
            had += len(found)
    return had


def _run(statement: str, parameters: list[Any]) -> None:
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(statement, parameters)


def _rows(found: Mapping[str, Iterable[Hour]]) -> list[dict[str, Any]]:
    return [
        {
            "airport": airport,
            "source": SOURCE,
            "hours": [
                {
                    "hour": int(each.hour.timestamp()),
                    "temperature_tenths": round(each.temperature * 10),
                    "precipitation_tenths": round(each.precipitation * 10),
                    "wind_kmh": each.wind_kmh,
                    "cloud_percent": each.cloud_percent,
                    "weather_code": each.weather_code,
                }
                for each in hours
            ],
        }
        for airport, hours in found.items()
    ]


def ensure_weather(airport: str, *, now: datetime) -> None:
    """Ask for the airport's weather if it is due; of many who want it one asks, the others wait.

    They wait no longer than the service may take.
    """
    if not is_due(airport, now=now):
        return
    turn = shared.take_turn(f"weather:{airport}", seconds=int(configs.get("weather.timeout")) + 5)
    if turn is None or turn.is_mine:
        try:
            # Whoever had the turn before may have been told.
            if is_due(airport, now=now):
                refresh_weather([airport])
        finally:
            if turn is not None:
                turn.give_back()
        return
    shared.await_turn(f"weather:{airport}", seconds=float(configs.get("weather.timeout")))


def weather_at(
    airport: str, begin: datetime, end: datetime, *, now: datetime, is_wanted: bool
) -> Weather:
    """Return the weather of the hours from `begin` to before `end`, as it is kept."""
    if not is_wanted:
        return Weather(OFF)
    if begin == end:
        return Weather(UNAVAILABLE)
    # Whole days are foreseen, of UTC, from today on.
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if begin >= midnight + timedelta(days=FORECAST_DAYS):
        return Weather(BEYOND_FORECAST)
    rows = list(
        WeatherObservation.objects.using(current_alias())
        .filter(airport_code=airport, hour__gte=begin, hour__lt=end, fetched_at__gt=now - OLDEST)
        .order_by("hour")
    )
    if not rows:
        return Weather(UNAVAILABLE)
    # An answer has the hours from that midnight on: the ones before age no more.
    fetched_at = min(
        (row.fetched_at for row in rows if row.hour >= midnight), default=rows[-1].fetched_at
    )
    ttl = timedelta(seconds=configs.get("weather.cache_ttl"))
    return Weather(
        FRESH if now - fetched_at < ttl else LAST_KNOWN,
        tuple(hour_of(row) for row in rows),
        rows[0].source,
        fetched_at,
    )


def hour_of(row: WeatherObservation) -> Hour:
    """Return a kept hour as analyses know it."""
    return Hour(
        row.hour,
        row.temperature_tenths / 10,
        row.precipitation_tenths / 10,
        row.wind_kmh,
        row.cloud_percent,
        row.weather_code,
    )


def hubs_in_use(*, now: datetime, popular: Iterable[str]) -> list[str]:
    """Return the airports that analyses were asked for within a day, and the popular ones."""
    asked = (
        LayoverAnalysis.objects.filter(last_accessed__gt=now - timedelta(days=1))
        .order_by()
        .values_list("airport_code", flat=True)
        .distinct()
    )
    return sorted({*asked, *popular})
