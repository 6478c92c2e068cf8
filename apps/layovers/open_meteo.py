"""Hourly weather from Open-Meteo (https://open-meteo.com/en/docs), many places in one request."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import httpx
import stamina

from apps.configs.runtime import configs
from apps.layovers.analysis import Hour

SOURCE: Final = "open-meteo"
# The farthest that it foresees.
FORECAST_DAYS: Final = 16
MOST_PLACES: Final = 50
ATTEMPTS: Final = 2
# Sixteen days of five values take some 25 kB a place.
LARGEST_ANSWER_PER_PLACE: Final = 200_000

_UNITS: Final = {
    "temperature_2m": "°C",
    "precipitation": "mm",
    "wind_speed_10m": "km/h",
    "cloud_cover": "%",
    "weather_code": "wmo code",
}


class WeatherUnavailable(Exception):
    """The service has no weather for us; the message says why."""


class _TryAgain(WeatherUnavailable):
    """It may have some in a moment."""


@dataclass(frozen=True, slots=True)
class Place:
    """An airport and where it is, in degrees north and east."""

    airport: str
    latitude: float
    longitude: float


def fetch_weather(places: Sequence[Place]) -> dict[str, list[Hour]]:
    """Return the hours to come at each place, at most MOST_PLACES of them.

    Takes no longer than `weather.timeout`, retries included. Raises WeatherUnavailable.
    """
    if not 0 < len(places) <= MOST_PLACES:
        raise ValueError(f"from 1 to {MOST_PLACES} places")
    timeout = float(configs.get("weather.timeout"))
    deadline = time.monotonic() + timeout
    for attempt in stamina.retry_context(
        on=_TryAgain, attempts=ATTEMPTS, timeout=timeout, wait_initial=0.1, wait_max=0.5
    ):
        with attempt:
            answer = _ask(places, deadline)
    return _read(answer, places)


def _ask(places: Sequence[Place], deadline: float) -> Any:
    parameters = {
        "latitude": ",".join(f"{each.latitude:.4f}" for each in places),
        "longitude": ",".join(f"{each.longitude:.4f}" for each in places),
        "hourly": ",".join(_UNITS),
        "forecast_days": str(FORECAST_DAYS),
        "timeformat": "unixtime",
        "timezone": "GMT",
    }
    if key := configs.get("weather.api_key"):
        parameters["apikey"] = key
    url = configs.get("weather.base_url").rstrip("/") + "/v1/forecast"
    left = deadline - time.monotonic()
    if left <= 0:
        raise WeatherUnavailable("The weather service took too long.")
    try:
        with (
            httpx.Client(timeout=left, follow_redirects=False) as client,
            client.stream("GET", url, params=parameters) as response,
        ):
            body = _body(response, deadline, LARGEST_ANSWER_PER_PLACE * len(places))
    except httpx.TimeoutException as error:
        raise WeatherUnavailable("The weather service took too long.") from error
    except httpx.HTTPError as error:
        raise _TryAgain(
            f"The weather service cannot be reached: {type(error).__name__}."
        ) from error
    except httpx.InvalidURL as error:
        raise WeatherUnavailable("weather.base_url is no address.") from error
    return _document(response, body)


def _body(response: httpx.Response, deadline: float, most: int) -> bytes:
    """Read no more than that, and no longer than until the deadline."""
    parts, size = [], 0
    for part in response.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > most:
            raise WeatherUnavailable("The weather service answered far too much.")
        if time.monotonic() > deadline:
            raise WeatherUnavailable("The weather service took too long.")
    return b"".join(parts)


def _document(response: httpx.Response, body: bytes) -> Any:
    status = response.status_code
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if status != 200:
        reason = document.get("reason") if isinstance(document, dict) else None
        told = f"The weather service answered {status}" + (
            f": {str(reason)[:200]}" if reason else ""
        )
        # A question that is refused, or over the quota, is so a moment later.
        raise (_TryAgain if status >= 500 else WeatherUnavailable)(told[:250])
    if document is None:
        raise WeatherUnavailable("The weather service did not answer JSON.")
    return document


def _read(document: Any, places: Sequence[Place]) -> dict[str, list[Hour]]:
    """Return the hours by airport; one place is answered as an object, more as a list."""
    answers = document if isinstance(document, list) else [document]
    if len(answers) != len(places):
        raise WeatherUnavailable(
            f"The weather service answered {len(answers)} places for {len(places)}."
        )
    try:
        return {
            place.airport: list(_hours(answer))
            for place, answer in zip(places, answers, strict=True)
        }
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise WeatherUnavailable("The weather service's answer makes no sense.") from error


def _hours(answer: Any) -> Iterator[Hour]:
    for name, unit in _UNITS.items():
        if answer["hourly_units"][name] != unit:
            raise ValueError(f"{name} is in {answer['hourly_units'][name]}")
    hourly = answer["hourly"]
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
        hour = datetime.fromtimestamp(int(when), UTC)
        if not in_range or hour.minute or hour.second:
            raise ValueError("out of range")
        yield Hour(hour, temperature, precipitation, round(wind), round(cloud), round(code))
