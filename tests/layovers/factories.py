"""Layovers to ask about, and experiences and weather of a test's own airport."""

from __future__ import annotations

import itertools
import random
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connections
from django.utils import timezone
from psycopg.types.json import Jsonb

from apps.flights.airports import airports, ground
from apps.layovers.models import Experience, LayoverInput
from apps.layovers.versions import layover_inputs
from layoverhq.tenancy import OPERATOR, operator_scope
from tests.kernel.test_snapshot import until

ANALYSIS = "/api/v1/layovers/analysis"

_places = itertools.count(random.SystemRandom().randrange(10_000_000))
_used: set[str] = set()


def own_airport() -> str:
    """Return an airport of the United States without experiences that no other test uses."""
    places = ground.get()
    border = places.border[places.index["JFK"]]
    codes = [
        code
        for code in sorted(airports.get())
        if places.border[places.index[code]] == border
        and airports.get()[code] == "America/Chicago"
        and code not in layover_inputs.get()
    ]
    while (code := codes[next(_places) * 7919 % len(codes)]) in _used:
        pass
    _used.add(code)
    return code


def question(
    airport: str, *, days: int = 3, hour: int = 9, hours: float = 9, **more: Any
) -> dict[str, str]:
    """Return the parameters of a layover that begins at this hour on the airport's clock."""
    zone = ZoneInfo(airports.get()[airport])
    today = timezone.now().astimezone(zone).replace(tzinfo=None, minute=0, second=0, microsecond=0)
    arrival = today.replace(hour=hour) + timedelta(days=days)
    return {
        "airport": airport,
        "arrival": arrival.isoformat(timespec="minutes"),
        "departure": (arrival + timedelta(hours=hours)).isoformat(timespec="minutes"),
        **{name: str(value) for name, value in more.items()},
    }


def add_experience(airport: str, **fields: Any) -> Experience:
    """Add an experience in the city's centre, and wait until this process knows of it."""
    before = layover_inputs.get().get(airport)
    with operator_scope():
        made = Experience.objects.create(
            **{
                "airport_id": airport,
                "city": "Testville",
                "name": f"Sight {next(_places)}",
                "category": "museum",
                "rating_tenths": 45,
                "price_from": 0,
                "price_currency": "USD",
                "duration_minutes": 60,
                "opening_hours": "daily 08:00-20:00",
                "travel_minutes": 10,
                "source": "test",
                **fields,
            }
        )
    until(lambda: layover_inputs.get().get(airport) != before)
    return made


def record_weather(airport: str, begin: datetime, hours: int = 240, **fields: int) -> None:
    """Keep the same weather for so many hours, as if just fetched; wait until it is known."""
    values = {
        "temperature_tenths": 220, "precipitation_tenths": 0, "wind_kmh": 5, "cloud_percent": 10,
        "weather_code": 1, **fields,
    }  # fmt: skip
    first = int(begin.replace(minute=0, second=0, microsecond=0).timestamp())
    before = layover_inputs.get().get(airport)
    document = [
        {
            "airport": airport,
            "source": "test",
            "hours": [{"hour": first + 3600 * shift, **values} for shift in range(hours)],
        }
    ]
    with connections[OPERATOR].cursor() as cursor:
        cursor.execute("select record_weather(%s)", [Jsonb(document)])
    until(lambda: layover_inputs.get().get(airport) != before)


def versions(airport: str) -> tuple[int, int, int]:
    """Return the versions of an airport's inputs as the database has them."""
    with operator_scope():
        return LayoverInput.objects.values_list(
            "experiences_version", "weather_version", "invalidations"
        ).get(pk=airport)
