"""What a search may ask for, and the one grammar in which it asks.

A range is `low..high`, `low..` or `..high`, both ends included. Minutes are `8h`, `8h30m`, `90m`
or `90`, prices are amounts of the currency asked for, times of day are `06:00` and do not run over
midnight, because the departure date names the day.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Generic, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from apps.flights.money import BASE_CURRENCY, CURRENCIES, DECIMALS
from apps.flights.offers.normalised import CABINS
from layoverhq.errors import FieldError, InvalidInput
from layoverhq.query_string import parse_query

SORTS: Final = ("price", "duration", "departure", "score")
DEFAULT_SORT: Final = "price"
DEFAULT_LIMIT: Final = 20
MAXIMUM_LIMIT: Final = 100
MAXIMUM_LAYOVERS: Final = 9
MAXIMUM_AIRPORTS: Final = 20
MAXIMUM_CARRIERS: Final = 20
MAXIMUM_FLEXIBLE_DAYS: Final = 3
# Airlines publish their schedules for less than a year ahead.
HORIZON_DAYS: Final = 365
# What a stay in daylight is at least, where nothing is said of its length.
DAYLIGHT_MINUTES: Final = 60

MINUTES_PATTERN: Final = r"[0-9]{1,3}h([0-5]?[0-9]m)?|[0-9]{1,5}m?"
PRICE_PATTERN: Final = r"[0-9]{1,9}(\.[0-9]{1,3})?"
TIME_PATTERN: Final = r"([01][0-9]|2[0-3]):[0-5][0-9]"
AIRPORT_PATTERN: Final = r"[A-Z]{3}"
CARRIER_PATTERN: Final = r"[A-Z0-9]{2}"
DATE_PATTERN: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
CURSOR_PATTERN: Final = (
    r"[0-9a-f]{16}\.[0-9]{1,15}\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
)

YES_OR_NO: Final[Mapping[str, bool]] = {"yes": True, "no": False}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bounds(Generic[T]):
    """A range with both ends included; an end that is None is open."""

    low: T | None
    high: T | None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended: the sort key of its last offer, and the offer."""

    key: int
    id: UUID


@dataclass(frozen=True, slots=True)
class FlightSearch:
    """One search: minutes as numbers, prices in minor units, times of day as minutes.

    `layover` bounds every layover; the most that one leaves for its city is `usable`, with daylight
    if `daylight`. `via` asks for a layover at any of its airports, and `layover`, `usable` and
    `overnight` then mean the one there. `exclude` asks for none at its own. `carriers` asks that
    every segment is by one of them. Airports and carriers are sorted. Prices are in minor units
    of `currency`.
    """

    origin: str
    destination: str
    departure_date: date
    max_layovers: int | None = None
    via: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    layover: Bounds[int] | None = None
    duration: Bounds[int] | None = None
    price: Bounds[int] | None = None
    depart: Bounds[int] | None = None
    flexible_days: int = 0
    usable: Bounds[int] | None = None
    daylight: bool = False
    overnight: bool | None = None
    carriers: tuple[str, ...] = ()
    exclude_carriers: tuple[str, ...] = ()
    cabin: str | None = None
    self_transfer: bool | None = None
    terminal_change: bool | None = None
    currency: str = BASE_CURRENCY
    explain: bool = False
    sort: str = DEFAULT_SORT
    limit: int = DEFAULT_LIMIT
    after: Position | None = None

    @property
    def departure_days(self) -> list[date]:
        """The days that are searched, the asked one first."""
        shifts = sorted(range(-self.flexible_days, self.flexible_days + 1), key=abs)
        return [self.departure_date + timedelta(days=shift) for shift in shifts]

    @property
    def digest(self) -> str:
        """Return what the pages of one search have in common, as 16 hexadecimal digits."""
        asked = [
            self.origin,
            self.destination,
            self.departure_date.isoformat(),
            self.max_layovers,
            self.via,
            self.exclude,
            *(
                bounds and (bounds.low, bounds.high)
                for bounds in (self.layover, self.duration, self.price, self.depart, self.usable)
            ),
            self.flexible_days,
            self.daylight,
            self.overnight,
            self.carriers,
            self.exclude_carriers,
            self.cabin,
            self.self_transfer,
            self.terminal_change,
            self.currency,
            self.sort,
        ]
        return hashlib.blake2b(json.dumps(asked).encode(), digest_size=8).hexdigest()


class Unusable(Exception):
    """A value cannot be used; carries the code and the sentence, and no field's name."""

    def __init__(self, detail: str, code: str = "invalid") -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code


def parse_flight_search(
    query_string: str, *, zones: Mapping[str, str], now: datetime
) -> FlightSearch:
    """Parse a query string as WSGI hands it over (bytes as Latin-1).

    `zones` maps the known airports to their time zones. Raises InvalidInput with every faulty
    field, not only the first.
    """
    errors: list[FieldError] = []
    values = parse_query(query_string, PARAMETERS, errors)
    parsed: dict[str, Any] = {}

    def read(field: str, parse: Callable[[str], object]) -> None:
        if field in values:
            try:
                parsed[field] = parse(values[field])
            except Unusable as refused:
                errors.append(FieldError(field, refused.code, refused.detail))

    def airport(text: str) -> str:
        return parse_airport(text, zones)

    read("origin", airport)
    read("destination", airport)
    read("departure_date", parse_date)
    read("max_layovers", lambda text: parse_count(text, 0, MAXIMUM_LAYOVERS))
    read("via", lambda text: _airports(text, zones))
    read("exclude", lambda text: _airports(text, zones))
    read("layover", lambda text: parse_bounds(text, parse_minutes))
    read("duration", lambda text: parse_bounds(text, parse_minutes))
    read("currency", _currency)
    currency = parsed.get("currency", BASE_CURRENCY)
    read("price", lambda text: parse_bounds(text, lambda amount: _price(amount, currency)))
    read("depart", lambda text: parse_bounds(text, _time_of_day))
    read("flexible_days", lambda text: parse_count(text, 0, MAXIMUM_FLEXIBLE_DAYS))
    read("usable", lambda text: parse_bounds(text, parse_minutes))
    read("daylight", lambda text: parse_choice(text, {"true": True, "false": False}))
    read("carriers", _carriers)
    read("exclude_carriers", _carriers)
    read("cabin", lambda text: parse_choice(text, {cabin: cabin for cabin in CABINS}))
    for field in ("overnight", "self_transfer", "terminal_change"):
        read(field, lambda text: parse_choice(text, YES_OR_NO))
    read("explain", lambda text: parse_choice(text, {"true": True, "false": False}))
    read("sort", lambda text: parse_choice(text, {sort: sort for sort in SORTS}))
    read("limit", lambda text: parse_count(text, 1, MAXIMUM_LIMIT))
    read("cursor", _cursor)

    faulty = {error.field for error in errors}
    for field in ("origin", "destination", "departure_date"):
        if field not in values and field not in faulty:
            errors.append(FieldError(field, "required", "This parameter is required."))
    errors.extend(_contradictions(parsed, zones, now))
    if errors:
        raise InvalidInput(errors)

    cursor: tuple[str, Position] | None = parsed.pop("cursor", None)
    search = FlightSearch(**parsed, after=cursor[1] if cursor else None)
    if cursor and cursor[0] != search.digest:
        raise InvalidInput.of(
            "cursor", "The cursor belongs to another search.", code="foreign_cursor"
        )
    return search


PARAMETERS: Final = frozenset(
    {
        "origin",
        "destination",
        "departure_date",
        "max_layovers",
        "via",
        "exclude",
        "layover",
        "duration",
        "price",
        "depart",
        "flexible_days",
        "usable",
        "daylight",
        "overnight",
        "carriers",
        "exclude_carriers",
        "cabin",
        "self_transfer",
        "terminal_change",
        "currency",
        "explain",
        "sort",
        "limit",
        "cursor",
    }
)
# Those that leave offers of the route and days out.
FILTERS: Final = PARAMETERS - {
    "origin",
    "destination",
    "departure_date",
    "flexible_days",
    "currency",
    "explain",
    "sort",
    "limit",
    "cursor",
}


def _contradictions(
    parsed: Mapping[str, Any], zones: Mapping[str, str], now: datetime
) -> Iterable[FieldError]:
    """Yield what is wrong between fields that are right on their own."""
    origin, destination = parsed.get("origin"), parsed.get("destination")
    if origin and origin == destination:
        yield FieldError("destination", "same_airport", "Origin and destination are the same.")
    day: date | None = parsed.get("departure_date")
    if day:
        zone = ZoneInfo(zones[origin]) if origin else None
        # Without a known origin only what is past everywhere on Earth is past.
        today = now.astimezone(zone).date() if zone else (now - timedelta(hours=12)).date()
        if day < today:
            yield FieldError("departure_date", "past", "The date is past at the origin.")
        elif day > today + timedelta(days=HORIZON_DAYS):
            yield FieldError(
                "departure_date", "too_far", f"At most {HORIZON_DAYS} days from today."
            )
    if both := set(parsed.get("via", ())) & set(parsed.get("exclude", ())):
        yield FieldError(
            "exclude", "contradiction", f"Asked for as via, too: {', '.join(sorted(both))}."
        )
    if both := set(parsed.get("carriers", ())) & set(parsed.get("exclude_carriers", ())):
        yield FieldError(
            "exclude_carriers", "contradiction", f"Asked for, too: {', '.join(sorted(both))}."
        )


def parse_airport(text: str, zones: Mapping[str, str]) -> str:
    """Return the code of a known airport. Raises Unusable."""
    if not re.fullmatch(AIRPORT_PATTERN, text):
        raise Unusable("Give one IATA code in capitals, such as SFO.")
    if text not in zones:
        raise Unusable(f"No airport {text} is known.", "unknown_airport")
    return text


def _airports(text: str, zones: Mapping[str, str]) -> tuple[str, ...]:
    codes = text.split(",")
    if len(codes) > MAXIMUM_AIRPORTS:
        raise Unusable(f"At most {MAXIMUM_AIRPORTS} airports.", "too_many")
    if not all(re.fullmatch(AIRPORT_PATTERN, code) for code in codes):
        raise Unusable("Give IATA codes in capitals with commas between, such as DEN,ORD.")
    if strangers := sorted(set(codes) - zones.keys()):
        raise Unusable(f"No such airport is known: {', '.join(strangers)}.", "unknown_airport")
    return tuple(sorted(set(codes)))


def parse_date(text: str) -> date:
    """Return a day, told as YYYY-MM-DD. Raises Unusable."""
    if not re.fullmatch(DATE_PATTERN, text):
        raise Unusable("Give a date such as 2026-03-01.")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Unusable("There is no such day.", "impossible_date") from None


def parse_count(text: str, low: int, high: int) -> int:
    """Return a whole number within both ends. Raises Unusable."""
    if not re.fullmatch(r"[0-9]{1,3}", text) or not low <= int(text) <= high:
        raise Unusable(f"Give a whole number from {low} to {high}.")
    return int(text)


def parse_choice(text: str, choices: Mapping[str, T]) -> T:
    """Return what one of the words means. Raises Unusable."""
    if text not in choices:
        raise Unusable(f"Give one of {', '.join(choices)}.")
    return choices[text]


def _carriers(text: str) -> tuple[str, ...]:
    codes = text.split(",")
    if len(codes) > MAXIMUM_CARRIERS:
        raise Unusable(f"At most {MAXIMUM_CARRIERS} airlines.", "too_many")
    if not all(re.fullmatch(CARRIER_PATTERN, code) for code in codes):
        raise Unusable("Give IATA codes of airlines with commas between, such as UA,B6.")
    return tuple(sorted(set(codes)))


def _currency(text: str) -> str:
    if text not in CURRENCIES:
        raise Unusable("Give a currency of ISO 4217 in capitals, such as EUR.", "unknown_currency")
    return text


def parse_bounds(text: str, parse: Callable[[str], int]) -> Bounds[int]:
    """Return a range whose ends `parse` reads. Raises Unusable."""
    low_text, dots, high_text = text.partition("..")
    if not dots or not (low_text or high_text):
        raise Unusable("Give a range: low..high, low.. or ..high.")
    low = parse(low_text) if low_text else None
    high = parse(high_text) if high_text else None
    if low is not None and high is not None and low > high:
        raise Unusable("The range is upside down.", "upside_down")
    return Bounds(low, high)


def parse_minutes(text: str) -> int:
    """Return minutes. Raises Unusable."""
    # re.ASCII is not needed: [0-9] never matches other scripts' digits, where int() takes them.
    if not re.fullmatch(MINUTES_PATTERN, text):
        raise Unusable("Give minutes such as 8h, 8h30m, 90m or 90.")
    hours, has_hours, rest = text.rpartition("h")
    return (
        int(hours or 0) * 60 + int(rest.removesuffix("m") or 0)
        if has_hours
        else int(text.removesuffix("m"))
    )


def _price(text: str, currency: str) -> int:
    if not re.fullmatch(PRICE_PATTERN, text):
        raise Unusable("Give an amount such as 400 or 99.50.")
    decimals = DECIMALS.get(currency, 2)
    if len(text.partition(".")[2]) > decimals:
        raise Unusable(f"An amount of {currency} has {decimals} decimals.", "price_precision")
    return int(Decimal(text).scaleb(decimals))


def _time_of_day(text: str) -> int:
    if not re.fullmatch(TIME_PATTERN, text):
        raise Unusable("Give a time of day such as 06:00.")
    return int(text[:2]) * 60 + int(text[3:])


def _cursor(text: str) -> tuple[str, Position]:
    if not re.fullmatch(CURSOR_PATTERN, text):
        raise Unusable("This is no cursor of a search.", "malformed_cursor")
    digest, key, offer = text.split(".")
    return digest, Position(int(key), UUID(offer))
