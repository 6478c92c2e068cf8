"""Searching as an enterprise does: its offers, the milliseconds, and the plans behind them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connections

from apps.configs.runtime import configs
from apps.flights import plans
from apps.flights.airports import airports
from apps.flights.fare_calendar import CalendarSearch, parse_calendar_search, price_calendar
from apps.flights.grammar import FlightSearch, parse_flight_search
from apps.flights.itineraries import search_itineraries
from apps.flights.itinerary_grammar import ItinerarySearch, parse_itinerary_search
from apps.flights.layover_search import (
    LayoverSearch,
    layover_arguments,
    parse_layover_search,
    search_layovers,
)
from apps.flights.queries import asked_record, search_flights
from apps.tenants.models import Enterprise
from layoverhq.tenancy import TenantRef, current_alias, snapshot_scope

# A function in SQL and what it is called with.
Call = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the searches: how it is read, answered, and called in SQL."""

    title: str
    path: str
    parse: Callable[..., Any]
    answer: Callable[[TenantRef, Any], bytes]
    calls: Callable[[TenantRef, Any], Iterable[Call]]


def _search_calls(tenant: TenantRef, search: FlightSearch) -> Iterable[Call]:
    yield "search_flights", {"asked": asked_record(tenant, search)}


def _itinerary_calls(tenant: TenantRef, search: ItinerarySearch) -> Iterable[Call]:
    for each in search.slices:
        yield "slice_offers", {"asked": asked_record(tenant, each)}


def _calendar_calls(tenant: TenantRef, asked: CalendarSearch) -> Iterable[Call]:
    days = {"days": list(asked.days)}
    if asked.back is None:
        yield "price_calendar", {"asked": asked_record(tenant, asked.search), **days}
    else:
        for each in (asked.search, asked.back):
            yield "slice_offers", {"asked": asked_record(tenant, each)}


def _layover_calls(tenant: TenantRef, search: LayoverSearch) -> Iterable[Call]:
    yield "search_layovers", layover_arguments(tenant, search)


KINDS: Final[Mapping[str, Kind]] = {
    "search": Kind(
        "One way", "/flights/search", parse_flight_search, search_flights, _search_calls
    ),
    "itineraries": Kind(
        "There and back, several cities",
        "/flights/itineraries",
        parse_itinerary_search,
        search_itineraries,
        _itinerary_calls,
    ),
    "calendar": Kind(
        "Price calendar", "/flights/calendar", parse_calendar_search, price_calendar,
        _calendar_calls,
    ),
    "layovers": Kind(
        "Layovers in a city",
        "/flights/layovers",
        parse_layover_search,
        search_layovers,
        _layover_calls,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tried:
    """What an enterprise would be answered, and what it took."""

    answer: dict[str, Any]
    milliseconds: float
    plans: tuple[plans.Explained, ...] = ()


def search_as(
    *, enterprise: Enterprise, kind: Kind, query_string: str, with_plans: bool, now: datetime
) -> Tried:
    """Answer a query as a key of the enterprise's would be answered; nothing can be written.

    Notes in the audit trail, with the operator's reason, that somebody read as the enterprise.
    Raises InvalidInput that names the parameters, and QueryTimeout. Plans are of a second
    execution, in a transaction of its own, under the same timeout.
    """
    search = kind.parse(query_string, zones=airports.get(), now=now)
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "select audit_reading('flights', %s, %s)",
            [f"{kind.path}?{query_string}"[:2_000], enterprise.pk],
        )
    began = time.perf_counter()
    body = kind.answer(enterprise.ref, search)
    milliseconds = (time.perf_counter() - began) * 1000
    return Tried(
        json.loads(body),
        milliseconds,
        tuple(_plans(enterprise.ref, kind.calls(enterprise.ref, search))) if with_plans else (),
    )


def _plans(tenant: TenantRef, calls: Iterable[Call]) -> Iterable[plans.Explained]:
    timeout = configs.get("flight.search_timeout", tenant)
    with snapshot_scope(tenant, timeout_seconds=timeout) as fetch:
        for function, arguments in calls:
            yield from plans.explained(fetch, function, arguments)
