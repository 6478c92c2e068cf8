"""Rows for the staging table: offers with what their layovers leave for the city."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any, Final

import numpy as np

from apps.flights.ground import Places, Spendable, Stays, minute_of, spendable
from apps.flights.offers.normalised import CABINS, MINUTE, NormalisedOffer

# Enough that numpy's fixed cost of a call is nothing.
BATCH: Final = 1_000

COLUMNS: Final = """
    line, search_hash, provider, departure_at, arrival_at, expires_at, departure_day,
    departure_minute, duration_minutes, price_minor, price_currency, fare_minor, fare_currency,
    rate_date, origin_airport, destination_airport, self_transfer, terminal_change, carriers,
    cabin, layover_airports, layover_minutes, layover_usable, layover_daylight,
    layover_overnight, layovers, segments
"""

Numbered = tuple[int, NormalisedOffer]


def staging_rows(numbered: Iterable[Numbered], *, known: Places) -> Iterator[tuple[Any, ...]]:
    """Yield the offers as rows of COLUMNS, each with its number as `line`."""
    offers = iter(numbered)
    while batch := list(islice(offers, BATCH)):
        spent = spendable(known, _stays(batch, known))
        position = 0
        for number, offer in batch:
            yield _row(number, offer, spent, position)
            position += len(offer.segments) - 1


def _stays(batch: Sequence[Numbered], known: Places) -> Stays:
    """Return the layovers of all the offers, one after another."""
    index = known.index
    rows = [
        (
            index[before.destination],
            index[before.origin],
            index[after.destination],
            minute_of(before.arrival.at),
            minute_of(after.departure.at),
            (before.arrival.local.utcoffset() or 0 * MINUTE) // MINUTE,
        )
        for _, offer in batch
        for before, after in pairwise(offer.segments)
    ]
    return Stays(*np.array(rows, dtype=np.int64).reshape(-1, 6).T)


def _row(number: int, offer: NormalisedOffer, spent: Spendable, start: int) -> tuple[Any, ...]:
    layovers = offer.layovers
    here = slice(start, start + len(layovers))
    usable, daylight = spent.usable[here].tolist(), spent.daylight[here].tolist()
    overnight = spent.overnight[here].tolist()
    documents = [
        {
            **layover.document(),
            "usable_minutes": usable[place],
            "daylight_minutes": daylight[place],
            **({"overnight": True} if overnight[place] else {}),
        }
        for place, layover in enumerate(layovers)
    ]
    return (
        number,
        offer.search_hash,
        offer.provider,
        offer.departure.at,
        offer.arrival.at,
        offer.expires_at,
        offer.departure_day,
        offer.departure_minute,
        offer.duration_minutes,
        offer.fare_minor,
        offer.fare_currency,
        None,
        None,
        None,
        offer.segments[0].origin,
        offer.segments[-1].destination,
        offer.self_transfer,
        any(layover.terminal_change or layover.airport_change for layover in layovers),
        sorted({segment.carrier for segment in offer.segments}),
        _lowest_cabin(offer),
        [layover.airport for layover in layovers],
        [layover.minutes for layover in layovers],
        usable,
        daylight,
        overnight,
        json.dumps(documents, separators=(",", ":")),
        json.dumps([segment.document() for segment in offer.segments], separators=(",", ":")),
    )


def _lowest_cabin(offer: NormalisedOffer) -> str:
    """Return the lowest cabin of the journey; empty where a segment does not say."""
    cabins = [segment.cabin for segment in offer.segments]
    return min(cabins, key=CABINS.index) if all(cabins) else ""
