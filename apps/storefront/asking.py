"""What a traveller asks for: the form's fields, put into the search's grammar and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.http import QueryDict

from apps.flights.grammar import FlightSearch, parse_flight_search
from apps.storefront.places import Place, Places
from layoverhq.errors import InvalidInput

PAGE_SIZE: Final = 10
LONGEST_FIELD: Final = 100


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a field's choices, and what it asks of the search."""

    value: str
    label: str
    asks: Mapping[str, str] = field(default_factory=dict)


STAYS: Final = (
    Choice("any", "Any, or none"),
    Choice("short", "A few hours, 3 to 8 h", {"layover": "3h..8h"}),
    Choice("city", "City break, 8 to 20 h", {"layover": "8h..20h"}),
    Choice("night", "A night in town", {"overnight": "yes", "layover": "8h..36h"}),
)
TOWNS: Final = (
    Choice("any", "Any, or none"),
    Choice("2h", "2 hours or more", {"usable": "2h.."}),
    Choice("4h", "4 hours or more", {"usable": "4h.."}),
    Choice("6h", "6 hours or more", {"usable": "6h.."}),
    Choice("2h-day", "2 hours of daylight", {"usable": "2h..", "daylight": "true"}),
    Choice("4h-day", "4 hours of daylight", {"usable": "4h..", "daylight": "true"}),
)
SORTS: Final = (
    Choice("score", "Best layover", {"sort": "score"}),
    Choice("price", "Lowest price", {"sort": "price"}),
    Choice("duration", "Shortest journey", {"sort": "duration"}),
    Choice("departure", "Earliest departure", {"sort": "departure"}),
)
FIELDS: Final = (
    "origin", "destination", "departure_date", "stay", "town", "via", "max_price", "sort",
    "cursor",
)  # fmt: skip
# What a search is about; without any of these the form was only opened.
ESSENTIAL: Final = ("origin", "destination", "departure_date")

# What the grammar's refusals are to a traveller, by field and code; "" is any other code.
TOLD: Final[Mapping[str, Mapping[str, str]]] = {
    "origin": {
        "required": "Say where you start from.",
        "": "No airport of that name is known. Try the city or the three-letter code.",
    },
    "destination": {
        "required": "Say where you want to go.",
        "same_airport": "That is where you start from. Choose another destination.",
        "": "No airport of that name is known. Try the city or the three-letter code.",
    },
    "departure_date": {
        "required": "Choose the day you leave.",
        "past": "This day is over at the place you start from.",
        "too_far": "Flights can be searched for a year ahead at most.",
        "": "Give a day, such as 2026-12-24.",
    },
    "via": {"": "No airport of that name is known. Try the city or the three-letter code."},
    "max_price": {"": "Give a whole amount in US dollars, such as 400."},
    "stay": {"": "Choose one of the lengths."},
    "town": {"": "Choose one of the times."},
    "sort": {"": "Choose one of the orders."},
    "cursor": {"": "This list has changed meanwhile. Search again for a fresh one."},
}
AMBIGUOUS: Final = "Several airports fit. Choose the one you mean."
# The grammar's parameters that fields have other names for.
ASKED_BY: Final = {
    "layover": "stay",
    "overnight": "stay",
    "usable": "town",
    "daylight": "town",
    "price": "max_price",
    "limit": "cursor",
}
# Fields with a list of choices, the first of which is the usual one.
CHOICES: Final[Mapping[str, tuple[Choice, ...]]] = {"stay": STAYS, "town": TOWNS, "sort": SORTS}
# What a traveller gives up by leaving a field as it usually is.
GIVEN_UP: Final = {
    "max_price": "any price",
    "via": "a layover anywhere",
    "town": "any time in town",
    "stay": "a layover of any length",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a field; `choices` are airports that it may have meant."""

    field: str
    detail: str
    choices: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """The form as it was sent: texts by field, their faults, and the search where there is none.

    `places` are the airports that fields named.
    """

    values: Mapping[str, str]
    faults: Mapping[str, Fault]
    search: FlightSearch | None
    places: Mapping[str, Place]

    def query(self, **changes: str | None) -> str:
        """Return the query string that asks for the same, with changes; None leaves a field out."""
        codes = {name: place.iata for name, place in self.places.items()}
        merged = {**self.values, **codes, "cursor": "", **changes}
        usual = {name: choices[0].value for name, choices in CHOICES.items()}
        return urlencode(
            {
                name: merged[name]
                for name in FIELDS
                if merged.get(name) and merged[name] != usual.get(name)
            }
        )

    @property
    def is_blank(self) -> bool:
        """Whether nothing was asked for yet."""
        return not any(self.values.get(name) for name in ESSENTIAL)


def read(query: QueryDict, places: Places, *, now: datetime, served: Collection[str] = ()) -> Asked:
    """Read the form; parameters that are not its own, such as a campaign's, are left alone.

    `served` airports are meant before others of the same name.
    """
    values = {name: _clean(query.get(name, "")) for name in FIELDS}
    faults: dict[str, Fault] = {}
    asked: dict[str, str] = {"limit": str(PAGE_SIZE), "explain": "true"}
    found: dict[str, Place] = {}
    for name in ("origin", "destination", "via"):
        if not values[name]:
            continue
        candidates = places.named(values[name], served)
        if len(candidates) == 1:
            found[name] = candidates[0]
            values[name] = candidates[0].label
            asked[name] = candidates[0].iata
        elif candidates:
            faults[name] = Fault(name, AMBIGUOUS, tuple(candidates))
        else:
            faults[name] = _fault(name, "unknown_airport")
    for name in ("departure_date", "cursor"):
        if values[name]:
            asked[name] = values[name]
    if values["max_price"]:
        asked["price"] = f"..{values['max_price'].lstrip('$').strip()}"
    for name, choices in CHOICES.items():
        values[name] = values[name] or choices[0].value
        chosen = next((choice for choice in choices if choice.value == values[name]), None)
        if chosen is None:
            faults[name] = _fault(name, "invalid")
        else:
            asked |= chosen.asks
    search = None
    try:
        search = parse_flight_search(
            urlencode(asked).encode().decode("latin-1"), zones=places.zones, now=now
        )
    except InvalidInput as refused:
        for error in refused.errors:
            name = ASKED_BY.get(error.field, error.field)
            # An airport that could not be told is missing to the grammar.
            if name not in faults:
                faults[name] = _fault(name, error.code)
    return Asked(values, faults, None if faults else search, found)


def _clean(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:LONGEST_FIELD]


def _fault(name: str, code: str) -> Fault:
    told = TOLD.get(name, {})
    return Fault(name, told.get(code) or told.get("") or "This cannot be used.")


@dataclass(frozen=True, slots=True)
class Relaxation:
    """A search that asks for less: what it gives up, and how many journeys it would find."""

    words: str
    query: str
    found: int


def relaxations(asked: Asked, empty: Mapping[str, Any]) -> list[Relaxation]:
    """Return what would find something, the most first, by what the search says emptied it."""
    found: dict[str, int] = {}
    for refusing in empty.get("filters", ()):
        name = ASKED_BY.get(refusing["parameter"], refusing["parameter"])
        if name in GIVEN_UP and refusing["found_without"]:
            found[name] = max(found.get(name, 0), refusing["found_without"])
    return [
        Relaxation(GIVEN_UP[name], asked.query(**{name: None}), number)
        for name, number in sorted(found.items(), key=lambda item: -item[1])
    ]


def days_nearby(asked: Asked, empty: Mapping[str, Any], *, today: date) -> dict[date, str]:
    """Return the days with flights around the one without, each with the query that asks for it."""
    days = [date.fromisoformat(day) for day in empty.get("days_with_offers", ())]
    return {day: asked.query(departure_date=day.isoformat()) for day in days if day >= today}
