"""The demo's schedule: one real week of US departures, moved to any date and timed in UTC.

Real: weekday, local departure, origin, destination, distance (BTS, June 2001). Modelled: the
arrival, from block times fitted on other BTS data, and the date.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import airportsdata
import numpy as np
from numpy.typing import NDArray

from apps.flights.connections import Legs, sorted_legs

DATA = Path(__file__).parent / "data"

# Block time in minutes = base + per mile, fitted on BTS on-time data (mean error 8 minutes).
BLOCK_BASE_MINUTES = 50.7
BLOCK_MINUTES_PER_MILE = 0.1327

EARTH_RADIUS_MILES = 3958.8
DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Network:
    """The airports of the schedule and its departures by weekday (Monday is 0).

    `codes` is sorted; every airport index below is a position in it. A weekday's row holds
    origin, destination, local minute of departure, block minutes.
    """

    codes: tuple[str, ...]
    zones: tuple[str, ...]
    miles: NDArray[np.float64]
    weekdays: tuple[NDArray[np.int64], ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Legs around one day, with what a traveller reads of each: local times and their offsets.

    `legs.departure` and `legs.arrival` count minutes since 1970 in UTC, the local times count
    them on the airport's own clock. `on_day` are the positions that depart on the day, by the
    origin's calendar.
    """

    legs: Legs
    departure_local: NDArray[np.int64]
    arrival_local: NDArray[np.int64]
    on_day: NDArray[np.int32]


@cache
def network() -> Network:
    """Read the week; airports without a known position or zone are an error of the data."""
    with gzip.open(DATA / "us_network_week.csv.gz", "rt", encoding="ascii", newline="") as file:
        rows = [(r[0], r[1], r[2], r[3], r[4]) for r in csv.reader(file)][1:]
    codes = tuple(sorted({row[2] for row in rows} | {row[3] for row in rows}))
    known = airportsdata.load("IATA")
    index = {code: position for position, code in enumerate(codes)}
    weekdays: list[list[tuple[int, int, int, int]]] = [[] for _ in range(7)]
    for weekday, local, origin, destination, miles in rows:
        minute = int(local[:2]) * 60 + int(local[3:])
        block = round(BLOCK_BASE_MINUTES + BLOCK_MINUTES_PER_MILE * int(miles))
        weekdays[int(weekday)].append((index[origin], index[destination], minute, block))
    return Network(
        codes=codes,
        zones=tuple(known[code]["tz"] for code in codes),
        miles=great_circle_miles(
            np.array([known[code]["lat"] for code in codes]),
            np.array([known[code]["lon"] for code in codes]),
        ),
        # Code shares list one departure twice.
        weekdays=tuple(np.unique(np.array(day, dtype=np.int64), axis=0) for day in weekdays),
    )


def great_circle_miles(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distance in statute miles between any two of the points (haversine)."""
    phi, lam = np.radians(latitude), np.radians(longitude)
    half_chord = (
        np.sin((phi[:, None] - phi[None, :]) / 2) ** 2
        + np.cos(phi[:, None])
        * np.cos(phi[None, :])
        * np.sin((lam[:, None] - lam[None, :]) / 2) ** 2
    )
    return np.asarray(2 * EARTH_RADIUS_MILES * np.arcsin(np.sqrt(np.minimum(half_chord, 1))))


def schedule(day: date, *, before_days: int, after_days: int) -> Schedule:
    """Return the legs that depart from `before_days` before the day to `after_days` after it."""
    days = [day + timedelta(days=shift) for shift in range(-before_days, after_days + 1)]
    parts = [_day_legs(each) for each in days]
    columns = np.concatenate(parts, axis=1)
    legs, order = sorted_legs(
        columns[0].astype(np.int32), columns[1].astype(np.int32), columns[2], columns[3]
    )
    own_day = np.repeat([each == day for each in days], [part.shape[1] for part in parts])
    return Schedule(
        legs=legs,
        departure_local=columns[4][order],
        arrival_local=columns[5][order],
        on_day=np.flatnonzero(own_day[order]).astype(np.int32),
    )


@lru_cache(maxsize=32)
def _day_legs(day: date) -> NDArray[np.int64]:
    """Return one local day's legs: origin, destination, UTC times, local times, a row each."""
    net = network()
    origin, destination, minute, block = net.weekdays[day.weekday()].T
    midnight = (day - date(1970, 1, 1)).days * DAY_MINUTES
    zones, zone_of = _zone_index(net.zones)
    departure = midnight + minute - _offsets(zones, zone_of[origin], midnight + minute, local=True)
    arrival = departure + block
    # A local time that the clocks skip is shown as the instant that it stands for.
    departure_local = departure + _offsets(zones, zone_of[origin], departure, local=False)
    arrival_local = arrival + _offsets(zones, zone_of[destination], arrival, local=False)
    own_day = departure_local // DAY_MINUTES == midnight // DAY_MINUTES
    columns = np.stack([origin, destination, departure, arrival, departure_local, arrival_local])
    return columns[:, own_day]


def _zone_index(names: Sequence[str]) -> tuple[list[ZoneInfo], NDArray[np.int64]]:
    unique, index = np.unique(np.array(names), return_inverse=True)
    return [ZoneInfo(str(name)) for name in unique], index


def _offsets(
    zones: Sequence[ZoneInfo],
    zone: NDArray[np.int64],
    minutes: NDArray[np.int64],
    *,
    local: bool,
) -> NDArray[np.int64]:
    """Return each zone's UTC offset in minutes at the time given, local or UTC.

    Of a local time that occurs twice the first is meant; one that is skipped takes the offset
    from before the change.
    """
    stride = int(minutes.max()) + 1
    moments, inverse = np.unique(zone * stride + minutes, return_inverse=True)
    found = np.empty(len(moments), dtype=np.int64)
    for start, stop in _runs(moments // stride):
        info = zones[int(moments[start] // stride)]
        for position in range(start, stop):
            moment = datetime.fromtimestamp(int(moments[position] % stride) * 60, UTC)
            seen = moment.replace(tzinfo=info) if local else moment.astimezone(info)
            offset = seen.utcoffset() or timedelta()
            found[position] = offset // timedelta(minutes=1)
    return found[inverse]


def _runs(values: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(values)) + 1
    yield from pairwise([0, *edges.tolist(), len(values)])


def local_time_texts(local: NDArray[np.int64], utc: NDArray[np.int64]) -> list[str]:
    """Return the times as ISO 8601 to the minute, with the offset: `2026-11-24T06:00-08:00`."""
    clock = np.datetime_as_string(local.astype("datetime64[m]"), unit="m")
    offsets = (local - utc).tolist()
    labels = {offset: offset_text(offset) for offset in set(offsets)}
    return [text + labels[offset] for text, offset in zip(clock.tolist(), offsets, strict=True)]


def offset_text(minutes: int) -> str:
    """Return a UTC offset as ISO 8601 writes it."""
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}"
