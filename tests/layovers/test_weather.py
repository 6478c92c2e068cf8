"""Weather: asked for, kept, aged; and a service that fails in every way that they do."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from apps.configs.runtime import override_config
from apps.flags.runtime import flags
from apps.layovers import observing
from apps.layovers.models import LayoverInput, WeatherObservation
from apps.layovers.open_meteo import Place, fetch_weather
from apps.layovers.versions import layover_inputs
from layoverhq.remote import RemoteFault
from layoverhq.tenancy import OPERATOR, operator_scope
from tests.kernel.test_snapshot import until
from tests.layovers.factories import ANALYSIS, own_airport, question, record_weather, versions
from tests.layovers.weather_server import WeatherServer

DOMESTIC = {"from": "SFO", "to": "BOS"}
PLACES = [Place("ORD", 41.98, -87.9), Place("IST", 41.26, 28.74)]


@pytest.fixture
def _weather_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the flag on for everybody."""
    monkeypatch.setattr(flags, "enabled", lambda name, context: name == "real_time_weather")


def kept(airport: str) -> list[WeatherObservation]:
    with operator_scope():
        return list(WeatherObservation.objects.filter(airport_code=airport).order_by("hour"))


# The adapter


def test_fetch__two_places__are_one_request_and_told_apart(weather: WeatherServer) -> None:
    found = fetch_weather(PLACES)
    (asked,) = weather.asked
    assert asked["latitude"] == ["41.9800,41.2600"]
    assert asked["longitude"] == ["-87.9000,28.7400"]
    assert "apikey" not in asked
    assert set(found) == {"ORD", "IST"}
    assert len(found["ORD"]) == 24 * 16
    first = found["ORD"][0]
    assert (first.temperature, first.wind_kmh, first.comfort) == (21.5, 7, 100)
    assert first.hour.tzinfo is UTC


def test_fetch__with_a_key__sends_it(weather: WeatherServer) -> None:
    with override_config({"weather.api_key": "s3cret"}):
        fetch_weather(PLACES[:1])
    assert weather.asked[0]["apikey"] == ["s3cret"]


def broken(change: Callable[[Any], Any]) -> Callable[[WeatherServer], Callable[[Any], Any]]:
    def answer(server: WeatherServer) -> Callable[[Any], Any]:
        return lambda query: (200, json.dumps(change(server.of_places(query)[0])).encode())

    return answer


def without(place: dict[str, Any], name: str) -> dict[str, Any]:
    hourly = {key: values for key, values in place["hourly"].items() if key != name}
    return {**place, "hourly": hourly}


def with_hourly(place: dict[str, Any], **values: Any) -> dict[str, Any]:
    length = len(place["hourly"]["time"])
    return {
        **place,
        "hourly": {**place["hourly"], **{key: [value] * length for key, value in values.items()}},
    }


def noon_of(place: dict[str, Any]) -> int:
    return int(place["hourly"]["time"][12])


def in_fahrenheit(place: dict[str, Any]) -> dict[str, Any]:
    return {**place, "hourly_units": {**place["hourly_units"], "temperature_2m": "°F"}}


@pytest.mark.parametrize(
    ("mood", "told"),
    [
        (lambda server: lambda query: (500, b"oops"), "answered 500"),
        (lambda server: lambda query: (429, b'{"error": true, "reason": "Limit"}'), "429: .*Limit"),
        (lambda server: lambda query: (400, b'{"error": true, "reason": "Bad"}'), "400: .*Bad"),
        (lambda server: lambda query: (302, b""), "answered 302"),
        (lambda server: lambda query: (200, b"<html>Sign in</html>"), "a page instead of JSON"),
        (lambda server: lambda query: (200, b'"\xff"'), "not UTF-8"),
        (lambda server: lambda query: (200, b"[]"), "0 places for 1"),
        (lambda server: lambda query: (200, b"{}"), "makes no sense"),
        (lambda server: lambda query: (200, b"null"), "makes no sense"),
        (lambda server: lambda query: (200, b" " * 300_000), "larger than"),
        (broken(lambda place: without(place, "precipitation")), "makes no sense"),
        (broken(lambda place: with_hourly(place, temperature_2m=71)), "makes no sense"),
        (broken(lambda place: with_hourly(place, temperature_2m="warm")), "makes no sense"),
        (broken(lambda place: with_hourly(place, precipitation=-1)), "makes no sense"),
        (broken(lambda place: with_hourly(place, time=1_700_000_001)), "makes no sense"),
        (broken(lambda place: with_hourly(place, time=noon_of(place))), "makes no sense"),
        (broken(lambda place: with_hourly(place, time=1_700_002_800)), "makes no sense"),
        (broken(lambda place: with_hourly(place, time=2**62)), "makes no sense"),
        (broken(lambda place: with_hourly(place, time=3600 * 10**9)), "makes no sense"),
        (broken(in_fahrenheit), "makes no sense"),
    ],
)  # fmt: skip
def test_fetch__service_out_of_sorts__is_unavailable_and_says_why(
    weather: WeatherServer, mood: Any, told: str
) -> None:
    weather.answer = mood(weather)
    with pytest.raises(RemoteFault, match=told):
        fetch_weather(PLACES[:1])
    # What may be better in a moment is asked for twice, what is refused is not.
    assert len(weather.asked) == (2 if told in ("answered 500", "429: .*Limit") else 1)


def test_fetch__service_well_again__is_asked_a_second_time(weather: WeatherServer) -> None:
    def at_first_not(query: Any) -> Any:
        return (503, b"") if len(weather.asked) == 1 else weather.usual(query)

    weather.answer = at_first_not
    assert len(fetch_weather(PLACES[:1])["ORD"]) == 24 * 16


def test_fetch__hours_that_a_model_does_not_know__are_left_out(weather: WeatherServer) -> None:
    def answer(query: Any) -> Any:
        place = weather.of_places(query)[0]
        place["hourly"]["cloud_cover"] = [30] * 24 + [None] * (24 * 15)
        return 200, json.dumps(place).encode()

    weather.answer = answer
    assert len(fetch_weather(PLACES[:1])["ORD"]) == 24


def test_fetch__service_hangs__ends_with_the_timeout() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with (
            override_config({"weather.base_url": url, "weather.timeout": 0.2}),
            pytest.raises(RemoteFault, match="in full"),
        ):
            fetch_weather(PLACES[:1])


def test_fetch__nobody_there__is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with (
            override_config({"weather.base_url": url}),
            pytest.raises(RemoteFault, match="connection failed"),
        ):
            fetch_weather(PLACES[:1])


def test_fetch__service_that_fails_again_and_again__is_left_alone(weather: WeatherServer) -> None:
    weather.answer = lambda query: (429, b"")
    for _ in range(3):
        with pytest.raises(RemoteFault, match="429"):
            fetch_weather(PLACES[:1])
    asked = len(weather.asked)
    # Whoever asks for another place does not wait for it either.
    with pytest.raises(RemoteFault, match="left alone until"):
        fetch_weather(PLACES[1:])
    assert len(weather.asked) == asked


# What is kept


def test_refresh__what_is_new__raises_the_version_and_what_is_not_does_not(
    weather: WeatherServer,
) -> None:
    place = own_airport()
    with operator_scope():
        assert observing.refresh_weather([place]) == 1
        first = versions(place)
        observing.refresh_weather([place])
        assert versions(place) == first
        weather.temperature = 3.0
        observing.refresh_weather([place])
    assert versions(place)[1] == first[1] + 1
    rows = kept(place)
    assert len(rows) == 24 * 16
    assert {row.temperature_tenths for row in rows} == {30}
    assert {row.source for row in rows} == {"open-meteo"}


def test_refresh__as_the_runtime_role__is_kept_too(weather: WeatherServer) -> None:
    place = own_airport()
    assert observing.refresh_weather([place]) == 1
    assert len(kept(place)) == 24 * 16


def test_refresh__failure__is_noted_and_nobody_asks_again_at_once(weather: WeatherServer) -> None:
    place = own_airport()
    weather.answer = lambda query: (400, b"no")
    assert observing.refresh_weather([place]) == 0
    until(lambda: place in layover_inputs.get())
    with operator_scope():
        noted = LayoverInput.objects.get(pk=place)
    assert "400" in noted.weather_problem
    assert not observing.is_due(place, now=timezone.now())
    assert observing.is_due(place, now=timezone.now() + timedelta(minutes=2))
    assert kept(place) == []


def test_refresh__many_airports__are_asked_in_batches(weather: WeatherServer) -> None:
    from apps.flights.airports import airports

    codes = sorted(airports.get())[:70]
    with operator_scope():
        assert observing.refresh_weather(codes) == 70
    assert [len(asked["latitude"][0].split(",")) for asked in weather.asked] == [50, 20]
    with operator_scope(), connections[OPERATOR].cursor() as cursor:
        cursor.execute("delete from weather_observations where airport_code = any(%s)", [codes])


# In analyses


@pytest.mark.usefixtures("_weather_on")
def test_analysis__weather_wanted__is_asked_for_once_and_counts(
    api: Client, weather: WeatherServer
) -> None:
    place = own_airport()
    asked = question(place, hours=10, **DOMESTIC)
    first = api.get(ANALYSIS, asked).json()
    second = api.get(ANALYSIS, asked).json()
    assert len(weather.asked) == 1
    assert first["weather"]["state"] == "fresh"
    assert first["weather"]["source"] == "open-meteo"
    hours = first["weather"]["hours"]
    assert {hour["temperature"] for hour in hours} == {21.5}
    # those in town, on the airport's clock
    assert hours[0]["hour"][11:13] == first["usable"]["in_city_from"][11:13]
    assert next(part for part in first["components"] if part["name"] == "weather")["value"] == 1
    assert "weather_missing" not in first["doubts"]
    assert second == first


@pytest.mark.usefixtures("_weather_on")
def test_analysis__weather_cannot_be_had__is_less_sure_and_still_answered(
    api: Client, weather: WeatherServer
) -> None:
    place = own_airport()
    weather.answer = lambda query: (500, b"")
    found = api.get(ANALYSIS, question(place, hours=10, **DOMESTIC)).json()
    assert found["weather"] == {
        "state": "unavailable", "source": None, "fetched_at": None, "comfort": None, "hours": [],
    }  # fmt: skip
    assert "weather_missing" in found["doubts"]
    assert found["score"] > 0


@pytest.mark.usefixtures("_weather_on")
def test_analysis__last_known_weather__is_used_and_doubted(
    api: Client, weather: WeatherServer
) -> None:
    place = own_airport()
    record_weather(place, datetime.now(UTC))
    weather.answer = lambda query: (500, b"")
    asked = question(place, days=1, hours=10, **DOMESTIC)
    fresh = api.get(ANALYSIS, asked).json()
    with override_config({"weather.cache_ttl": 1}):
        until(lambda: observing.is_due(place, now=timezone.now()))
        old = api.get(ANALYSIS, {**asked, "self_transfer": "true"}).json()
    assert (fresh["weather"]["state"], old["weather"]["state"]) == ("fresh", "last_known")
    assert old["weather"]["hours"] == fresh["weather"]["hours"]
    assert "weather_stale" in old["doubts"]
    assert old["confidence"] == pytest.approx(fresh["confidence"] - 0.1)


def test_analysis__flag_off__asks_nobody(
    api: Client, weather: WeatherServer, monkeypatch: Any
) -> None:
    monkeypatch.setattr(flags, "enabled", lambda name, context: False)
    place = own_airport()
    record_weather(place, datetime.now(UTC))
    found = api.get(ANALYSIS, question(place, days=1, **DOMESTIC)).json()
    assert found["weather"]["state"] == "off"
    assert weather.asked == []


@pytest.mark.usefixtures("_weather_on")
def test_analysis__beyond_what_can_be_foreseen__says_so(
    api: Client, weather: WeatherServer
) -> None:
    found = api.get(ANALYSIS, question(own_airport(), days=20, **DOMESTIC)).json()
    assert found["weather"]["state"] == "beyond_forecast"


def test_weather__at_the_end_of_what_is_foreseen__is_beyond_it(weather: WeatherServer) -> None:
    # The forecast ends with the sixteenth day, and not sixteen times 24 hours from now.
    place = own_airport()
    observing.refresh_weather([place])
    now = datetime.now(UTC).replace(hour=23, minute=30)
    begin = (now + timedelta(days=16)).replace(hour=3, minute=0)
    with override_config({"weather.cache_ttl": 86_400}):
        states = [
            observing.weather_at(place, at, at + timedelta(hours=2), now=now, is_wanted=True).state
            for at in (begin - timedelta(hours=6), begin)
        ]
    assert states == ["fresh", "beyond_forecast"]


def test_weather__of_hours_gone_by__makes_those_to_come_no_staler(weather: WeatherServer) -> None:
    place = own_airport()
    now = timezone.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    # As yesterday's last answer left it: today's begin with today.
    record_weather(place, midnight - timedelta(hours=3), hours=3)
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "update weather_observations set fetched_at = now() - interval '5 hours'"
            " where airport_code = %s",
            [place],
        )
    observing.refresh_weather([place])
    found = observing.weather_at(
        place,
        midnight - timedelta(hours=3),
        midnight + timedelta(hours=3),
        now=timezone.now(),
        is_wanted=True,
    )
    assert (found.state, len(found.hours)) == ("fresh", 6)


def test_flag__without_a_traveller__is_asked_for_the_enterprise(
    api: Client, enterprise: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(flags, "enabled", lambda name, context: bool(seen.append(context)))
    asked = question(own_airport())
    api.get(ANALYSIS, asked)
    api.get(ANALYSIS, asked, headers={"X-User-Id": "ann"})
    assert [context["user"] for context in seen] == [str(enterprise.pk), "ann"]
    assert {context["enterprise"] for context in seen} == {str(enterprise.pk)}
