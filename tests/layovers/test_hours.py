"""Opening hours: what is understood, what is refused, when a place is open."""

from __future__ import annotations

import csv
from datetime import datetime
from importlib import resources

import pytest

from apps.layovers.hours import HoursFault, parse_hours

MONDAY = datetime(2026, 11, 30)


def open_at(text: str, day: int, begin: str, end: str) -> list[str]:
    """Return the spans on a day of that week, as texts."""
    at = datetime(2026, 12, day) if day else MONDAY
    low, high = (
        datetime.combine(at, datetime.strptime(each, "%H:%M").time()) for each in (begin, end)
    )
    return [f"{a:%H:%M}-{b:%H:%M}" for a, b in parse_hours(text).spans(low, high)]


@pytest.mark.parametrize(
    ("text", "day", "expected"),
    [
        ("Mo-Fr 09:00-17:00; Sa 10:00-12:00,14:00-16:00", 0, ["09:00-17:00"]),
        ("Mo-Fr 09:00-17:00; Sa 10:00-12:00,14:00-16:00", 5, ["10:00-12:00", "14:00-16:00"]),
        ("Mo-Fr 09:00-17:00; Sa 10:00-12:00,14:00-16:00", 6, []),
        ("Su-Tu 09:00-17:00", 1, ["09:00-17:00"]),
        ("Su-Tu 09:00-17:00", 2, []),
        ("daily 18:00-02:00", 1, ["00:01-02:00", "18:00-23:59"]),
        ("daily 08:00-24:00", 1, ["08:00-23:59"]),
        ("24h", 1, ["00:01-23:59"]),
        ("Mo 18:00-02:00", 1, ["00:01-02:00"]),
    ],
)
def test_spans__of_a_day__are_as_written(text: str, day: int, expected: list[str]) -> None:
    assert open_at(text, day, "00:01", "23:59") == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "always", "Mo", "Mo 9-17", "Mo 25:00-26:00", "Xy 09:00-17:00", "Mo-Xy 09:00-17:00",
        "Mo 09:00-17:00; Mo-Tu 10:00-12:00", "Mo 09:00-12:00,11:00-13:00", "daily", "Mo 24:00-25:0",
        "Mo 09:00-17:00;" * 30,
    ],
)  # fmt: skip
def test_parse__what_makes_no_sense__is_refused(text: str) -> None:
    with pytest.raises(HoursFault):
        parse_hours(text)


def test_seed__all_hours__are_understood() -> None:
    data = (resources.files("apps.layovers") / "data/experiences.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(data.splitlines()))
    assert len({row["airport"] for row in rows}) >= 40
    for row in rows:
        parse_hours(row["opening_hours"])
