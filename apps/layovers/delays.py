"""How often flights arrive how late, and so how safe a connection is.

The figures are the US Bureau of Transportation Statistics': quantiles of the arrival delay by
airport of arrival, in minutes, of the year 2001's sample. They are real, and old: whoever shows
what follows from them says so.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final

SOURCE: Final = "US Bureau of Transportation Statistics, on-time sample"
QUANTILES: Final = (0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99)
_COLUMNS: Final = ("p10", "p25", "p50", "p75", "p90", "p95", "p99")


@dataclass(frozen=True, slots=True)
class Delays:
    """Arrival delays at an airport: minutes at each of QUANTILES, from how many flights.

    `pooled` means that they are all airports' together, as this one has none of its own.
    """

    minutes: tuple[float, ...]
    flights: int
    pooled: bool = False

    def share_within(self, spare_minutes: float) -> float:
        """Return which share of flights is late by no more than that.

        Between two quantiles it rises evenly. Beyond the last it stays there, as nobody has
        measured how much of the last hundredth comes later.
        """
        if spare_minutes >= self.minutes[-1]:
            return QUANTILES[-1]
        if spare_minutes < self.minutes[0]:
            # Flights that are earlier than the first tenth: not one can be counted on.
            return 0.0
        for place in range(len(QUANTILES) - 1):
            low, high = self.minutes[place], self.minutes[place + 1]
            if low <= spare_minutes < high:
                into = (spare_minutes - low) / (high - low)
                return QUANTILES[place] + into * (QUANTILES[place + 1] - QUANTILES[place])
        return QUANTILES[-1]


@cache
def _read() -> tuple[Mapping[str, Delays], Delays]:
    packed = (resources.files("apps.flights") / "data/us_arrival_delay_minutes.csv.gz").read_bytes()
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(packed).decode())))
    by_airport = {
        row["destination"]: Delays(
            tuple(float(row[column]) for column in _COLUMNS), int(row["flights"])
        )
        for row in rows
    }
    return MappingProxyType(by_airport), _pooled(list(by_airport.values()))


def _pooled(known: Sequence[Delays]) -> Delays:
    """Return the mean of each quantile, weighed by flights."""
    flights = sum(each.flights for each in known)
    return Delays(
        tuple(
            sum(each.minutes[place] * each.flights for each in known) / flights
            for place in range(len(QUANTILES))
        ),
        flights,
        pooled=True,
    )


def arrival_delays(airport: str) -> Delays:
    """Return the delays at an airport; all airports' together where it has none of its own."""
    by_airport, pooled = _read()
    return by_airport.get(airport, pooled)
