"""What of a layover can be spent in town: pure functions on numpy arrays.

A traveller leaves the airport, rides to the city, and is back in time for the next flight:
`[arrival + exit + transfer, departure - buffer - transfer]` is the window in the city. Minutes are
minutes since 1970, in UTC unless they are called local.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# Where nobody has said it better. A domestic traveller needs half of exit and buffer.
DEFAULT_EXIT_MINUTES: Final = 60
DEFAULT_TRANSFER_MINUTES: Final = 45
DEFAULT_BUFFER_MINUTES: Final = 120

# When a city can be visited, on its own clock.
OPENS: Final = 8 * 60
CLOSES: Final = 22 * 60
# Who sits through these hours has spent a night.
NIGHT_FROM: Final = 1 * 60
NIGHT_TO: Final = 5 * 60

DAY_MINUTES: Final = 24 * 60
# The sun's upper edge touches the horizon, refraction and all.
_ZENITH: Final = np.radians(90.833)

# Within it nobody shows a passport, so that its countries count as one.
_SCHENGEN: Final = """
AT BE BG CH CZ DE DK EE ES FI FR GR HR HU IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK
"""
SCHENGEN: Final = frozenset(_SCHENGEN.split())

Minutes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Places:
    """Airports as parallel arrays; `index` finds one by its IATA code.

    Exit and buffer are an international traveller's; `border` is equal for airports with no
    border between them.
    """

    index: Mapping[str, int]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    exit: Minutes
    transfer: Minutes
    buffer: Minutes
    border: Minutes


@dataclass(frozen=True, slots=True)
class Stays:
    """Layovers as parallel arrays: positions in `Places`, and when they begin and end.

    `origin` is where the flight before comes from, `destination` where the next one goes; `offset`
    is what the airport's clock shows on arrival, less UTC, `change` by how much it is put forward
    until departure. As clocks are changed by night, a window in the city ends after the change.
    """

    airport: Minutes
    origin: Minutes
    destination: Minutes
    arrival: Minutes
    departure: Minutes
    offset: Minutes
    change: Minutes | int = 0

    def __len__(self) -> int:
        return len(self.airport)


@dataclass(frozen=True, slots=True)
class Spendable:
    """What of each layover can be spent, in minutes.

    `leaves` and `returns` bound the window in the city; where there is none, it is empty and both
    are the same. `usable` is the window within opening hours, `daylight` what of it has daylight,
    whether anything is open or not.
    """

    exit: Minutes
    transfer: Minutes
    buffer: Minutes
    leaves: Minutes
    returns: Minutes
    usable: Minutes
    daylight: Minutes
    overnight: NDArray[np.bool_]


def places(rows: Sequence[Mapping[str, Any]]) -> Places:
    """Return the airports of the rows of `airports`; ground times of null get the defaults."""

    def minutes(name: str, default: int) -> Minutes:
        return np.array(
            [default if row[name] is None else row[name] for row in rows], dtype=np.int64
        )

    areas = ["Schengen" if row["country"] in SCHENGEN else row["country"] for row in rows]
    number = {area: position for position, area in enumerate(sorted(set(areas)))}
    return Places(
        index=MappingProxyType({row["iata"]: position for position, row in enumerate(rows)}),
        latitude=np.array([row["latitude"] for row in rows], dtype=np.float64),
        longitude=np.array([row["longitude"] for row in rows], dtype=np.float64),
        exit=minutes("exit_minutes", DEFAULT_EXIT_MINUTES),
        transfer=minutes("transfer_minutes", DEFAULT_TRANSFER_MINUTES),
        buffer=minutes("buffer_minutes", DEFAULT_BUFFER_MINUTES),
        border=np.array([number[area] for area in areas], dtype=np.int64),
    )


def spendable(known: Places, stays: Stays) -> Spendable:
    """Return what of each layover can be spent."""
    leave, transfer, buffer, start, end = _window(known, stays)
    return Spendable(
        exit=leave,
        transfer=transfer,
        buffer=buffer,
        leaves=start,
        returns=end,
        usable=_usable(stays, start, end),
        daylight=daylight_minutes(
            known.latitude[stays.airport], known.longitude[stays.airport], start, end
        ),
        overnight=overnight(
            stays.arrival + stays.offset, stays.departure + stays.offset + stays.change
        ),
    )


def usable_minutes(known: Places, stays: Stays) -> Minutes:
    """Return `usable` alone, for those who compare millions: the sun takes most of the time."""
    _, _, _, start, end = _window(known, stays)
    return _usable(stays, start, end)


def _usable(stays: Stays, start: Minutes, end: Minutes) -> Minutes:
    opened = _open_minutes(end + stays.offset + stays.change) - _open_minutes(start + stays.offset)
    return np.asarray(np.clip(opened, 0, end - start))


def _window(known: Places, stays: Stays) -> tuple[Minutes, Minutes, Minutes, Minutes, Minutes]:
    """Return exit, transfer and buffer of each layover, and its window in the city."""
    here = known.border[stays.airport]
    leave = known.exit[stays.airport] // (1 + (known.border[stays.origin] == here))
    buffer = known.buffer[stays.airport] // (1 + (known.border[stays.destination] == here))
    transfer = known.transfer[stays.airport]
    start = stays.arrival + leave + transfer
    return leave, transfer, buffer, start, np.maximum(stays.departure - buffer - transfer, start)


def one_stay(
    known: Places,
    *,
    airport: str,
    arrival: datetime,
    departure: datetime,
    origin: str | None = None,
    destination: str | None = None,
) -> Spendable:
    """Return what of one layover can be spent, as arrays of one.

    Both times carry the airport's own offset. Without an origin or destination
    the traveller comes from, or goes to, the same country.
    """

    def position(code: str | None) -> Minutes:
        return np.array([known.index[code or airport]], dtype=np.int64)

    offset, after = (at.utcoffset() or timedelta() for at in (arrival, departure))
    return spendable(
        known,
        Stays(
            airport=position(airport),
            origin=position(origin),
            destination=position(destination),
            arrival=np.array([minute_of(arrival)], dtype=np.int64),
            departure=np.array([minute_of(departure)], dtype=np.int64),
            offset=np.array([offset // timedelta(minutes=1)], dtype=np.int64),
            change=np.array([(after - offset) // timedelta(minutes=1)], dtype=np.int64),
        ),
    )


def minute_of(moment: datetime) -> int:
    """Return the minutes since 1970 in UTC."""
    return int(moment.timestamp()) // 60


def moment_of(minute: int) -> datetime:
    """Return the time of a minute since 1970."""
    return datetime.fromtimestamp(int(minute) * 60, UTC)


def overnight(arrival_local: Minutes, departure_local: Minutes) -> NDArray[np.bool_]:
    """Return which stays last from one o'clock to five of some night."""
    night = -(-(arrival_local - NIGHT_FROM) // DAY_MINUTES) * DAY_MINUTES
    return np.asarray(departure_local >= night + NIGHT_TO)


def daylight_minutes(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64], start: Minutes, end: Minutes
) -> Minutes:
    """Return how many minutes of each `[start, end]` have the sun above the horizon.

    Degrees north and east. Sunrise and sunset follow the low-accuracy solar equations that NOAA
    publishes (Spencer's series), a minute or two from the almanac below the polar circles.
    """
    if len(start) == 0:
        return np.zeros(0, dtype=np.int64)
    # A day from one solar midnight to the next has all of its daylight inside.
    east = 4 * longitude
    first = np.floor((start + east) / DAY_MINUTES).astype(np.int64)
    last = np.floor((end + east) / DAY_MINUTES).astype(np.int64)
    total = np.zeros(len(start), dtype=np.float64)
    for shift in range(int((last - first).max()) + 1):
        noon, half = _solar_day(latitude, longitude, first + shift)
        low, high = np.maximum(start, noon - half), np.minimum(end, noon + half)
        total += np.where(first + shift <= last, np.maximum(high - low, 0), 0)
    # In the polar summer a day's noon may be half a minute nearer to the next one than a day.
    return np.asarray(np.minimum(np.rint(total).astype(np.int64), end - start))


def _solar_day(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64], day: Minutes
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the minute of solar noon of the days since 1970, and half of the daylight's length."""
    # 1970 began at a year's angle of nought; the leap years' drift stays below a day.
    angle = 2 * np.pi / 365.2425 * np.mod(day + 0.5, 365.2425)
    equation = 229.18 * (
        0.000075
        + 0.001868 * np.cos(angle)
        - 0.032077 * np.sin(angle)
        - 0.014615 * np.cos(2 * angle)
        - 0.040849 * np.sin(2 * angle)
    )
    declination = (
        0.006918
        - 0.399912 * np.cos(angle)
        + 0.070257 * np.sin(angle)
        - 0.006758 * np.cos(2 * angle)
        + 0.000907 * np.sin(2 * angle)
        - 0.002697 * np.cos(3 * angle)
        + 0.00148 * np.sin(3 * angle)
    )
    phi = np.radians(latitude)
    cosine = np.cos(_ZENITH) / (np.cos(phi) * np.cos(declination)) - np.tan(phi) * np.tan(
        declination
    )
    # Beyond the polar circles the sun may stay up, or down, all day.
    half = 4 * np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return day * DAY_MINUTES + DAY_MINUTES / 2 - 4 * longitude - equation, half


def _open_minutes(local: Minutes) -> Minutes:
    """Return how many open minutes have passed since 1970 on the clock."""
    days, minute = np.divmod(local, DAY_MINUTES)
    return np.asarray(days * (CLOSES - OPENS) + np.clip(minute - OPENS, 0, CLOSES - OPENS))
