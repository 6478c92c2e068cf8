"""Hourly weather from Open-Meteo (https://open-meteo.com/en/docs), many places in one request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.utils import timezone

from apps.configs.runtime import configs
from apps.layovers.analysis import Hour
from layoverhq.circuits import CircuitBreaker
from layoverhq.remote import OUTAGES, Limits, RemoteClient, RemoteFault

SOURCE: Final = "open-meteo"
# The farthest that it foresees.
FORECAST_DAYS: Final = 16
# Hours farther from now are none of a forecast's.
HORIZON: Final = timedelta(days=FORECAST_DAYS + 1)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MOST_PLACES: Final = 50
ATTEMPTS: Final = 2
# Failures in a row after which nobody asks, and for how long at first.
FAILURES: Final = 3
COOL_DOWN: Final = timedelta(minutes=1)
# Sixteen days of five values take some 25 kB a place.
LARGEST_ANSWER_PER_PLACE: Final = 200_000

_UNITS: Final = {
    "temperature_2m": "°C",
    "precipitation": "mm",
    "wind_speed_10m": "km/h",
    "cloud_cover": "%",
    "weather_code": "wmo code",
}


@dataclass(frozen=True, slots=True)
class Place:
    """An airport and where it is, in degrees north and east."""

    airport: str
    latitude: float
    longitude: float


def fetch_weather(places: Sequence[Place]) -> dict[str, list[Hour]]:
    """Return the hours to come at each place, at most MOST_PLACES of them.

    Takes no longer than `weather.timeout`, retries included, and asks nobody while the circuit is
    open. Raises RemoteFault.
    """
    if not 0 < len(places) <= MOST_PLACES:
        raise ValueError(f"from 1 to {MOST_PLACES} places")
    timeout = float(configs.get("weather.timeout"))
    limits = Limits(
        connect=timeout,
        read=timeout,
        total=timeout,
        attempts=ATTEMPTS,
        answer_bytes=LARGEST_ANSWER_PER_PLACE * len(places),
        first_wait=0.1,
    )
    key = configs.get("weather.api_key") or ""
    with (
        circuit_breaker().asking(timezone.now),
        RemoteClient(configs.get("weather.base_url"), limits, secrets=[key]) as client,
    ):
        return _read(client.ask("GET", "/v1/forecast", params=_parameters(places, key)), places)


def circuit_breaker() -> CircuitBreaker:
    """Return the service's breaker: a quota that is used up opens it too."""
    return CircuitBreaker(
        "weather service",
        failures=FAILURES,
        cool_down=COOL_DOWN,
        against=OUTAGES | {"throttled"},
    )


def _parameters(places: Sequence[Place], key: str) -> dict[str, str]:
    return {
        "latitude": ",".join(f"{each.latitude:.4f}" for each in places),
        "longitude": ",".join(f"{each.longitude:.4f}" for each in places),
        "hourly": ",".join(_UNITS),
        "forecast_days": str(FORECAST_DAYS),
        "timeformat": "unixtime",
        "timezone": "GMT",
        **({"apikey": key} if key else {}),
    }


def _read(document: Any, places: Sequence[Place]) -> dict[str, list[Hour]]:
    """Return the hours by airport; one place is answered as an object, more as a list."""
    answers = document if isinstance(document, list) else [document]
    if len(answers) != len(places):
        detail = f"It answered {len(answers)} places for {len(places)}."
        raise RemoteFault("unexpected_shape", detail)
    try:
        return {
            place.airport: list(_hours(answer))
            for place, answer in zip(places, answers, strict=True)
        }
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RemoteFault("unexpected_shape", "Its answer makes no sense.") from error


def _hours(answer: Any) -> Iterator[Hour]:
    for name, unit in _UNITS.items():
        if answer["hourly_units"][name] != unit:
            raise ValueError(f"{name} is in {answer['hourly_units'][name]}")
    hourly = answer["hourly"]
    now = timezone.now()
    before = now - HORIZON
    for when, *values in zip(hourly["time"], *(hourly[name] for name in _UNITS), strict=True):
        # Some models end before the sixteenth day.
        if None in values:
            continue
        temperature, precipitation, wind, cloud, code = (float(value) for value in values)
        in_range = (
            -100 <= temperature <= 70
            and 0 <= precipitation <= 500
            and 0 <= wind <= 500
            and 0 <= cloud <= 100
            and 0 <= code <= 99
        )
        hour = EPOCH + timedelta(seconds=int(when))
        if not in_range or hour.minute or hour.second or not before < hour < now + HORIZON:
            raise ValueError("out of range")
        before = hour
        yield Hour(hour, temperature, precipitation, round(wind), round(cloud), round(code))
