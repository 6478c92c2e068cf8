"""A layover as its page's address describes it, and what of it can be spent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.http import Http404, QueryDict

from apps.flights.airports import ground
from apps.flights.ground import moment_of, one_stay
from apps.flights.money import BASE_CURRENCY, CURRENCIES
from apps.layovers.visas import COUNTRIES
from apps.storefront.asking import LABELS
from apps.storefront.journeys import FLAGS, TIMELINE_WIDTH, YES, Layover
from apps.storefront.places import Place, Places

LONGEST_STAY: Final = timedelta(days=5)
COMPARED: Final = ("price", "best_price", "duration", "best_duration")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a layover's time: `kind` names it for the stylesheet; drawn to scale."""

    kind: str
    label: str
    minutes: int
    x: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay(Layover):
    """The layover of a page, on one clock; `search` is the query string that led to it."""

    passport: str
    search: str
    # COMPARED: the journey beside the best of its route; prices are of `currency`
    compared: Mapping[str, str]
    currency: str
    # the score that the journey has in the list
    listed: int | None

    @property
    def but_passport(self) -> str:
        """The query string of the same page for whichever passport."""
        currency = self.currency if self.currency != BASE_CURRENCY else ""
        listed = "" if self.listed is None else str(self.listed)
        return self.address(**self.compared, currency=currency, listed=listed, search=self.search)


@dataclass(frozen=True, slots=True)
class Budget:
    """Where a layover's minutes go, in order."""

    parts: tuple[Part, ...]
    usable_minutes: int
    # of the time in town, outside of a city's hours
    closed_minutes: int
    daylight_minutes: int
    overnight: bool
    leaves: datetime | None
    returns: datetime | None

    @property
    def reaches_town(self) -> bool:
        """Whether there is time to leave the airport at all."""
        return bool(self.parts)


def read_stay(query: QueryDict, places: Places) -> Stay:
    """Read a layover's address. Raises Http404 for one that describes none."""
    place = _place(query, "airport", places)
    if place is None:
        raise Http404
    zone = ZoneInfo(place.time_zone)
    arrives, departs = _moment(query, "arrival", zone), _moment(query, "departure", zone)
    if not timedelta() < departs.astimezone(UTC) - arrives.astimezone(UTC) <= LONGEST_STAY:
        raise Http404
    currency = query.get("currency", "")
    return Stay(
        place=place,
        onward=_place(query, "onward", places) or place,
        arrives=arrives,
        departs=departs,
        origin=_place(query, "from", places),
        destination=_place(query, "to", places),
        flags=frozenset(flag for flag in FLAGS if query.get(flag) == YES),
        passport=_passport(query.get("passport", "")),
        search=_search(query.get("search", "")),
        compared={name: text for name in COMPARED if (text := _number(query.get(name, "")))},
        currency=currency if currency in CURRENCIES else BASE_CURRENCY,
        listed=_score(query.get("listed", "")),
    )


def _place(query: QueryDict, name: str, places: Places) -> Place | None:
    return places.by_code.get(query.get(name, "").strip().upper())


def _moment(query: QueryDict, name: str, zone: ZoneInfo) -> datetime:
    # A plus sign that somebody unescaped on the way arrives as a space.
    text = query.get(name, "").strip().replace(" ", "+")
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or zone).astimezone(zone)
    except (ValueError, OverflowError) as error:
        raise Http404 from error


def _number(text: str) -> str:
    return text if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", text) else ""


def _score(text: str) -> int | None:
    return int(text) if re.fullmatch(r"100|[0-9]{1,2}", text) else None


def _passport(text: str) -> str:
    code = text.strip().upper()
    return code if code in COUNTRIES else ""


def _search(text: str) -> str:
    """Return the query string of a search with nothing in it but a search's fields."""
    try:
        given = QueryDict(text[:1000])
    except ValueError:
        return ""
    return urlencode({name: given[name] for name in LABELS if given.get(name)})


def budget(stay: Stay, document: Mapping[str, Any] | None) -> Budget:
    """Return where the layover's time goes: as its analysis has it, else by the ground times."""
    usable = _usable(stay) if document is None else document["usable"]
    parts, zone = usable["parts"], stay.arrives.tzinfo
    window, transfer = parts["window_minutes"], parts["transfer_minutes"]
    drawn: list[Part] = []
    if window:
        drawn = [
            Part("exit", "Leaving the airport", parts["exit_minutes"], 0, 0),
            Part("way", "The way into town", transfer, 0, 0),
            Part("town", "In town", window, 0, 0),
            Part("way", "The way back", transfer, 0, 0),
        ]
        # What is left is spent at the airport, so that the parts add up to the whole.
        rest = stay.minutes - sum(part.minutes for part in drawn)
        drawn.append(Part("buffer", "Back at the airport", rest, 0, 0))
    return Budget(
        parts=tuple(_scaled(drawn, stay.minutes)),
        usable_minutes=usable["minutes"],
        closed_minutes=parts["outside_opening_hours_minutes"],
        daylight_minutes=usable["daylight_minutes"],
        overnight=usable["overnight"],
        leaves=_local(usable["in_city_from"], zone),
        returns=_local(usable["in_city_until"], zone),
    )


def _local(text: str | None, zone: tzinfo | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(zone) if text else None


def _usable(stay: Stay) -> dict[str, Any]:
    """Return the same as an analysis tells of the time that can be spent."""
    found = one_stay(
        ground.get(),
        airport=stay.place.iata,
        arrival=stay.arrives,
        departure=stay.departs,
        origin=stay.origin.iata if stay.origin else None,
        destination=stay.destination.iata if stay.destination else None,
    )
    window, usable = int(found.returns[0] - found.leaves[0]), int(found.usable[0])
    return {
        "minutes": usable,
        "daylight_minutes": int(found.daylight[0]),
        "overnight": bool(found.overnight[0]),
        "parts": {
            "exit_minutes": int(found.exit[0]),
            "transfer_minutes": int(found.transfer[0]),
            "window_minutes": window,
            "outside_opening_hours_minutes": window - usable,
        },
        "in_city_from": moment_of(int(found.leaves[0])).isoformat() if window else None,
        "in_city_until": moment_of(int(found.returns[0])).isoformat() if window else None,
    }


def _scaled(parts: list[Part], whole: int) -> list[Part]:
    scale, x, drawn = TIMELINE_WIDTH / max(whole, 1), 0.0, []
    for part in parts:
        width = part.minutes * scale
        drawn.append(replace(part, x=round(x, 1), width=round(width, 1)))
        x += width
    return drawn
