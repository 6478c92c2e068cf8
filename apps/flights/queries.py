"""Reads: the search, and what stands of the demo's inventory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import date
from decimal import Decimal
from math import ceil
from typing import Any
from uuid import UUID

from apps.configs.runtime import configs
from apps.flights.grammar import DAYLIGHT_MINUTES, FILTERS, Bounds, FlightSearch
from apps.flights.models import InventoryLoad
from apps.flights.money import BASE_CURRENCY
from apps.flights.ranking import ranking_for
from apps.flights.rates import shown
from layoverhq.tenancy import TenantRef, fetch_in_scope

SEARCH = "select search_flights(jsonb_populate_record(null::flight_search, %(asked)s::jsonb))"

EMPTIED = """
    select search_emptied(
        jsonb_populate_record(null::flight_search, %(asked)s::jsonb), %(filters)s::jsonb
    )::text
"""
_NOTHING = b'{"results":[]'
# With a via airport these mean the layover there, and daylight is of the usable minutes.
_BESIDE: Mapping[str, tuple[str, ...]] = {
    "layover": ("via",),
    "usable": ("via",),
    "overnight": ("via",),
    "daylight": ("via", "usable"),
}

# Before every offer: keys are not negative.
_START = {"after_key": -1, "after_id": str(UUID(int=0))}
_ANY_MINUTES = 1_000_000


def search_flights(
    tenant: TenantRef, search: FlightSearch, *, context: Mapping[str, Any] | None = None
) -> bytes:
    """Return the answer's body as JSON, `{"results": […], "next": cursor or null}`.

    It is built in SQL and not parsed here; `empty` of a first page without offers is asked for in a
    transaction of its own. `context` is what flags are evaluated in, the
    enterprise alone if it is missing. Raises QueryTimeout, and NoRate or StaleRate of a currency
    that prices cannot be shown in.
    """
    timeout = configs.get("flight.search_timeout", tenant)
    asked = json.dumps(asked_record(tenant, search, context=context))
    rows = fetch_in_scope(tenant, SEARCH, {"asked": asked}, timeout_seconds=timeout)
    body: bytes = rows[0][0].encode()
    if search.after is None and body.startswith(_NOTHING):
        filters = json.dumps(filter_records(tenant, search))
        rows = fetch_in_scope(
            tenant, EMPTIED, {"asked": asked, "filters": filters}, timeout_seconds=timeout
        )
        body = body[:-1] + b',"empty":' + rows[0][0].encode() + b"}"
    return body


def filter_records(tenant: TenantRef, search: FlightSearch) -> dict[str, dict[str, Any]]:
    """Return each filter of the search, and `policy`, as searches of its route and days.

    `alone` asks for that filter, besides those of which it takes its meaning; `beside` for these
    only; `without` for all the others.
    """
    bare = FlightSearch(
        search.origin, search.destination, search.departure_date, currency=search.currency
    )
    given = {name for name in FILTERS if getattr(search, name) != getattr(bare, name)}

    def record(names: Iterable[str]) -> dict[str, Any]:
        chosen = {name: getattr(search, name) for name in given.intersection(names)}
        return search_record(replace(bare, **chosen))

    allowed = policy(tenant)
    records = {
        name: {
            "beside": record(_BESIDE.get(name, ())),
            "alone": record((name, *_BESIDE.get(name, ()))),
            "without": {**record(given - {name}), **allowed},
        }
        for name in given
    }
    if allowed:
        records["policy"] = {
            "beside": record(()),
            "alone": {**record(()), **allowed},
            "without": record(given),
        }
    return records


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
    """Return the bounds of the price in our own currency, and what prices are shown in.

    What is bounded is the price as it is shown: rounded, or the fare that was named in it.
    """
    if search.currency == BASE_CURRENCY:
        return _ends("price", "minor", search.price)
    rate, day = shown(search.currency)
    return {
        **_ends("price", "minor", in_base_currency(search).price),
        **_ends("fare", "minor", search.price),
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
        half = Decimal("0.5")
        bounds = Bounds(
            None if bounds.low is None else ceil((bounds.low - half) / rate),
            None if bounds.high is None else ceil((bounds.high + half) / rate) - 1,
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
