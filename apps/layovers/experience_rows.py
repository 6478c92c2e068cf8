"""Experiences as a CSV has them, one a line: read whole, each fault named by its line."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Final

from apps.flights.money import CURRENCIES, DECIMALS
from apps.layovers.hours import HoursFault, parse_hours
from apps.layovers.models import Experience
from layoverhq.errors import FieldError, InvalidInput

COLUMNS: Final = (
    "airport", "city", "name", "category", "rating", "price_from", "currency", "duration_minutes",
    "opening_hours", "base", "travel_minutes", "distance_km",
)  # fmt: skip
OPTIONAL_COLUMNS: Final = ("source", "is_indicative", "is_active")
MOST_LINES: Final = 20_000
MOST_BYTES: Final = 5_000_000

_DECIMAL: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,3})?", re.ASCII)
_WHOLE: Final = re.compile(r"[0-9]{1,6}", re.ASCII)
_TRUTH: Final = {"true": True, "false": False, "": None}


@dataclass(frozen=True, slots=True)
class ExperienceRow:
    """What an experience says, checked: money in minor units, distances in metres."""

    airport: str
    city: str
    name: str
    category: str
    rating_tenths: int
    price_from: int | None
    price_currency: str
    duration_minutes: int
    opening_hours: str
    base: str
    travel_minutes: int
    distance_metres: int | None
    source: str
    is_indicative: bool = True
    is_active: bool = True

    @property
    def key(self) -> tuple[str, str]:
        return self.airport, self.name

    def columns(self) -> dict[str, Any]:
        """Return the values by the model's attribute."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        values["airport_id"] = values.pop("airport")
        return values


@dataclass(frozen=True, slots=True)
class Reject:
    """A line that was refused: its number, the column, and why."""

    line: int
    column: str
    detail: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.column}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file holds; the digest names the text."""

    rows: tuple[tuple[int, ExperienceRow], ...]
    rejects: tuple[Reject, ...]
    digest: str


def read_experiences(text: str, *, airports: Collection[str], source: str) -> Reading:
    """Read a CSV; `source` is who says so where a line names nobody.

    Raises InvalidInput where the file as such cannot be read.
    """
    if len(text) > MOST_BYTES:
        raise InvalidInput.of("file", f"At most {MOST_BYTES:,} characters.", code="too_long")
    if "\x00" in text:
        raise InvalidInput.of("file", "The file holds NUL bytes.", code="nul")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, ExperienceRow]] = []
    rejects: list[Reject] = []
    seen: dict[tuple[str, str], int] = {}
    try:
        _check_header(reader.fieldnames)
        for number, cells in enumerate(reader, 1):
            if number > MOST_LINES:
                raise InvalidInput.of("file", f"At most {MOST_LINES:,} lines.", code="too_long")
            line = reader.line_num
            if None in cells or None in cells.values():
                rejects.append(
                    Reject(line, "columns", "It has more or fewer columns than the head.")
                )
                continue
            try:
                row = row_of(
                    {name: value.strip() for name, value in cells.items()}, airports, source
                )
            except InvalidInput as error:
                rejects += [Reject(line, each.field, each.detail) for each in error.errors]
                continue
            if row.key in seen:
                rejects.append(Reject(line, "name", f"Line {seen[row.key]} names it already."))
                continue
            seen[row.key] = line
            rows.append((line, row))
    except csv.Error as error:
        raise InvalidInput.of(
            "file", f"line {reader.line_num}: {error}.", code="not_csv"
        ) from error
    if not rows and not rejects:
        raise InvalidInput.of("file", "There is no line below the head.", code="empty")
    return Reading(tuple(rows), tuple(rejects), hashlib.sha256(text.encode()).hexdigest()[:32])


def _check_header(found: Any) -> None:
    names = set(found or ())
    if missing := [name for name in COLUMNS if name not in names]:
        raise InvalidInput.of(
            "file", f"The first line lacks {', '.join(missing)}.", code="missing_columns"
        )
    if strangers := sorted(names - {*COLUMNS, *OPTIONAL_COLUMNS}):
        named = ", ".join(str(each)[:30] for each in strangers)
        raise InvalidInput.of("file", f"No such column: {named}.", code="unknown_columns")


def row_of(cells: Mapping[str, str], airports: Collection[str], source: str) -> ExperienceRow:
    """Return what the texts of one experience say. Raises InvalidInput with every faulty column."""
    faults: list[FieldError] = []

    def refuse(column: str, detail: str) -> None:
        faults.append(FieldError(column, "invalid", detail))

    def whole(column: str, low: int, high: int) -> int:
        text = cells[column]
        if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
            refuse(column, f"Give whole minutes from {low} to {high}.")
            return low
        return int(text)

    def decimal(column: str) -> Decimal | None:
        text = cells[column]
        if text and not _DECIMAL.fullmatch(text):
            refuse(column, "Give a number such as 12 or 4.5.")
            return None
        return Decimal(text) if text else None

    def truth(column: str) -> bool:
        text = cells.get(column, "").lower()
        if text not in _TRUTH:
            refuse(column, "Give true or false.")
        return _TRUTH.get(text) is not False

    if cells["airport"] not in airports:
        refuse("airport", "No such airport is known: give an IATA code.")
    for column, longest in (("city", 100), ("name", 200)):
        if not 0 < len(cells[column]) <= longest or not cells[column].isprintable():
            refuse(column, f"Give up to {longest} characters.")
    if cells["category"] not in Experience.Category.values:
        refuse("category", f"Give one of {', '.join(Experience.Category.values)}.")
    if cells["base"] not in Experience.Base.values:
        refuse("base", f"Give one of {', '.join(Experience.Base.values)}.")
    if cells["currency"] not in CURRENCIES:
        refuse("currency", "This is no currency of ISO 4217.")
    rating = decimal("rating")
    if rating is None or rating > 5 or rating * 10 != int(rating * 10):
        refuse("rating", "Give stars from 0 to 5 with one decimal.")
        rating = Decimal(0)
    try:
        parse_hours(cells["opening_hours"])
    except HoursFault as fault:
        refuse("opening_hours", str(fault))
    distance = decimal("distance_km")
    if distance is not None and distance > 300:
        refuse("distance_km", "At most 300 km.")
    named_source = cells.get("source", "") or source
    if len(named_source) > 300:
        refuse("source", "At most 300 characters.")
    row = ExperienceRow(
        airport=cells["airport"],
        city=cells["city"],
        name=cells["name"],
        category=cells["category"],
        rating_tenths=int(rating * 10),
        price_from=_minor(decimal("price_from"), cells["currency"], refuse),
        price_currency=cells["currency"],
        duration_minutes=whole("duration_minutes", 10, 720),
        opening_hours=cells["opening_hours"],
        base=cells["base"],
        travel_minutes=whole("travel_minutes", 0, 300),
        distance_metres=None if distance is None else int(distance * 1000),
        source=named_source,
        is_indicative=truth("is_indicative"),
        is_active=truth("is_active"),
    )
    if faults:
        raise InvalidInput(faults)
    return row


def _minor(amount: Decimal | None, currency: str, refuse: Any) -> int | None:
    if amount is None:
        return None
    decimals = DECIMALS.get(currency, 2)
    minor = amount.scaleb(decimals)
    if minor != int(minor):
        refuse("price_from", f"{currency} has {decimals} decimals.")
    if minor > 10**11:
        refuse("price_from", "That is too much.")
    return min(int(minor), 10**11)


def written(experience: Experience) -> dict[str, str]:
    """Return an experience as a line of a CSV."""
    price, distance = experience.price, experience.distance_metres
    return {
        "airport": experience.airport_id,
        "city": experience.city,
        "name": experience.name,
        "category": experience.category,
        "rating": str(experience.rating),
        "price_from": "" if price is None else f"{price:f}",
        "currency": experience.price_currency,
        "duration_minutes": str(experience.duration_minutes),
        "opening_hours": experience.opening_hours,
        "base": experience.base,
        "travel_minutes": str(experience.travel_minutes),
        "distance_km": "" if distance is None else f"{Decimal(distance) / 1000:f}",
        "source": experience.source,
        "is_indicative": str(experience.is_indicative).lower(),
        "is_active": str(experience.is_active).lower(),
    }


def as_csv(experiences: Iterator[Experience]) -> str:
    """Return experiences as a CSV that can be read again."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, [*COLUMNS, *OPTIONAL_COLUMNS], lineterminator="\n")
    writer.writeheader()
    writer.writerows(written(each) for each in experiences)
    return out.getvalue()
