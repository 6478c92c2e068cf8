"""The search that begins with the place: layovers at an airport, the most usable first.

`airport` and `date` (when the journey departs, by its origin's calendar) are required; ranges and
minutes are as in a search for flights.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from apps.configs.runtime import configs
from apps.flights import grammar
from apps.flights.grammar import Bounds
from apps.flights.queries import policy
from layoverhq.errors import FieldError, InvalidInput
from layoverhq.query_string import parse_query
from layoverhq.tenancy import TenantRef, fetch_in_scope

SORTS: Final = ("usable", "price")
DEFAULT_LIMIT: Final = 20
MAXIMUM_LIMIT: Final = 100

CURSOR_PATTERN: Final = grammar.CURSOR_PATTERN + r"\.[0-9]{1,4}"

SEARCH = """
    select search_layovers(
        jsonb_populate_record(null::layover_search, %(place)s::jsonb),
        jsonb_populate_record(null::flight_search, %(asked)s::jsonb)
    )
"""


@dataclass(frozen=True, slots=True)
class LayoverPosition:
    """Where a page ended."""

    key: int
    flight_id: UUID
    position: int


@dataclass(frozen=True, slots=True)
class LayoverSearch:
    """One search: minutes as numbers. With `daylight` those usable count with daylight only."""

    airport: str
    departure_date: date
    origin: str | None = None
    destination: str | None = None
    layover: Bounds[int] | None = None
    usable: Bounds[int] | None = None
    daylight: bool = False
    overnight: bool | None = None
    sort: str = SORTS[0]
    limit: int = DEFAULT_LIMIT
    after: LayoverPosition | None = None

    @property
    def digest(self) -> str:
        """Return what the pages of one search have in common, as 16 hexadecimal digits."""
        asked = [
            self.airport,
            self.departure_date.isoformat(),
            self.origin,
            self.destination,
            *(bounds and (bounds.low, bounds.high) for bounds in (self.layover, self.usable)),
            self.daylight,
            self.overnight,
            self.sort,
        ]
        return hashlib.blake2b(json.dumps(asked).encode(), digest_size=8).hexdigest()


def parse_layover_search(
    query_string: str, *, zones: Mapping[str, str], now: datetime
) -> LayoverSearch:
    """Parse a query string as WSGI hands it over. Raises InvalidInput with every faulty field."""
    errors: list[FieldError] = []
    parsers: dict[str, Callable[[str], Any]] = {
        "airport": lambda text: grammar.parse_airport(text, zones),
        "date": lambda text: _day(text, now),
        "origin": lambda text: grammar.parse_airport(text, zones),
        "destination": lambda text: grammar.parse_airport(text, zones),
        "layover": _minute_bounds,
        "usable": _minute_bounds,
        "daylight": lambda text: grammar.parse_choice(text, {"true": True, "false": False}),
        "overnight": lambda text: grammar.parse_choice(text, grammar.YES_OR_NO),
        "sort": lambda text: grammar.parse_choice(text, {sort: sort for sort in SORTS}),
        "limit": lambda text: grammar.parse_count(text, 1, MAXIMUM_LIMIT),
        "cursor": _cursor,
    }
    values = parse_query(query_string, parsers.keys(), errors)
    parsed: dict[str, Any] = {}
    for name, text in values.items():
        try:
            parsed[name] = parsers[name](text)
        except grammar.Unusable as refused:
            errors.append(FieldError(name, refused.code, refused.detail))
    faulty = {error.field for error in errors}
    errors += [
        FieldError(name, "required", "This parameter is required.")
        for name in ("airport", "date")
        if name not in values and name not in faulty
    ]
    place, ends = parsed.get("airport"), {parsed.get("origin"), parsed.get("destination")}
    if place and place in ends:
        errors.append(
            FieldError("airport", "same_airport", "A journey has no layover where it ends.")
        )
    if parsed.get("origin") and parsed.get("origin") == parsed.get("destination"):
        errors.append(
            FieldError("destination", "same_airport", "Origin and destination are the same.")
        )
    if errors:
        raise InvalidInput(errors)

    cursor: tuple[str, LayoverPosition] | None = parsed.pop("cursor", None)
    search = LayoverSearch(
        departure_date=parsed.pop("date"), **parsed, after=cursor[1] if cursor else None
    )
    if cursor and cursor[0] != search.digest:
        raise InvalidInput.of(
            "cursor", "The cursor belongs to another search.", code="foreign_cursor"
        )
    return search


def _day(text: str, now: datetime) -> date:
    day = grammar.parse_date(text)
    # Without a known origin only what is past everywhere on Earth is past.
    if day < (now - timedelta(hours=12)).date():
        raise grammar.Unusable("The date is past.", "past")
    if day > (now + timedelta(days=grammar.HORIZON_DAYS)).date():
        raise grammar.Unusable(f"At most {grammar.HORIZON_DAYS} days from today.", "too_far")
    return day


def _minute_bounds(text: str) -> Bounds[int]:
    return grammar.parse_bounds(text, grammar.parse_minutes)


def _cursor(text: str) -> tuple[str, LayoverPosition]:
    if not re.fullmatch(CURSOR_PATTERN, text):
        raise grammar.Unusable("This is no cursor of a search.", "malformed_cursor")
    digest, key, flight, position = text.split(".")
    return digest, LayoverPosition(int(key), UUID(flight), int(position))


def search_layovers(tenant: TenantRef, search: LayoverSearch) -> bytes:
    """Return the answer's body as JSON, `{"results": […], "next": cursor or null}`.

    Raises QueryTimeout.
    """
    rows = fetch_in_scope(
        tenant,
        SEARCH,
        {name: json.dumps(record) for name, record in layover_arguments(tenant, search).items()},
        timeout_seconds=configs.get("flight.search_timeout", tenant),
    )
    body: str = rows[0][0]
    return body.encode()


# Before every layover, in the order of each sort.
_START: Final[dict[str, dict[str, Any]]] = {
    "usable": {
        "after_key": 1_000_000,
        "after_id": str(UUID(int=2**128 - 1)),
        "after_position": 32_767,
    },
    "price": {"after_key": -1, "after_id": str(UUID(int=0)), "after_position": 0},
}


def layover_arguments(tenant: TenantRef, search: LayoverSearch) -> dict[str, dict[str, Any]]:
    """Return what search_layovers() in SQL is called with; the tenant's policy holds here, too."""
    return {"place": place_record(search), "asked": policy(tenant)}


def place_record(search: LayoverSearch) -> dict[str, Any]:
    """Return the search as the SQL type layover_search names its attributes; null is left out."""
    record: dict[str, Any] = {
        "airport": search.airport,
        "departure_day": search.departure_date.isoformat(),
        "origin": search.origin,
        "destination": search.destination,
        "overnight": search.overnight,
        "sort": search.sort,
        "page_size": search.limit,
        "cursor_prefix": search.digest,
        **_START[search.sort],
    }
    if search.layover:
        record["layover_minimum_minutes"] = search.layover.low
        record["layover_maximum_minutes"] = search.layover.high
    usable = search.usable
    if search.daylight and usable is None:
        usable = Bounds(grammar.DAYLIGHT_MINUTES, None)
    if usable:
        counted = "daylight" if search.daylight else "usable"
        record[f"{counted}_minimum_minutes"] = usable.low
        record[f"{counted}_maximum_minutes"] = usable.high
    if search.after:
        record |= {
            "after_key": search.after.key,
            "after_id": str(search.after.flight_id),
            "after_position": search.after.position,
        }
    return record
