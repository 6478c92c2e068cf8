"""What may be asked of a layover, and the one grammar in which it is asked."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from apps.flights.grammar import Unusable, parse_airport, parse_minutes
from apps.flights.ground import minute_of
from apps.flights.offers.normalised import Moment, Refused, moment
from apps.layovers.visas import COUNTRIES
from layoverhq.errors import FieldError, InvalidInput
from layoverhq.query_string import parse_query

LONGEST: Final = timedelta(days=10)
HORIZON: Final = timedelta(days=365)

TIME_PATTERN: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]([+-][0-9]{2}:[0-9]{2}|Z)?"
)
PASSPORT_PATTERN: Final = r"[A-Z]{2}"
AMOUNT_PATTERN: Final = r"[0-9]{1,9}(\.[0-9]{1,3})?"
YES_NO: Final = {"true": True, "false": False}

PARAMETERS: Final = (
    "airport", "arrival", "departure", "from", "to", "passport", "visa_held", "self_transfer",
    "price", "best_price", "duration", "best_duration",
)  # fmt: skip
REQUIRED: Final = ("airport", "arrival", "departure")
# Each says nothing without the other.
PAIRS: Final = (("price", "best_price"), ("duration", "best_duration"))


@dataclass(frozen=True, slots=True)
class LayoverQuestion:
    """A layover as it is asked about; prices are of one currency, whichever."""

    airport: str
    arrival: Moment
    departure: Moment
    origin: str | None = None
    destination: str | None = None
    passport: str | None = None
    visa_held: bool = False
    self_transfer: bool = False
    price: Decimal | None = None
    best_price: Decimal | None = None
    minutes: int | None = None
    best_minutes: int | None = None

    @property
    def gap_minutes(self) -> int:
        """How long the layover lasts."""
        return (self.departure.at - self.arrival.at) // timedelta(minutes=1)

    def document(self) -> dict[str, Any]:
        """Return the question as JSON; `parse_document` reads it again."""
        return {
            "airport": self.airport,
            "arrival": self.arrival.text,
            "departure": self.departure.text,
            "from": self.origin,
            "to": self.destination,
            "passport": self.passport,
            "visa_held": self.visa_held,
            "self_transfer": self.self_transfer,
            "price": None if self.price is None else str(self.price),
            "best_price": None if self.best_price is None else str(self.best_price),
            "duration": self.minutes,
            "best_duration": self.best_minutes,
        }

    def digest_with(self, *circumstances: Any) -> str:
        """Return 32 hexadecimal digits, equal for equal questions in equal circumstances."""
        text = json.dumps([self.document(), *circumstances], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def parse_question(
    query_string: str, *, zones: Mapping[str, str], now: datetime
) -> LayoverQuestion:
    """Parse a query string as WSGI hands it over (bytes as Latin-1).

    `zones` maps the known airports to their time zones. Raises InvalidInput with every faulty
    field, not only the first.
    """
    errors: list[FieldError] = []
    values = parse_query(query_string, PARAMETERS, errors)
    return _question(values, errors, zones=zones, now=now)


def parse_passport(text: str) -> str:
    """Return a passport's country. Raises InvalidInput."""
    try:
        return _passport(text)
    except Unusable as refused:
        raise InvalidInput.of("passport", refused.detail, code=refused.code) from refused


def parse_values(
    given: Mapping[str, str], *, zones: Mapping[str, str], now: datetime
) -> LayoverQuestion:
    """Return the question that texts by parameter ask; empty ones are left out.

    Raises InvalidInput with every faulty field.
    """
    values = {name: given[name].strip() for name in PARAMETERS if given.get(name, "").strip()}
    return _question(values, [], zones=zones, now=now)


def parse_document(
    document: Mapping[str, Any], *, zones: Mapping[str, str], now: datetime
) -> LayoverQuestion:
    """Return the question of a document. Raises InvalidInput where it can be asked no longer."""
    return parse_values(
        {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in document.items()
            if value is not None
        },
        zones=zones,
        now=now,
    )


def _question(
    values: Mapping[str, str],
    errors: list[FieldError],
    *,
    zones: Mapping[str, str],
    now: datetime,
) -> LayoverQuestion:
    parsed: dict[str, Any] = {}

    def read(field: str, parse: Callable[[str], object]) -> None:
        if field in values:
            try:
                parsed[field] = parse(values[field])
            except Unusable as refused:
                errors.append(FieldError(field, refused.code, refused.detail))
            except Refused as refused:
                errors.append(FieldError(field, refused.reason, refused.detail))

    for field in ("airport", "from", "to"):
        read(field, lambda text: parse_airport(text, zones))
    for field in ("arrival", "departure"):
        read(field, lambda text, field=field: _moment(text, parsed.get("airport"), zones, field))  # type: ignore[misc]
    read("passport", _passport)
    for field in ("visa_held", "self_transfer"):
        read(field, _yes_no)
    for field in ("price", "best_price"):
        read(field, _amount)
    for field in ("duration", "best_duration"):
        read(field, parse_minutes)

    faulty = {error.field for error in errors}
    for field in REQUIRED:
        if field not in values and field not in faulty:
            errors.append(FieldError(field, "required", "This parameter is required."))
    errors.extend(_contradictions(values, parsed, now, faulty))
    if errors:
        raise InvalidInput(errors)
    return LayoverQuestion(
        airport=parsed["airport"],
        arrival=parsed["arrival"],
        departure=parsed["departure"],
        origin=parsed.get("from"),
        destination=parsed.get("to"),
        passport=parsed.get("passport"),
        visa_held=parsed.get("visa_held", False),
        self_transfer=parsed.get("self_transfer", False),
        price=parsed.get("price"),
        best_price=parsed.get("best_price"),
        minutes=parsed.get("duration"),
        best_minutes=parsed.get("best_duration"),
    )


def _contradictions(
    values: Mapping[str, str], parsed: Mapping[str, Any], now: datetime, faulty: set[str]
) -> Iterable[FieldError]:
    """Yield what is wrong between fields that are right on their own."""
    here = parsed.get("airport")
    for field in ("from", "to"):
        if here and parsed.get(field) == here:
            yield FieldError(field, "same_airport", "A layover is between two flights.")
    for pair in PAIRS:
        given = [field for field in pair if field in values]
        if len(given) == 1 and not faulty & set(pair):
            (missing,) = set(pair) - set(given)
            yield FieldError(missing, "required", f"It goes with {given[0]}.")
    arrival, departure = parsed.get("arrival"), parsed.get("departure")
    if not (isinstance(arrival, Moment) and isinstance(departure, Moment)):
        return
    if departure.at <= arrival.at:
        yield FieldError(
            "departure", "departure_before_arrival", "The departure is not after the arrival."
        )
    elif departure.at - arrival.at > LONGEST:
        yield FieldError(
            "departure", "layover_too_long", f"A layover lasts {LONGEST.days} days at most."
        )
    if departure.at < now:
        yield FieldError("departure", "past", "The layover is over.")
    elif arrival.at > now + HORIZON:
        yield FieldError("arrival", "too_far", f"At most {HORIZON.days} days ahead.")


def _moment(text: str, airport: str | None, zones: Mapping[str, str], field: str) -> Moment:
    if not re.fullmatch(TIME_PATTERN, text):
        raise Unusable("Give the airport's local time, such as 2026-12-01T08:30.", "invalid_time")
    if airport is None:
        # Without a zone only the form can be checked; the airport's fault is told already.
        try:
            read = datetime.fromisoformat(text)
        except ValueError:
            raise Unusable("There is no such day.", "invalid_time") from None
        utc = read.replace(tzinfo=UTC)
        return Moment(utc.isoformat(timespec="minutes"), "UTC", minute_of(utc), 0)
    return moment(text, airport, zones, field)


def _passport(text: str) -> str:
    if not re.fullmatch(PASSPORT_PATTERN, text) or text not in COUNTRIES:
        raise Unusable("Give two letters of ISO 3166-1 in capitals, such as DE.", "unknown_country")
    return text


def _yes_no(text: str) -> bool:
    if text not in YES_NO:
        raise Unusable("Give true or false.")
    return YES_NO[text]


def _amount(text: str) -> Decimal:
    if not re.fullmatch(AMOUNT_PATTERN, text):
        raise Unusable("Give an amount such as 400 or 99.50.")
    return Decimal(text)
