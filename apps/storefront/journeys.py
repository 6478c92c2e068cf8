"""Offers of the search as travellers read them: legs, layovers, clocks, a timeline to scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final
from urllib.parse import urlencode

from apps.flights.money import BASE_CURRENCY, DECIMALS
from apps.flights.rates import convert
from apps.storefront.places import Place, Places

# How wide a timeline is drawn, in its own units, and the least that a bar keeps of it.
TIMELINE_WIDTH: Final = 1000
LEAST_WIDTH: Final = 6
# What makes a connection hard, in offers and in the address of a layover's page.
FLAGS: Final = ("terminal_change", "self_transfer", "bag_recheck")
YES: Final = "yes"
NIGHT_BEGINS, NIGHT_ENDS = time(22), time(6)
SIGNS: Final = {"USD": "$", "EUR": "€", "GBP": "£"}
# What is modelled of an offer, in plain words.
MODELLED_WORDS: Final = {
    "arrival_time": "arrival times",
    "date": "the date",
    "fare": "the fare",
    "carrier": "the airline",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of a timeline: `kind` is flight, layover or night; in the timeline's units."""

    kind: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Badge:
    """A word of what to know of a journey; `tone` is good, mind or plain."""

    text: str
    tone: str


@dataclass(frozen=True, slots=True)
class Leg:
    """A flight, with the clock of each end."""

    origin: Place
    destination: Place
    departs: datetime
    arrives: datetime
    minutes: int
    carrier: str
    number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layover:
    """A layover; `onward` is the airport that it goes on from, mostly the same.

    Both times are on their airport's own clock; `flags` are those of FLAGS that hold.
    """

    place: Place
    onward: Place
    arrives: datetime
    departs: datetime
    origin: Place | None
    destination: Place | None
    flags: frozenset[str]

    @property
    def minutes(self) -> int:
        # Two times of one zone would be subtracted as its clock shows them.
        return (self.departs.astimezone(UTC) - self.arrives.astimezone(UTC)) // timedelta(minutes=1)

    @property
    def airport_change(self) -> bool:
        return self.place.iata != self.onward.iata

    def address(self, **more: str) -> str:
        """Return the query string of the layover's page; what is empty is left out."""
        asked = {
            "airport": self.place.iata,
            "arrival": self.arrives.isoformat(timespec="minutes"),
            "departure": self.departs.isoformat(timespec="minutes"),
            "from": self.origin.iata if self.origin else "",
            "to": self.destination.iata if self.destination else "",
            "onward": self.onward.iata if self.airport_change else "",
            **{flag: YES for flag in FLAGS if flag in self.flags},
            **more,
        }
        return urlencode({name: value for name, value in asked.items() if value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Layover):
    """A layover of a journey, with what it leaves for the city where that is known."""

    usable_minutes: int | None
    daylight_minutes: int | None
    overnight: bool | None


@dataclass(frozen=True, slots=True)
class Journey:
    """An offer."""

    id: str
    legs: tuple[Leg, ...]
    stops: tuple[Stop, ...]
    minutes: int
    price: str
    private: bool
    modelled: tuple[str, ...]
    score: int | None
    # what the layover's page needs to tell what the journey costs more than the best
    compared: Mapping[str, str]
    bars: tuple[Bar, ...] = field(repr=False)

    def addresses(self, search: str) -> list[str]:
        """Return the query strings of its layovers' pages; `search` is the one of the list."""
        listed = "" if self.score is None else str(self.score)
        return [stop.address(**self.compared, listed=listed, search=search) for stop in self.stops]

    @property
    def origin(self) -> Place:
        return self.legs[0].origin

    @property
    def destination(self) -> Place:
        return self.legs[-1].destination

    @property
    def departs(self) -> datetime:
        return self.legs[0].departs

    @property
    def arrives(self) -> datetime:
        return self.legs[-1].arrives

    @property
    def days_later(self) -> int:
        """How many days later it arrives, by the calendars of both ends."""
        return (self.arrives.date() - self.departs.date()).days

    @property
    def steps(self) -> list[Leg | Stop]:
        """Flights and layovers in order."""
        steps: list[Leg | Stop] = [self.legs[0]]
        for stop, leg in zip(self.stops, self.legs[1:], strict=True):
            steps += [stop, leg]
        return steps

    @property
    def badges(self) -> list[Badge]:
        """What to know before one chooses it."""
        stops, badges = self.stops, []
        if self.private:
            badges.append(Badge("Our own fare", "good"))
        badges += [Badge(f"A night in {s.place.town}", "plain") for s in stops if s.overnight]
        badges += [
            Badge(f"Change of airport, {s.place.iata} to {s.onward.iata}", "mind")
            for s in stops
            if s.airport_change
        ]
        if any("terminal_change" in s.flags and not s.airport_change for s in stops):
            badges.append(Badge("Change of terminal", "plain"))
        if any("self_transfer" in s.flags for s in stops):
            badges.append(Badge("Separate tickets: you connect at your own risk", "mind"))
        if any("bag_recheck" in s.flags for s in stops):
            badges.append(Badge("Collect your bags on the way", "mind"))
        if self.modelled:
            badges.append(Badge("Sample data, partly estimated", "plain"))
        return badges

    @property
    def modelled_words(self) -> str:
        """What of it is estimated, as a part of a sentence."""
        words = [MODELLED_WORDS.get(part, part) for part in self.modelled]
        return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def journey(offer: Mapping[str, Any], places: Places) -> Journey:
    """Return an offer of the search's answer."""
    legs = tuple(_leg(segment, places) for segment in offer["segments"])
    stops = tuple(
        _stop(layover, before, after, places)
        for layover, (before, after) in zip(offer["layovers"], pairwise(legs), strict=True)
    )
    return Journey(
        id=offer["id"],
        legs=legs,
        stops=stops,
        minutes=offer["duration_minutes"],
        price=money(offer["price_minor"], offer["price_currency"]),
        private=offer["private"],
        modelled=tuple(offer["modelled"]),
        score=round(offer["score"]) if "score" in offer and stops else None,
        compared=_compared(offer),
        bars=tuple(_bars(legs, stops)),
    )


def _compared(offer: Mapping[str, Any]) -> dict[str, str]:
    explained = offer.get("explanation") or {}
    if "best_price_minor" not in explained:
        return {}
    # The best price is told in our own currency, whatever the offer's is shown in.
    currency = offer["price_currency"]
    best, _ = convert(
        explained["best_price_minor"], BASE_CURRENCY, currency, datetime.now(UTC).date()
    )
    return {
        "price": _amount(offer["price_minor"], currency),
        "best_price": _amount(best, currency),
        "currency": currency if currency != BASE_CURRENCY else "",
        "duration": str(offer["duration_minutes"]),
        "best_duration": str(explained["best_duration_minutes"]),
    }


def _amount(minor: int, currency: str) -> str:
    return str(Decimal(minor).scaleb(-DECIMALS.get(currency, 2)))


def _leg(segment: Mapping[str, Any], places: Places) -> Leg:
    return Leg(
        origin=place_of(segment["origin"], places),
        destination=place_of(segment["destination"], places),
        departs=datetime.fromisoformat(segment["departs_at"]),
        arrives=datetime.fromisoformat(segment["arrives_at"]),
        minutes=segment["minutes"],
        carrier=segment["carrier"],
        number=segment.get("flight_number", ""),
    )


def _stop(layover: Mapping[str, Any], before: Leg, after: Leg, places: Places) -> Stop:
    return Stop(
        place=place_of(layover["airport"], places),
        onward=place_of(layover.get("next_airport") or layover["airport"], places),
        arrives=before.arrives,
        departs=after.departs,
        flags=frozenset(flag for flag in FLAGS if layover.get(flag)),
        usable_minutes=layover.get("usable_minutes"),
        daylight_minutes=layover.get("daylight_minutes"),
        overnight=layover.get("overnight"),
        origin=before.origin,
        destination=after.destination,
    )


def place_of(iata: str, places: Places) -> Place:
    """Return the airport; of one that searches may not name any more only the code is known."""
    known = places.by_code.get(iata)
    return known or Place(iata, iata, "", "", "", 0.0, 0.0, "UTC", words="", folded_city="")


def money(minor: int, currency: str) -> str:
    """Return an amount as people write it: without cents where there are none."""
    decimals = DECIMALS.get(currency, 2)
    whole, rest = divmod(minor, 10**decimals)
    amount = f"{whole:,}" + (f".{rest:0{decimals}}" if rest else "")
    sign = SIGNS.get(currency)
    return f"{sign}{amount}" if sign else f"{amount} {currency}"


def span(minutes: int) -> str:
    """Return minutes as people say them: 45 min, 3 h, 11 h 20 min."""
    hours, rest = divmod(minutes, 60)
    parts = [f"{hours} h"] if hours else []
    return " ".join([*parts, f"{rest} min"] if rest or not hours else parts)


def _bars(legs: tuple[Leg, ...], stops: tuple[Stop, ...]) -> list[Bar]:
    begins, ends = legs[0].departs, legs[-1].arrives
    scale = TIMELINE_WIDTH / max((ends - begins).total_seconds(), 60)

    def bar(kind: str, start: datetime, end: datetime) -> Bar:
        x = (start - begins).total_seconds() * scale
        return Bar(kind, round(x, 1), round(max((end - start).total_seconds() * scale, 0), 1))

    bars = [bar("flight", leg.departs, leg.arrives) for leg in legs]
    for stop in stops:
        whole = bar("layover", stop.arrives, stop.departs)
        bars.append(Bar(whole.kind, whole.x, max(whole.width, LEAST_WIDTH)))
        bars += [bar("night", *night) for night in nights(stop.arrives, stop.departs)]
    return bars


def nights(arrives: datetime, departs: datetime) -> list[tuple[datetime, datetime]]:
    """Return the parts of a stay between 22:00 and 06:00, on the clock of `arrives`."""
    departs = departs.astimezone(arrives.tzinfo)
    found = []
    day = arrives.date() - timedelta(days=1)
    while day <= departs.date():
        begins = datetime.combine(day, NIGHT_BEGINS, arrives.tzinfo)
        ends = datetime.combine(day + timedelta(days=1), NIGHT_ENDS, arrives.tzinfo)
        if begins < departs and ends > arrives:
            found.append((max(begins, arrives), min(ends, departs)))
        day += timedelta(days=1)
    return found
