"""Airports by name and place, in memory: what travellers type and read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import psycopg

from layoverhq.snapshot import Snapshot

SUGGESTIONS = 8
LONGEST_QUERY = 80
CODE_IN_BRACKETS = re.compile(r"\(([A-Za-z]{3})\)\s*$")


@cache
def country_names() -> Mapping[str, str]:
    """Return the English short names of countries by their ISO 3166-1 alpha-2 codes."""
    text = (files("tzdata") / "zoneinfo" / "iso3166.tab").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {code: name for code, _, name in (line.partition("\t") for line in lines)}


def folded(text: str) -> str:
    """Return text as it is compared: lower case, without accents and punctuation."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(c for c in plain if not unicodedata.combining(c))
    return " ".join(re.findall(r"\w+", letters))


@dataclass(frozen=True, slots=True)
class Place:
    """An airport as travellers know it."""

    iata: str
    name: str
    city: str
    subdivision: str
    country: str
    latitude: float
    longitude: float
    time_zone: str
    words: str = field(repr=False)
    folded_city: str = field(repr=False)

    @property
    def town(self) -> str:
        """The city's name, or the airport's where none is known."""
        # Districts come before their city: “Arnavutköy, Istanbul”.
        return self.city.rpartition(", ")[2] or self.name

    @property
    def label(self) -> str:
        """What stands in a field once the airport is chosen."""
        return f"{self.town} ({self.iata})"

    @property
    def region(self) -> str:
        """Where the town is, as far as it helps to tell it from others of its name."""
        country = country_names().get(self.country, self.country)
        known = self.subdivision if self.subdivision != self.town else ""
        return ", ".join(part for part in (known, country) if part)

    @property
    def is_international(self) -> bool:
        """Whether its name says so: a hint for the order of suggestions and no more."""
        return "international" in self.words


class Places:
    """All active airports."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.by_code = {place.iata: place for place in places}
        self._all = places
        self.zones = {place.iata: place.time_zone for place in places}

    def suggest(
        self, text: str, limit: int = SUGGESTIONS, served: Collection[str] = ()
    ) -> list[Place]:
        """Return the airports that fit what was typed so far, the likeliest first.

        Of those that fit alike, the `served` come first, by their codes.
        """
        typed = folded(text[:LONGEST_QUERY])
        if not typed:
            return []
        ranked = []
        for place in self._all:
            rank = _rank(place, typed)
            if rank is not None:
                order = (rank, place.iata not in served, not place.is_international, place.town)
                ranked.append((order, place.iata, place))
        ranked.sort(key=lambda item: item[:2])
        return [place for _, _, place in ranked[:limit]]

    def named(self, text: str, served: Collection[str] = ()) -> list[Place]:
        """Return the airports that a whole field may mean: one if it is clear, none if unknown.

        A code decides, alone or in brackets at the end; else a city's or an airport's whole name,
        and of several of one name the `served`.
        """
        bracketed = CODE_IN_BRACKETS.search(text)
        code = (bracketed[1] if bracketed else text.strip()).upper()
        if place := self.by_code.get(code):
            return [place]
        typed = folded(text[:LONGEST_QUERY])
        if not typed or bracketed:
            return []
        fitting = self.suggest(typed, limit=50, served=served)
        exact = [place for place in fitting if _means(place, typed)]
        return (
            [place for place in exact if place.iata in served]
            or exact[:SUGGESTIONS]
            or fitting[:SUGGESTIONS]
        )


def _means(place: Place, typed: str) -> bool:
    return typed in (place.folded_city, folded(place.town), folded(place.name))


def _rank(place: Place, typed: str) -> int | None:
    """Return how well a place fits, 0 for best; None if it does not."""
    if place.iata.lower() == typed:
        return 0
    if place.folded_city == typed or folded_town(place) == typed:
        return 1
    if folded_town(place).startswith(typed):
        return 2
    if len(typed) < 3 and place.iata.lower().startswith(typed):
        return 3
    if f" {typed}" in f" {place.words}":
        return 4
    return None


def folded_town(place: Place) -> str:
    """Return the town as it is compared: of “Arnavutköy, Istanbul” the last part."""
    return place.folded_city.rpartition("  ")[2]


class PlaceDirectory(Snapshot[Places]):
    """Every active airport with its name and place."""

    name = "places"

    def load(self, connection: psycopg.Connection[Any]) -> Places:
        rows = connection.execute(
            "select iata, name, city, subdivision, country, latitude, longitude, time_zone"
            " from airports where is_active order by iata"
        )
        return Places([_place(row) for row in rows])


def _place(row: Mapping[str, Any]) -> Place:
    # Two spaces keep a district apart from its city, which no folded text has of itself.
    city = "  ".join(folded(part) for part in row["city"].split(", ") if part)
    words = f"{city} {folded(row['name'])} {folded(row['subdivision'])}"
    return Place(**row, words=words, folded_city=city)


places = PlaceDirectory()
