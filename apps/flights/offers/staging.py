"""Lines for COPY into the staging table: offers with what their layovers leave for the city."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice, pairwise
from typing import Any, Final

import numpy as np
from msgspec import json

from apps.flights.ground import Places, Spendable, Stays, spendable
from apps.flights.money import BASE_CURRENCY
from apps.flights.offers.normalised import CABINS, Layover, NormalisedOffer

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

_NULL: Final = "\\N"
_NO_FARE: Final = "\t".join([_NULL] * 3)
_encode: Final = json.Encoder().encode


def staging_lines(numbered: Iterable[Numbered], *, known: Places) -> Iterator[str]:
    """Yield the offers as COPY reads COLUMNS, a line each, with its number as `line`.

    Codes, names and times have nothing in them that COPY or an array would read as something else:
    `normalised` and its readers see to that.
    """
    offers = iter(numbered)
    while batch := list(islice(offers, BATCH)):
        layovers = [offer.layovers for _, offer in batch]
        spent = _Spent(spendable(known, _stays(batch, known)))
        position = 0
        for (number, offer), stops in zip(batch, layovers, strict=True):
            yield _line(number, offer, stops, spent, position)
            position += len(stops)


def digest_of(line: str) -> bytes:
    """Return what a line has as the offer's search_hash."""
    return bytes.fromhex(line.split("\t", 2)[1])


class _Spent:
    """What layovers leave for the city, as Python's own numbers."""

    __slots__ = ("daylight", "overnight", "usable")

    def __init__(self, spent: Spendable) -> None:
        self.usable: list[int] = spent.usable.tolist()
        self.daylight: list[int] = spent.daylight.tolist()
        self.overnight: list[bool] = spent.overnight.tolist()


def _stays(batch: Sequence[Numbered], known: Places) -> Stays:
    """Return the layovers of all the offers, one after another."""
    index = known.index
    rows = [
        (
            index[before.destination],
            index[before.origin],
            index[after.destination],
            before.arrival.minute,
            after.departure.minute,
            before.arrival.offset,
            after.departure.offset - before.arrival.offset,
        )
        for _, offer in batch
        for before, after in pairwise(offer.segments)
    ]
    return Stays(*np.array(rows, dtype=np.int64).reshape(-1, 7).T)


def _line(
    number: int, offer: NormalisedOffer, layovers: Sequence[Layover], spent: _Spent, start: int
) -> str:
    end = start + len(layovers)
    usable, daylight = spent.usable[start:end], spent.daylight[start:end]
    overnight = spent.overnight[start:end]
    airports, minutes, documents, changes = [], [], [], False
    for layover, *of_it in zip(layovers, usable, daylight, overnight, strict=True):
        document = layover.document()
        document["usable_minutes"], document["daylight_minutes"], night = of_it
        if night:
            document["overnight"] = True
        documents.append(document)
        airports.append(layover.airport)
        minutes.append(layover.minutes)
        changes = changes or layover.terminal_change or layover.airport_change
    segments = offer.segments
    departure, arrival = segments[0].departure, segments[-1].arrival
    fare = _NO_FARE
    if offer.rate_date is not None:
        fare = f"{offer.fare_minor}\t{offer.fare_currency}\t{offer.rate_date}"
    return (
        f"{number}\t{offer.digest.hex()}\t{offer.provider}\t{departure.text}\t{arrival.text}"
        f"\t{_expiry(offer)}\t{departure.text[:10]}\t{departure.clock_minute}"
        f"\t{arrival.minute - departure.minute}\t{offer.price_minor}\t{BASE_CURRENCY}\t{fare}"
        f"\t{segments[0].origin}\t{segments[-1].destination}\t{offer.self_transfer}\t{changes}"
        f"\t{{{','.join(sorted({segment.carrier for segment in segments}))}}}"
        f"\t{_lowest_cabin(offer)}\t{{{','.join(airports)}}}\t{_array(minutes)}"
        f"\t{_array(usable)}\t{_array(daylight)}\t{_array(overnight)}\t{_json(documents)}"
        f"\t{_json([segment.document() for segment in segments])}\n"
    )


def _expiry(offer: NormalisedOffer) -> str | datetime:
    # Most end with their departure, which is written already.
    if offer.expires_at.timestamp() == offer.departure.minute * 60:
        return offer.departure.text
    return offer.expires_at


def _array(values: list[int] | list[bool]) -> str:
    return f"{{{str(values)[1:-1]}}}"


def _json(documents: Sequence[Any]) -> str:
    return _encode(documents).decode().replace("\\", "\\\\")


def _lowest_cabin(offer: NormalisedOffer) -> str:
    """Return the lowest cabin of the journey; empty where a segment does not say."""
    cabins = [segment.cabin for segment in offer.segments]
    return min(cabins, key=CABINS.index) if all(cabins) else ""
