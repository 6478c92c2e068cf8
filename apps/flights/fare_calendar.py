"""The cheapest offer of every day: of a month, or there and back of the days around two dates."""

from __future__ import annotations

import calendar
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from apps.configs.runtime import configs
from apps.flights import grammar
from apps.flights.combining import Combination, Slice, best_combinations
from apps.flights.grammar import FlightSearch, parse_flight_search
from apps.flights.itineraries import WAIT_MINUTES, offer_list, offers_by_id
from apps.flights.itinerary_grammar import FILTERS, may_follow, parse_itinerary_search
from apps.flights.queries import asked_record
from layoverhq.errors import FieldError, InvalidInput
from layoverhq.query_string import parse_query
from layoverhq.tenancy import Fetch, TenantRef, fetch_in_scope, snapshot_scope

MONTH_PATTERN: Final = r"[0-9]{4}-(0[1-9]|1[0-2])"
# Around the dates of the way there and of the way back.
AROUND_DAYS: Final = 3

CALENDAR = """
    select price_calendar(
        jsonb_populate_record(null::flight_search, %(asked)s::jsonb), %(days)s::date[]
    )
"""


@dataclass(frozen=True, slots=True)
class CalendarSearch:
    """A month's days that are not past, or pairs of the days around the way there and back."""

    search: FlightSearch
    days: tuple[date, ...] = ()
    back: FlightSearch | None = None
    pairs: tuple[tuple[date, date], ...] = ()


def parse_calendar_search(
    query_string: str, *, zones: Mapping[str, str], now: datetime
) -> CalendarSearch:
    """Parse a query string as WSGI hands it over. Raises InvalidInput with every faulty field."""
    errors: list[FieldError] = []
    known = FILTERS | {"origin", "destination", "month", "departure_date", "return_date"}
    values = parse_query(query_string, known, errors)
    if "return_date" in values or "departure_date" in values:
        if "month" in values:
            detail = "Give a month, or the dates of the way there and back."
            errors.append(FieldError("month", "contradiction", detail))
        return _there_and_back(values, errors, zones, now)
    return _month(values, errors, zones, now)


def _there_and_back(
    values: Mapping[str, str],
    errors: list[FieldError],
    zones: Mapping[str, str],
    now: datetime,
) -> CalendarSearch:
    try:
        asked = parse_itinerary_search(
            urlencode({name: value for name, value in values.items() if name != "month"}),
            zones=zones,
            now=now,
        )
    except InvalidInput as error:
        raise InvalidInput([*errors, *error.errors]) from None
    if errors:
        raise InvalidInput(errors)
    there, back = asked.slices
    pairs = tuple(
        (day, later)
        for day in _around(there, zones, now)
        for later in _around(back, zones, now)
        if may_follow(later, zones[back.origin], day, zones[there.origin])
    )
    return CalendarSearch(there, back=back, pairs=pairs)


def _month(
    values: Mapping[str, str],
    errors: list[FieldError],
    zones: Mapping[str, str],
    now: datetime,
) -> CalendarSearch:
    month = values.get("month")
    days: tuple[date, ...] = ()
    if month is None:
        if not any(error.field == "month" for error in errors):
            detail = "Give a month, or departure_date and return_date."
            errors.append(FieldError("month", "required", detail))
    elif not re.fullmatch(MONTH_PATTERN, month) or int(month[:4]) < 1:
        errors.append(FieldError("month", "invalid", "Give a month such as 2026-12."))
    else:
        first = date(int(month[:4]), int(month[5:]), 1)
        length = calendar.monthrange(first.year, first.month)[1]
        all_days = [first.replace(day=number) for number in range(1, length + 1)]
        days = _bookable(all_days, zones.get(values.get("origin", "")), now)
        if not days:
            past = first < now.date()
            errors.append(
                FieldError("month", "past", "The month is past at the origin.")
                if past
                else FieldError(
                    "month", "too_far", f"At most {grammar.HORIZON_DAYS} days from today."
                )
            )
    # Whatever the month is, the rest is told of as well.
    stand_in = days[0] if days else (now + timedelta(days=1)).date()
    shared = {name: value for name, value in values.items() if name != "month"}
    try:
        search = parse_flight_search(
            urlencode({**shared, "departure_date": stand_in.isoformat()}), zones=zones, now=now
        )
    except InvalidInput as error:
        known = {fault.field for fault in errors}
        raise InvalidInput(
            [*errors, *(fault for fault in error.errors if fault.field not in known)]
        ) from None
    if errors:
        raise InvalidInput(errors)
    return CalendarSearch(search, days)


def _around(search: FlightSearch, zones: Mapping[str, str], now: datetime) -> tuple[date, ...]:
    days = [
        search.departure_date + timedelta(days=shift)
        for shift in range(-AROUND_DAYS, AROUND_DAYS + 1)
    ]
    return _bookable(days, zones.get(search.origin), now)


def _bookable(days: list[date], zone: str | None, now: datetime) -> tuple[date, ...]:
    """Return those of the days that are neither past at the origin nor beyond all schedules."""
    today = now.astimezone(ZoneInfo(zone)).date() if zone else now.date()
    last = today + timedelta(days=grammar.HORIZON_DAYS)
    return tuple(day for day in days if today <= day <= last)


def price_calendar(tenant: TenantRef, asked: CalendarSearch) -> bytes:
    """Return the answer's body as JSON, `{"results": […]}`: a day each, or a pair of days each.

    What has no offer has nulls. Raises QueryTimeout.
    """
    timeout = configs.get("flight.search_timeout", tenant)
    if asked.back is not None:
        with snapshot_scope(tenant, timeout_seconds=timeout) as fetch:
            results = _pairs(fetch, tenant, asked, asked.back)
        return json.dumps({"results": results}, separators=(",", ":")).encode()
    rows = fetch_in_scope(
        tenant,
        CALENDAR,
        {"asked": json.dumps(asked_record(tenant, asked.search)), "days": list(asked.days)},
        timeout_seconds=timeout,
    )
    return f'{{"results":{rows[0][0]}}}'.encode()


def _pairs(
    fetch: Fetch, tenant: TenantRef, asked: CalendarSearch, back: FlightSearch
) -> list[dict[str, Any]]:
    """Return every pair of days with what the cheapest way there and back costs."""
    there_records = _records(tenant, asked.search, {day for day, _ in asked.pairs})
    back_records = _records(tenant, back, {later for _, later in asked.pairs})
    # A day's list is read once, however many pairs it is in.
    there_lists = {day: offer_list(fetch, record) for day, record in there_records.items()}
    back_lists = {day: offer_list(fetch, record) for day, record in back_records.items()}
    best = {
        (day, later): _cheapest(there_lists[day], back_lists[later]) for day, later in asked.pairs
    }
    offers: dict[Any, dict[str, Any]] = {}
    for place, records in enumerate((there_records, back_records)):
        for day, record in records.items():
            ids = {found.ids[place] for days, found in best.items() if found and days[place] == day}
            offers |= offers_by_id(fetch, record, ids)
    return [
        {
            "departure_date": day.isoformat(),
            "return_date": later.isoformat(),
            **_told([offers[each] for each in found.ids] if found else []),
        }
        for (day, later), found in sorted(best.items())
    ]


def _records(
    tenant: TenantRef, search: FlightSearch, days: Iterable[date]
) -> dict[date, dict[str, Any]]:
    return {day: asked_record(tenant, replace(search, departure_date=day)) for day in days}


def _cheapest(outbound: Slice, inbound: Slice) -> Combination | None:
    combined = best_combinations([outbound, inbound], wait=WAIT_MINUTES, count=1)
    return combined.combinations[0] if combined.combinations else None


def _told(offers: list[dict[str, Any]]) -> dict[str, Any]:
    if not offers:
        return dict.fromkeys(("price_minor", "price_currency", "offer_ids", "seen_at"))
    return {
        "price_minor": sum(offer["price_minor"] for offer in offers),
        "price_currency": offers[0]["price_currency"],
        "offer_ids": [offer["id"] for offer in offers],
        "seen_at": min(offer["seen_at"] for offer in offers),
    }
