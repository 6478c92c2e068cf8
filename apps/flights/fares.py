"""The demo's prices: draws from real fare quartiles and carrier shares by city pair.

Real: 25th percentile, median and 75th percentile of the fares paid, and each carrier's share of
passengers (BTS DB1C, June 2026). Modelled: which of them an offer gets, by a hash of its legs,
so that the same day always gets the same offers.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.flights.network import DATA

# BTS writes "99" for travel on several carriers; such codes name nobody.
_CARRIER = re.compile(r"(?!99)[A-Z0-9]{2}")

_ODD = tuple(
    np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


@dataclass(frozen=True, slots=True)
class Fares:
    """Quartiles in minor units and carriers by city pair.

    A pair is `origin * airports + destination`; `known` says which have a fare. `quartiles` has
    the rows p25, median, p75. Carrier shares are cumulative and end at 1.
    """

    known: NDArray[np.bool_]
    quartiles: NDArray[np.float64]
    passengers: NDArray[np.int64]
    carriers: tuple[str, ...]
    carrier: NDArray[np.int64]
    cumulative_share: NDArray[np.float64]


@cache
def fares(codes: tuple[str, ...]) -> Fares:
    """Read the fares between the airports given; pairs with no carrier to name are left out."""
    airports = len(codes)
    index = {code: position for position, code in enumerate(codes)}
    rows: dict[int, tuple[list[float], int, list[tuple[str, float]]]] = {}
    path = DATA / "us_fares_2026_06.csv.gz"
    with gzip.open(path, "rt", encoding="ascii", newline="") as file:
        for row in csv.DictReader(file):
            origin, destination = index.get(row["origin"]), index.get(row["destination"])
            shares = _shares(row["carriers"])
            if origin is None or destination is None or origin == destination or not shares:
                continue
            quartiles = [float(row[name]) * 100 for name in ("p25_usd", "median_usd", "p75_usd")]
            pair = origin * airports + destination
            rows[pair] = (quartiles, int(row["passengers_sampled"]), shares)

    carriers = tuple(sorted({code for _, _, shares in rows.values() for code, _ in shares}))
    width = max(len(shares) for _, _, shares in rows.values())
    known = np.zeros(airports * airports, dtype=np.bool_)
    quartiles_of = np.zeros((3, airports * airports))
    passengers = np.zeros(airports * airports, dtype=np.int64)
    carrier = np.zeros((airports * airports, width), dtype=np.int64)
    cumulative = np.ones((airports * airports, width))
    for pair, (quartiles, sampled, shares) in rows.items():
        known[pair] = True
        quartiles_of[:, pair] = quartiles
        passengers[pair] = sampled
        total = sum(share for _, share in shares)
        carrier[pair, : len(shares)] = [carriers.index(code) for code, _ in shares]
        cumulative[pair, : len(shares)] = np.cumsum([share / total for _, share in shares])
        cumulative[pair, len(shares) - 1 :] = 1
    return Fares(known, quartiles_of, passengers, carriers, carrier, cumulative)


def _shares(text: str) -> list[tuple[str, float]]:
    """Parse `DL:0.977|AA:0.023`."""
    entries = (entry.split(":") for entry in text.split("|") if entry)
    return [(code, float(share)) for code, share in entries if _CARRIER.fullmatch(code)]


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble each value on its own (the finaliser of splitmix64)."""
    values = values + _ODD[0]
    values = (values ^ (values >> np.uint64(30))) * _ODD[1]
    values = (values ^ (values >> np.uint64(27))) * _ODD[2]
    return values ^ (values >> np.uint64(31))


def digests(columns: Sequence[NDArray[np.integer[Any]]]) -> NDArray[np.uint64]:
    """Return a hash of each row of the columns, the same on every machine."""
    value = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        value = mixed(value ^ column.astype(np.uint64))
    return value


def unit_draws(values: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Map hashes to [0, 1)."""
    return np.asarray((values >> np.uint64(11)) * 2.0**-53, dtype=np.float64)


def drawn_prices(
    fare: Fares, pair: NDArray[np.int64], draw: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return prices in minor units, uniform between neighbouring quartiles."""
    low, median, high = (row[pair] for row in fare.quartiles)
    price = np.where(
        draw < 0.5, low + (median - low) * 2 * draw, median + (high - median) * (2 * draw - 1)
    )
    return np.asarray(np.rint(price), dtype=np.int64)


def drawn_carriers(
    fare: Fares, pair: NDArray[np.int64], draw: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return positions in `fare.carriers`, by their share of the pair's passengers."""
    place = (draw[:, None] >= fare.cumulative_share[pair]).sum(axis=1)
    return np.asarray(fare.carrier[pair, place])
