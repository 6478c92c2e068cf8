"""What a search for several slices may ask for: each slice is a search of its own.

`slices=SFO-JFK-2026-12-01,JFK-LHR-2026-12-05` or, there and back, `origin`, `destination`,
`departure_date`, `return_date`. What else a search may ask for is asked of every slice.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Final
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from apps.flights import grammar
from apps.flights.combining import Combination
from apps.flights.grammar import FlightSearch, parse_flight_search
from layoverhq.errors import FieldError, InvalidInput
from layoverhq.query_string import parse_query

SORTS: Final = ("price", "duration")
DEFAULT_LIMIT: Final = 10
MAXIMUM_LIMIT: Final = 50
FEWEST_SLICES: Final = 2
MOST_SLICES: Final = 6
LONGEST_VALUE: Final = 400

SLICE_PATTERN: Final = f"{grammar.AIRPORT_PATTERN}-{grammar.AIRPORT_PATTERN}-{grammar.DATE_PATTERN}"
SLICES_PATTERN: Final = (
    f"{SLICE_PATTERN}(,{SLICE_PATTERN}){{{FEWEST_SLICES - 1},{MOST_SLICES - 1}}}"
)
CURSOR_PATTERN: Final = r"[0-9a-f]{16}\.[0-9]{1,15}\.[A-Za-z0-9_-]{43,128}"

# One lands on the day before over the date line only, where clocks differ by more than that.
DATE_LINE: Final = timedelta(hours=12)

ROUTE: Final = ("origin", "destination", "departure_date")
RETURN: Final = (*ROUTE, "return_date")
# What is asked of every slice.
FILTERS: Final = grammar.FILTERS | {"currency"}


@dataclass(frozen=True, slots=True)
class ItinerarySearch:
    """Two to six searches, in the order in which they are flown."""

    slices: tuple[FlightSearch, ...]
    sort: str = SORTS[0]
    limit: int = DEFAULT_LIMIT
    after: Combination | None = None

    @property
    def digest(self) -> str:
        """Return what the pages of one search have in common, as 16 hexadecimal digits."""
        asked = " ".join(each.digest for each in self.slices)
        return hashlib.blake2b(asked.encode(), digest_size=8).hexdigest()

    def cursor(self, last: Combination) -> str:
        """Return what leads to the combinations after that one."""
        ids = base64.urlsafe_b64encode(b"".join(each.bytes for each in last.ids)).decode()
        return f"{self.digest}.{last.total}.{ids.rstrip('=')}"


@dataclass(frozen=True, slots=True)
class _Asked:
    """A slice as it was asked for, and by which parameters."""

    route: tuple[str, ...]
    fields: tuple[str, ...]
    title: str = ""


@dataclass(slots=True)
class _Faults:
    """What is wrong, each thing once: slices have their filters in common."""

    errors: list[FieldError] = field(default_factory=list)

    def add(self, *errors: FieldError) -> None:
        self.errors += [error for error in errors if error not in self.errors]


def parse_itinerary_search(
    query_string: str, *, zones: Mapping[str, str], now: datetime
) -> ItinerarySearch:
    """Parse a query string as WSGI hands it over. Raises InvalidInput with every faulty field."""
    faults = _Faults()
    known = FILTERS | {*RETURN, "slices", "sort", "limit", "cursor"}
    values = parse_query(query_string, known, faults.errors, longest=LONGEST_VALUE)

    sort = values.get("sort", SORTS[0])
    if sort not in SORTS:
        faults.add(FieldError("sort", "invalid", f"Give one of {', '.join(SORTS)}."))
        sort = SORTS[0]
    limit = _limit(values.get("limit", str(DEFAULT_LIMIT)), faults)
    filters = {name: value for name, value in values.items() if name in FILTERS}
    slices = []
    for asked in _slices(values, faults):
        try:
            slices.append(_slice(asked, {**filters, "sort": sort}, zones, now))
        except InvalidInput as error:
            faults.add(*error.errors)
    for number, (before, later) in enumerate(pairwise(slices), 2):
        if not may_follow(
            later.departure_date,
            zones[later.origin],
            before.departure_date,
            zones[before.origin],
        ):
            if "slices" in values:
                detail = f"Slice {number} departs before the one before it."
                faults.add(FieldError("slices", "out_of_order", detail))
            else:
                detail = "The way back is before the way there."
                faults.add(FieldError("return_date", "out_of_order", detail))
    position = _position(values["cursor"], faults) if "cursor" in values else None
    if faults.errors:
        raise InvalidInput(faults.errors)

    search = ItinerarySearch(tuple(slices), sort, limit)
    if position is None:
        return search
    digest, after = position
    if digest != search.digest or len(after.ids) != len(slices):
        raise InvalidInput.of(
            "cursor", "The cursor belongs to another search.", code="foreign_cursor"
        )
    return replace(search, after=after)


def may_follow(later: date, zone: str, before: date, zone_before: str) -> bool:
    """Return whether one may depart on a day, by a zone's clock, after a slice of another day."""
    if later >= before:
        return True
    ends = datetime.combine(later + timedelta(days=1), time(), ZoneInfo(zone))
    return ends - datetime.combine(before, time(), ZoneInfo(zone_before)) > DATE_LINE


def _slices(values: Mapping[str, str], faults: _Faults) -> list[_Asked]:
    """Return what is asked for, in either form; nothing where that is wrong."""
    known_faults = {error.field for error in faults.errors}
    if "slices" in known_faults:
        return []
    if "slices" not in values:
        missing = [name for name in RETURN if name not in values and name not in known_faults]
        faults.add(
            *(FieldError(name, "required", "This parameter is required.") for name in missing)
        )
        if missing or not all(name in values for name in RETURN):
            return []
        origin, destination, there, back = (values[name] for name in RETURN)
        return [
            _Asked((origin, destination, there), ROUTE),
            _Asked((destination, origin, back), ("destination", "origin", "return_date")),
        ]
    if both := [name for name in RETURN if name in values]:
        detail = "Give the slices or the way there and back, not both."
        faults.add(*(FieldError(name, "contradiction", detail) for name in both))
        return []
    if not re.fullmatch(SLICES_PATTERN, values["slices"]):
        detail = (
            f"Give {FEWEST_SLICES} to {MOST_SLICES} slices with commas between, such as"
            " SFO-JFK-2026-12-01,JFK-LHR-2026-12-05."
        )
        faults.add(FieldError("slices", "invalid", detail))
        return []
    return [
        _Asked(tuple(text.split("-", 2)), ("slices",) * 3, f"Slice {number}: ")
        for number, text in enumerate(values["slices"].split(","), 1)
    ]


def _slice(
    asked: _Asked, shared: Mapping[str, str], zones: Mapping[str, str], now: datetime
) -> FlightSearch:
    """Parse one slice; what is wrong is told by the parameter that it came from."""
    own = dict(zip(ROUTE, asked.route, strict=True))
    try:
        return parse_flight_search(urlencode({**own, **shared}), zones=zones, now=now)
    except InvalidInput as error:
        names = dict(zip(ROUTE, asked.fields, strict=True))
        raise InvalidInput(
            [
                FieldError(names[fault.field], fault.code, asked.title + fault.detail)
                if fault.field in names
                else fault
                for fault in error.errors
            ]
        ) from None


def _limit(text: str, faults: _Faults) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= MAXIMUM_LIMIT:
        detail = f"Give a whole number from 1 to {MAXIMUM_LIMIT}."
        faults.add(FieldError("limit", "invalid", detail))
        return DEFAULT_LIMIT
    return int(text)


def _position(text: str, faults: _Faults) -> tuple[str, Combination] | None:
    malformed = FieldError("cursor", "malformed_cursor", "This is no cursor of a search.")
    if not re.fullmatch(CURSOR_PATTERN, text):
        faults.add(malformed)
        return None
    digest, total, encoded = text.split(".")
    try:
        ids = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except ValueError:
        faults.add(malformed)
        return None
    if len(ids) % 16:
        faults.add(malformed)
        return None
    return digest, Combination(
        int(total), tuple(UUID(bytes=ids[start : start + 16]) for start in range(0, len(ids), 16))
    )
