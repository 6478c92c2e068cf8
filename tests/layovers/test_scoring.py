"""Scores: their parts, and that every lack of knowledge costs confidence and no points."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.layovers.scoring import (
    DOUBTS,
    Component,
    appeal,
    city_value,
    comfort,
    confidence,
    premium_value,
    score,
    waiting_value,
)

share = st.floats(0, 1)


def test_score__of_known_parts__is_the_weighed_mean() -> None:
    found = score([Component("a", 1.0, 0.3), Component("b", 0.5, 0.1), Component("c", None, 9.0)])
    assert found.value == 88
    told = {each["name"]: each for each in found.document()}
    assert told["a"] == {"name": "a", "value": 1.0, "weight": 0.75, "points": 75.0}
    assert told["c"] == {"name": "c", "value": None, "weight": 0.0, "points": 0.0}


def test_score__nothing_known__is_none_and_nothing_weighed__is_the_mean() -> None:
    assert score([Component("a", None, 1.0)]).value is None
    assert score([Component("a", 0.2, 0.0), Component("b", 0.6, 0.0)]).value == 40


@given(st.lists(st.tuples(share, share), min_size=1, max_size=6))
def test_score__whatever_is_weighed__lies_between_its_parts(
    parts: list[tuple[float, float]],
) -> None:
    found = score([Component(str(at), value, weight) for at, (value, weight) in enumerate(parts)])
    values = [value for value, _ in parts]
    assert found.value is not None
    assert round(100 * min(values)) <= found.value <= round(100 * max(values))
    assert sum(each["points"] for each in found.document()) == pytest.approx(found.value, abs=1)


def test_city_and_appeal__grow_and_end_at_one() -> None:
    assert [city_value(minutes) for minutes in (0, 180, 360, 900)] == [0, 0.5, 1, 1]
    assert appeal([]) == 0
    assert appeal([50]) == pytest.approx(0.6)
    assert appeal([30]) == 0
    assert appeal([50, 40]) == pytest.approx(1 - 0.4 * 0.7)


@pytest.mark.parametrize(
    ("price", "best", "minutes", "best_minutes", "expected"),
    [
        (100, 100, 600, 600, 1.0),
        (125, 100, 600, 600, 0.75),
        (100, 100, 960, 600, 0.75),
        (150, 100, 1320, 600, 0.0),
        (900, 100, 600, 600, 0.5),
        (90, 100, 500, 600, 1.0),
        (125, 100, None, None, 0.5),
        (None, None, 960, 600, 0.5),
        (5, 0, None, None, 0.0),
        (0, 0, None, None, 1.0),
        (None, None, None, None, None),
    ],
)
def test_premium__over_the_best__costs_its_share(
    price, best, minutes, best_minutes, expected
) -> None:
    found = premium_value(price=price, best_price=best, minutes=minutes, best_minutes=best_minutes)
    assert found == (None if expected is None else pytest.approx(expected))


def test_waiting__long_or_by_night__is_worse() -> None:
    assert waiting_value(wait_minutes=120, night_minutes=0) == 1
    assert waiting_value(wait_minutes=450, night_minutes=0) == 0.75
    assert waiting_value(wait_minutes=720, night_minutes=360) == 0.25


@pytest.mark.parametrize(
    ("weather", "expected"),
    [
        ({"temperature": 22}, 100),
        ({"temperature": 8}, 60),
        ({"temperature": 36}, 40),
        ({"temperature": 22, "precipitation": 1}, 80),
        ({"temperature": 22, "wind_kmh": 60}, 80),
        ({"temperature": 22, "weather_code": 95}, 60),
        ({"temperature": -30, "precipitation": 9, "wind_kmh": 90, "weather_code": 99}, 0),
    ],
)
def test_comfort__of_an_hour__is_told(weather: dict[str, float], expected: int) -> None:
    usual = {"temperature": 20, "precipitation": 0, "wind_kmh": 5, "weather_code": 1}
    assert comfort(**{**usual, **weather}) == expected


def test_confidence__each_doubt__takes_its_share_once() -> None:
    assert confidence([]) == 1
    assert confidence(["weather_missing", "weather_missing"]) == 0.8
    assert confidence(DOUBTS) == max(0, round(1 - sum(DOUBTS.values()), 2))
