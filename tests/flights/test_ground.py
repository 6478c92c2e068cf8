"""What of a layover can be spent in town."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.flights.ground import (
    CLOSES,
    OPENS,
    Places,
    Spendable,
    daylight_minutes,
    minute_of,
    moment_of,
    one_stay,
    overnight,
    places,
)


def airport(
    iata: str, country: str, latitude: float, longitude: float, *ground: int | None
) -> dict[str, object]:
    names = ("exit_minutes", "transfer_minutes", "buffer_minutes")
    times = dict(zip(names, ground or (None, None, None), strict=True))
    return {
        "iata": iata, "country": country, "latitude": latitude, "longitude": longitude, **times
    }  # fmt: skip


KNOWN: Places = places(
    [
        airport("IST", "TR", 41.26, 28.74, 50, 60, 100),
        airport("SAW", "TR", 40.9, 29.31),
        airport("LHR", "GB", 51.47, -0.46),
        airport("CDG", "FR", 49.01, 2.55),
        airport("ZRH", "CH", 47.46, 8.55, 20, 15, 61),
        airport("TOS", "NO", 69.68, 18.92),
    ]
)
ISTANBUL = ZoneInfo("Europe/Istanbul")


def stay(arrival: str, departure: str, **route: str) -> Spendable:
    def at(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=ISTANBUL)

    return one_stay(KNOWN, airport="IST", arrival=at(arrival), departure=at(departure), **route)


def test_spendable__international_both_ways__takes_all_of_exit_and_buffer() -> None:
    spent = stay("2026-12-01T09:00", "2026-12-01T21:00", origin="LHR", destination="CDG")
    assert (spent.exit[0], spent.transfer[0], spent.buffer[0]) == (50, 60, 100)
    assert moment_of(spent.leaves[0]).astimezone(ISTANBUL).hour == 10
    # From 10:50 to 18:20.
    assert spent.returns[0] - spent.leaves[0] == spent.usable[0] == 450


def test_spendable__domestic_arrival__needs_half_of_the_exit() -> None:
    spent = stay("2026-12-01T09:00", "2026-12-01T21:00", origin="SAW", destination="CDG")
    assert (spent.exit[0], spent.buffer[0], spent.usable[0]) == (25, 100, 475)


def test_spendable__within_schengen__is_no_border() -> None:
    at = datetime(2026, 12, 1, 9, tzinfo=ZoneInfo("Europe/Zurich"))
    spent = one_stay(
        KNOWN, airport="ZRH", arrival=at, departure=at + timedelta(hours=8), origin="CDG",
        destination="LHR",
    )  # fmt: skip
    assert (spent.exit[0], spent.buffer[0]) == (10, 61)


def test_spendable__nobody_said__takes_the_defaults() -> None:
    at = datetime(2026, 12, 1, 9, tzinfo=UTC)
    spent = one_stay(
        KNOWN, airport="LHR", arrival=at, departure=at + timedelta(hours=9), origin="CDG",
        destination="IST",
    )  # fmt: skip
    assert (spent.exit[0], spent.transfer[0], spent.buffer[0]) == (60, 45, 120)


def test_spendable__too_short__leaves_nothing() -> None:
    spent = stay("2026-12-01T09:00", "2026-12-01T11:00", origin="LHR", destination="CDG")
    assert (spent.usable[0], spent.daylight[0]) == (0, 0)
    assert spent.leaves[0] == spent.returns[0]


@pytest.mark.parametrize(
    ("night", "arrives", "departs", "usable"),
    [
        # Back at the airport from half past nine on, on the clock of that morning.
        ("2026-10-25", "20:00", "11:05", 90),
        ("2027-03-28", "20:00", "11:05", 90),
        ("2026-10-25", "02:30", "11:05", 90),
        # Its evening counts by the clock of that evening.
        ("2026-10-25", "20:55", "05:00", 30),
    ],
)
def test_spendable__clocks_change_by_night__is_open_by_both_clocks(
    night: str, arrives: str, departs: str, usable: int
) -> None:
    zurich, known = ZoneInfo("Europe/Zurich"), datetime.fromisoformat(night)
    before = known - timedelta(days=1) if arrives > departs else known
    spent = one_stay(
        places([airport("ZRH", "CH", 47.46, 8.55, 20, 15, 80), airport("LHR", "GB", 51.5, -0.5)]),
        airport="ZRH",
        arrival=datetime.fromisoformat(f"{before:%Y-%m-%d}T{arrives}").replace(tzinfo=zurich),
        departure=datetime.fromisoformat(f"{night}T{departs}").replace(tzinfo=zurich),
        origin="LHR",
        destination="LHR",
    )
    evening = 85 if arrives == "20:00" else 0
    assert spent.usable[0] == usable + evening


def test_spendable__over_night__counts_open_hours_only() -> None:
    spent = stay("2026-12-01T18:10", "2026-12-02T12:40", origin="LHR", destination="CDG")
    # In town from 20:00 to 10:00: two hours until it closes, two from when it opens.
    assert spent.usable[0] == 240
    assert spent.overnight[0]
    # The sun rises at about a quarter past eight.
    assert 95 <= spent.daylight[0] <= 110


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("01T23:00", "02T05:00", True),
        ("01T23:00", "02T04:59", False),
        ("02T01:00", "02T05:00", True),
        ("02T01:01", "02T23:00", False),
        ("02T01:01", "03T05:00", True),
        ("02T06:00", "02T23:59", False),
    ],
)
def test_overnight__lasts_from_one_to_five(start: str, end: str, expected: bool) -> None:
    minutes = [
        np.array([minute_of(datetime.fromisoformat(f"2026-12-{text}+00:00"))])
        for text in (start, end)
    ]
    assert overnight(*minutes)[0] == expected


# Day lengths from the almanac, in minutes; the place is where its clock's day begins.
@pytest.mark.parametrize(
    ("latitude", "longitude", "day", "expected"),
    [
        (40.71, -74.0, "2026-06-21", 905),
        (40.71, -74.0, "2026-12-21", 555),
        (64.15, -21.94, "2026-12-21", 247),
        (-33.87, 151.2, "2026-12-21", 864),
        (0.0, 0.0, "2026-03-20", 727),
        (69.65, 18.96, "2026-06-21", 1440),
        (69.65, 18.96, "2026-12-21", 0),
    ],
)
def test_daylight__known_places__is_the_almanacs_within_three_minutes(
    latitude: float, longitude: float, day: str, expected: int
) -> None:
    midnight = minute_of(datetime.fromisoformat(f"{day}T00:00:00+00:00")) - round(longitude * 4)
    found = daylight_minutes(
        np.array([latitude]), np.array([longitude]), np.array([midnight]),
        np.array([midnight + 1440]),
    )  # fmt: skip
    assert abs(found[0] - expected) <= 3


MINUTE = st.integers(29_000_000, 30_500_000)


@given(
    latitude=st.floats(-90, 90),
    longitude=st.floats(-180, 180),
    start=MINUTE,
    lengths=st.tuples(st.integers(0, 8_000), st.integers(0, 8_000)),
)
def test_daylight__of_two_parts__is_the_sum(
    latitude: float, longitude: float, start: int, lengths: tuple[int, int]
) -> None:
    def light(begin: int, end: int) -> int:
        return int(
            daylight_minutes(
                np.array([latitude]), np.array([longitude]), np.array([begin]), np.array([end])
            )[0]
        )

    middle = start + lengths[0]
    end = middle + lengths[1]
    # Each is rounded, and in the polar summer days overlap by half a minute.
    slack = 2 + sum(lengths) // 1440
    assert abs(light(start, middle) + light(middle, end) - light(start, end)) <= slack
    assert 0 <= light(start, end) <= end - start


@given(arrival=MINUTE, gap=st.integers(0, 14_400), offset=st.integers(-12 * 60, 14 * 60))
def test_usable__any_stay__is_what_a_walk_over_its_minutes_counts(
    arrival: int, gap: int, offset: int
) -> None:
    begins = moment_of(arrival)
    zone = timezone(timedelta(minutes=offset))
    spent = one_stay(
        KNOWN, airport="LHR", arrival=begins.astimezone(zone),
        departure=(begins + timedelta(minutes=gap)).astimezone(zone), origin="CDG",
        destination="IST",
    )  # fmt: skip
    walked = sum(
        OPENS <= (minute + offset) % 1440 < CLOSES
        for minute in range(int(spent.leaves[0]), int(spent.returns[0]))
    )
    assert spent.usable[0] == walked
