from __future__ import annotations

from collections.abc import Iterator

import pytest
import stamina

from apps.layovers.shared import forget_absence
from tests.layovers.weather_server import WeatherServer, weather_server


@pytest.fixture
def weather() -> Iterator[WeatherServer]:
    """A weather service of the test's own."""
    with weather_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _retries_at_once() -> Iterator[None]:
    """Try again without a pause, and ask the cache whatever an earlier test made of it."""
    forget_absence()
    with stamina.set_testing(True, attempts=2, cap=True):
        yield
    forget_absence()
