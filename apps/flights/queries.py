"""Reads: the search, and what stands of the demo's inventory."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date
from typing import Any
from uuid import UUID

from apps.configs.runtime import configs
from apps.flights.grammar import Bounds, FlightSearch
from apps.flights.models import InventoryLoad
from layoverhq.tenancy import TenantRef, fetch_in_scope

SEARCH = "select search_flights(jsonb_populate_record(null::flight_search, %(asked)s::jsonb))"

# Before every offer: keys are not negative.
_START = {"after_key": -1, "after_id": str(UUID(int=0))}
_ANY_MINUTES = 1_000_000


def search_flights(tenant: TenantRef, search: FlightSearch) -> bytes:
    """Return the answer's body as JSON, `{"results": […], "next": cursor or null}`.

    It is built in SQL and not parsed here. Raises QueryTimeout.
    """
    rows = fetch_in_scope(
        tenant,
        SEARCH,
        {"asked": json.dumps(search_record(search))},
        timeout_seconds=configs.get("flight.search_timeout", tenant),
    )
    body: str = rows[0][0]
    return body.encode()


def search_record(search: FlightSearch) -> dict[str, Any]:
    """Return the search as the SQL type flight_search names its attributes; null is left out."""
    record: dict[str, Any] = {
        "origin": search.origin,
        "destination": search.destination,
        "departure_day": search.departure_date.isoformat(),
        "sort": search.sort,
        "page_size": search.limit,
        "cursor_prefix": search.digest,
        **_START,
        **_ends("duration", "minutes", search.duration),
        **_ends("price", "minor", search.price),
        **_ends("depart", "minute", search.depart),
    }
    if search.max_layovers is not None:
        record["max_layovers"] = search.max_layovers
    if search.exclude:
        record["exclude"] = search.exclude
    if search.via:
        record["via"] = search.via
    if search.via and search.layover:
        low, high = search.layover.low, search.layover.high
        record["via_bounds"] = {
            "via": search.via,
            "low": 0 if low is None else low,
            "high": _ANY_MINUTES if high is None else high,
        }
    elif search.layover:
        record |= _ends("layover", "minutes", search.layover)
    if search.after:
        record |= {"after_key": search.after.key, "after_id": str(search.after.id)}
    return record


def _ends(name: str, unit: str, bounds: Bounds[int] | None) -> dict[str, int | None]:
    if bounds is None:
        return {}
    return {f"{name}_minimum_{unit}": bounds.low, f"{name}_maximum_{unit}": bounds.high}


def has_inventory(provider: str) -> bool:
    """Return whether a day of the provider's was ever loaded."""
    return InventoryLoad.objects.filter(provider=provider).exists()


def missing_days(provider: str, days: Iterable[date]) -> list[date]:
    """Return those of the days whose inventory does not stand, in order."""
    wanted = sorted(set(days))
    standing = set(
        InventoryLoad.objects.filter(provider=provider, day__in=wanted).values_list(
            "day", flat=True
        )
    )
    return [day for day in wanted if day not in standing]
