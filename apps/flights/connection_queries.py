"""Reads about airports and connections, for the pages of operators."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

from django.db import connections

from apps.flights.models import ArrivalDelay, Flight, FlightLayover, MinimumConnectionTime
from layoverhq.tenancy import current_alias

# Beyond it nobody counts: a busy airport has a hundred thousand offers a week.
COUNTED: Final = 1_000
WINDOW_DAYS: Final = 7


def fitting_connection_times(
    *,
    airport: str,
    kind: str,
    arriving_carrier: str | None,
    departing_carrier: str | None,
    arriving_terminal: str | None,
    departing_terminal: str | None,
) -> list[MinimumConnectionTime]:
    """Return the rows that fit a connection, the one that holds first, as SQL orders them."""
    return list(
        MinimumConnectionTime.objects.raw(
            "select * from fitting_connection_times(%s, %s, %s, %s, %s, %s)",
            [
                airport,
                kind,
                arriving_carrier,
                departing_carrier,
                arriving_terminal,
                departing_terminal,
            ],
        )
    )


def airport_usage(airport: str, *, today: date) -> Mapping[str, int]:
    """Return how many offers of the next days depart there or have a layover there, to COUNTED."""
    days = (today, today + timedelta(days=WINDOW_DAYS - 1))
    # Each walks an index, and stops early; arrivals have none.
    departures = Flight.objects.filter(
        origin_airport=airport, departure_day__range=days, enterprise=None
    )
    layovers = FlightLayover.objects.filter(airport=airport, departure_day__range=days)
    return {
        "departures": len(departures.values_list("departure_day")[: COUNTED + 1]),
        "layovers": len(layovers.values_list("departure_day")[: COUNTED + 1]),
    }


def airport_delays(airport: str) -> ArrivalDelay | None:
    """Return the delays of an airport, the nation's where nobody measured its own."""
    found = ArrivalDelay.objects.filter(airport=airport).first()
    return found or ArrivalDelay.objects.filter(airport=None).first()


def on_time(airport: str, slack_minutes: int) -> float:
    """Return SQL's share of arrivals that are at most so many minutes late."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute("select share from on_time_share(%s, %s)", [airport, slack_minutes])
        share: Any = cursor.fetchone()[0]
    return float(share)
