"""What a traveller asks for: the form's fields, put into the search's grammar and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.http import QueryDict

from apps.flights.grammar import FlightSearch, parse_flight_search
from apps.flights.money import BASE_CURRENCY
from apps.flights.rates import PIVOT, NoRate, StaleRate, rates, shown
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


FLEXIBLE: Final = (
    Choice("0", "On the day"),
    Choice("1", "± 1 day", {"flexible_days": "1"}),
    Choice("2", "± 2 days", {"flexible_days": "2"}),
    Choice("3", "± 3 days", {"flexible_days": "3"}),
)
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
# Each way of a return trip is a search of its own.
WAYS: Final = (Choice("there", "There"), Choice("back", "Back"))
# Every field with what it is called on the page.
LABELS: Final = {
    "origin": "From",
    "destination": "To",
    "departure_date": "Leaving on",
    "return_date": "Back on",
    "flexible_days": "Flexible",
    "stay": "Layover",
    "town": "Time in town",
    "via": "Layover in",
    "max_price": "Price up to",
    "currency": "Currency",
    "sort": "Best first by",
    "way": "Way",
    "cursor": "List",
}
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
    "return_date": {
        "past": "This day is over at the place you return from.",
        "too_far": "Flights can be searched for a year ahead at most.",
        "out_of_order": "This is before the day you leave.",
        "": "Give a day, such as 2026-12-24.",
    },
    "via": {"": "No airport of that name is known. Try the city or the three-letter code."},
    "max_price": {"": "Give an amount, such as 400."},
    "currency": {
        "stale_rate": "Our exchange rate of this currency is too old. Choose another one.",
        "": "We have no exchange rate of this currency. Choose another one.",
    },
    "flexible_days": {"": "Choose one of the numbers of days."},
    "stay": {"": "Choose one of the lengths."},
    "town": {"": "Choose one of the times."},
    "sort": {"": "Choose one of the orders."},
    "way": {"": "Choose the way there or the way back."},
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
CHOICES: Final[Mapping[str, tuple[Choice, ...]]] = {
    "flexible_days": FLEXIBLE,
    "stay": STAYS,
    "town": TOWNS,
    "sort": SORTS,
    "way": WAYS,
}
USUAL: Final = {name: choices[0].value for name, choices in CHOICES.items()} | {
    "currency": BASE_CURRENCY
}
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

    @property
    def label(self) -> str:
        return LABELS[self.field]

    @property
    def anchor(self) -> str:
        """The field that a click on the fault leads to."""
        return "origin" if self.field in ("sort", "way", "cursor") else self.field


@dataclass(frozen=True, slots=True)
class Asked:
    """The form as it was sent: texts by field, their faults, and the search where there is none.

    `places` are the airports that fields named. A search is a way: one, or that there and that
    back, of which one is shown.
    """

    values: Mapping[str, str]
    faults: Mapping[str, Fault]
    places: Mapping[str, Place]
    ways: tuple[FlightSearch, ...] = ()

    def query(self, **changes: str | None) -> str:
        """Return the query string that asks for the same, with changes; None leaves a field out."""
        codes = {name: place.iata for name, place in self.places.items()}
        merged = {**self.values, **codes, "cursor": "", **changes}
        return urlencode(
            {
                name: merged[name]
                for name in LABELS
                if merged.get(name) and merged[name] != USUAL.get(name)
            }
        )

    def on(self, day: date) -> str:
        """Return the query string of the shown way on just this day.

        Empty where one would come back before one leaves.
        """
        dates = [day if way is self.search else way.departure_date for way in self.ways]
        if dates != sorted(dates):
            return ""
        name = "return_date" if self.is_back else "departure_date"
        return self.query(**{name: day.isoformat(), "flexible_days": None})

    @property
    def search(self) -> FlightSearch | None:
        """The way that is shown, None where something is wrong."""
        return self.ways[self.is_back] if self.ways else None

    @property
    def is_back(self) -> bool:
        """Whether the way back is shown."""
        return len(self.ways) == 2 and self.values["way"] == "back"

    @property
    def ends(self) -> tuple[Place, Place]:
        """Where the way that is shown begins and ends."""
        ends = self.places["origin"], self.places["destination"]
        return ends[::-1] if self.is_back else ends

    @property
    def is_blank(self) -> bool:
        """Whether nothing was asked for yet."""
        return not any(self.values.get(name) for name in ESSENTIAL)


def read(query: QueryDict, places: Places, *, now: datetime, served: Collection[str] = ()) -> Asked:
    """Read the form; parameters that are not its own, such as a campaign's, are left alone.

    `served` airports are meant before others of the same name.
    """
    values = {name: _clean(query.get(name, "")) for name in LABELS}
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
    if values["departure_date"]:
        asked["departure_date"] = values["departure_date"]
    if values["max_price"]:
        asked["price"] = f"..{values['max_price'].strip('$€£ ')}"
    values["currency"] = values["currency"].upper() or BASE_CURRENCY
    if code := _fault_of_currency(values["currency"]):
        faults["currency"] = _fault("currency", code)
        values["currency"] = BASE_CURRENCY
    else:
        asked["currency"] = values["currency"]
    if not values["return_date"]:
        values["way"] = ""
    for name, choices in CHOICES.items():
        values[name] = values[name] or choices[0].value
        chosen = next((choice for choice in choices if choice.value == values[name]), None)
        if chosen is None:
            faults[name] = _fault(name, "invalid")
        else:
            asked |= chosen.asks
    ways, told = _ways(asked, values, found, places, now)
    for name, code in told.items():
        # An airport that could not be told is missing to the grammar.
        faults.setdefault(name, _fault(name, code))
    return Asked(values, faults, found, () if faults else ways)


def _ways(
    asked: Mapping[str, str],
    values: Mapping[str, str],
    found: Mapping[str, Place],
    places: Places,
    now: datetime,
) -> tuple[tuple[FlightSearch, ...], dict[str, str]]:
    """Return the ways as searches, and the codes of what is wrong by field."""
    there = {**asked}
    back = {**asked, "departure_date": values["return_date"]}
    if "origin" in found and "destination" in found:
        back["origin"], back["destination"] = asked["destination"], asked["origin"]
    if values["cursor"]:
        # It belongs to the way that is shown.
        (back if values["way"] == "back" else there)["cursor"] = values["cursor"]
    ways, told = _parsed(there, places, now)
    if values["return_date"]:
        ways_back, told_of_back = _parsed(back, places, now)
        ways += ways_back
        # What both ways have in common is told already.
        for name, own in (("departure_date", "return_date"), ("cursor", "cursor")):
            if name in told_of_back:
                told[own] = told_of_back[name]
        if len(ways) == 2 and ways[1].departure_date < ways[0].departure_date:
            told["return_date"] = "out_of_order"
    return ways, told


def _parsed(
    asked: Mapping[str, str], places: Places, now: datetime
) -> tuple[tuple[FlightSearch, ...], dict[str, str]]:
    """Return the search alone, or none and the codes of what is wrong by field."""
    query = urlencode(asked).encode().decode("latin-1")
    try:
        return (parse_flight_search(query, zones=places.zones, now=now),), {}
    except InvalidInput as refused:
        return (), {ASKED_BY.get(each.field, each.field): each.code for each in refused.errors}


def _fault_of_currency(currency: str) -> str:
    """Return why prices cannot be shown in it, nothing where they can."""
    try:
        shown(currency)
    except (NoRate, StaleRate) as error:
        return error.code
    return ""


def currencies() -> list[str]:
    """Return what prices can be shown in today."""
    known = sorted({BASE_CURRENCY, PIVOT, *rates.get()})
    return [currency for currency in known if not _fault_of_currency(currency)]


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
    return {day: query for day in days if day >= today and (query := asked.on(day))}
