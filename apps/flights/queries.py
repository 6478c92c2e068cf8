"""Reads: the search, and what stands of the demo's inventory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import date
from math import ceil, floor
from typing import Any
from uuid import UUID

from apps.configs.runtime import configs
from apps.flights.grammar import DAYLIGHT_MINUTES, Bounds, FlightSearch
from apps.flights.models import InventoryLoad
from apps.flights.money import BASE_CURRENCY
from apps.flights.ranking import ranking_for
from apps.flights.rates import shown
from layoverhq.tenancy import TenantRef, fetch_in_scope

SEARCH = "select search_flights(jsonb_populate_record(null::flight_search, %(asked)s::jsonb))"

# Before every offer: keys are not negative.
_START = {"after_key": -1, "after_id": str(UUID(int=0))}
_ANY_MINUTES = 1_000_000


def search_flights(
    tenant: TenantRef, search: FlightSearch, *, context: Mapping[str, Any] | None = None
) -> bytes:
    """Return the answer's body as JSON, `{"results": […], "next": cursor or null}`.

    It is built in SQL and not parsed here. `context` is what flags are evaluated in, the
    enterprise alone if it is missing. Raises QueryTimeout, and NoRate or StaleRate of a currency
    that prices cannot be shown in.
    """
    rows = fetch_in_scope(
        tenant,
        SEARCH,
        {"asked": json.dumps(asked_record(tenant, search, context=context))},
        timeout_seconds=configs.get("flight.search_timeout", tenant),
    )
    body: str = rows[0][0]
    return body.encode()


def asked_record(
    tenant: TenantRef, search: FlightSearch, *, context: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a search of the tenant's as `search_record`, with its policy and its ranking."""
    record = {**search_record(search), **policy(tenant)}
    if search.explain or search.sort == "score":
        ranking = ranking_for(tenant, context or {"enterprise": str(tenant.id)})
        record["ranking"] = ranking.document()
        record |= {f"{name}_weight": value for name, value in asdict(ranking.weights).items()}
    return record


def policy(tenant: TenantRef) -> dict[str, Any]:
    """Return what the tenant's configuration allows."""
    shortest, hubs, carriers = configs.together(
        "layover.min_duration", "search.banned_hubs", "search.banned_carriers", tenant=tenant
    )
    allowed: dict[str, Any] = {}
    if shortest:
        allowed["policy_layover_minutes"] = shortest
    if hubs:
        allowed["policy_airports"] = list(hubs)
    if carriers:
        allowed["policy_carriers"] = list(carriers)
    return allowed


def search_record(search: FlightSearch) -> dict[str, Any]:
    """Return the search as the SQL type flight_search names its attributes; null is left out.

    Raises NoRate and StaleRate.
    """
    record: dict[str, Any] = {
        "origin": search.origin,
        "destination": search.destination,
        "departure_days": [day.isoformat() for day in search.departure_days],
        "sort": search.sort,
        "page_size": search.limit,
        "cursor_prefix": search.digest,
        "explain": search.explain,
        "daylight": search.daylight,
        **_START,
        **_ends("duration", "minutes", search.duration),
        **_prices(search),
        **_ends("depart", "minute", search.depart),
    }
    if search.max_layovers is not None:
        record["max_layovers"] = search.max_layovers
    if search.exclude:
        record["exclude"] = search.exclude
    if search.via:
        record["via"] = search.via
    usable = search.usable
    if search.daylight and usable is None:
        usable = Bounds(DAYLIGHT_MINUTES, None)
    if search.via and (search.layover or usable or search.overnight is not None):
        low, high = _closed(search.layover)
        usable_low, usable_high = _closed(usable)
        record["via_bounds"] = {
            "via": search.via,
            "low": low,
            "high": high,
            "usable_low": -1 if usable is None else usable_low,
            "usable_high": usable_high,
            "daylight": int(search.daylight),
            "overnight": {None: 0, False: -1, True: 1}[search.overnight],
        }
    elif not search.via:
        record |= _ends("layover", "minutes", search.layover)
        record |= _ends("usable", "minutes", usable)
        record["overnight"] = search.overnight
    for name in ("carriers", "exclude_carriers"):
        if chosen := getattr(search, name):
            record[name] = chosen
    for name in ("cabin", "self_transfer", "terminal_change"):
        record[name] = getattr(search, name)
    if search.after:
        record |= {"after_key": search.after.key, "after_id": str(search.after.id)}
    return record


def _prices(search: FlightSearch) -> dict[str, Any]:
    """Return the bounds of the price in our own currency, and what prices are shown in."""
    if search.currency == BASE_CURRENCY:
        return _ends("price", "minor", search.price)
    rate, day = shown(search.currency)
    return {
        **_ends("price", "minor", in_base_currency(search).price),
        "shown_currency": search.currency,
        "shown_rate": str(rate),
        "shown_rate_date": day.isoformat(),
    }


def in_base_currency(search: FlightSearch) -> FlightSearch:
    """Return the same search with its bounds of the price in our own currency, shown in it too.

    Raises NoRate and StaleRate of bounds in a currency that has no rate.
    """
    bounds = search.price
    if bounds is not None and search.currency != BASE_CURRENCY:
        rate, _ = shown(search.currency)
        low, high = bounds.low, bounds.high
        bounds = Bounds(
            None if low is None else ceil(low / rate), None if high is None else floor(high / rate)
        )
    return replace(search, currency=BASE_CURRENCY, price=bounds)


def _closed(bounds: Bounds[int] | None) -> tuple[int, int]:
    """Return both ends, where an open one is beyond every offer."""
    low, high = (None, None) if bounds is None else (bounds.low, bounds.high)
    return (0 if low is None else low, _ANY_MINUTES if high is None else high)


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
