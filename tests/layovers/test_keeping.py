"""Kept analyses: found again, renewed when an input changes, made once for all who wait."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import ProgrammingError, connections
from django.test import Client
from django.utils import timezone
from redis.exceptions import ConnectionError as RedisConnectionError

from apps.configs.runtime import override_config
from apps.flags.runtime import flags
from apps.flights.airports import airports, ground
from apps.flights.connection_times import connection_times
from apps.flights.models import Airport, MinimumConnectionTime
from apps.layovers import keeping, shared
from apps.layovers.admin.analyses import outdated_by
from apps.layovers.hits import hits
from apps.layovers.keeping import Asked, Kept, kept_analysis, weights_of
from apps.layovers.models import Experience, LayoverAnalysis, LayoverCacheCount
from apps.layovers.operations import invalidate_analyses
from apps.layovers.questions import parse_document, parse_values
from apps.layovers.versions import InputVersions, layover_inputs
from apps.tenants.models import Enterprise
from layoverhq.tenancy import operator_scope
from tests.kernel.test_snapshot import until
from tests.layovers.factories import (
    ANALYSIS,
    add_experience,
    own_airport,
    question,
    record_weather,
)
from tests.tenants import factories as tenants


def asked_of(airport: str, *, weather: bool = False, **more: Any) -> Asked:
    now = timezone.now()
    found = parse_values(question(airport, **more), zones=airports.get(), now=now)
    return Asked(found, weights_of(None), weather)


def entry(asked: Asked) -> LayoverAnalysis:
    with operator_scope():
        return LayoverAnalysis.objects.get(pk=asked.key)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the analyses that were made, in order."""
    keys: list[str] = []
    original = keeping.analyse

    def counting(asked: Any, inputs: Any) -> Any:
        keys.append(asked.airport)
        return original(asked, inputs)

    monkeypatch.setattr(keeping, "analyse", counting)
    return keys


@contextmanager
def cache_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the cache refuse every call."""

    class Away:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            def refuse(*args: Any, **kwargs: Any) -> Any:
                raise RedisConnectionError("away")

            return refuse

    with monkeypatch.context() as patched:
        patched.setattr(shared, "cache", Away())
        yield
    shared.forget_absence()


# Found again


def test_kept__asked_twice__is_made_once_and_equal(made: list[str]) -> None:
    asked = asked_of(own_airport())
    now = timezone.now()
    first, second = kept_analysis(asked, now=now), kept_analysis(asked, now=now)
    assert (first.state, second.state) == ("miss", "hit")
    assert first.body == second.body
    assert len(made) == 1
    found = entry(asked)
    assert found.analysis_result == first.document
    assert found.airport_code == asked.question.airport
    assert float(found.confidence_score or 0) == first.document["confidence"]
    assert parse_document(found.request, zones=airports.get(), now=now) == asked.question


def test_kept__by_another_tenant__is_found_and_names_nobody(
    api: Client,
    enterprise: Enterprise,
    other_enterprise: Enterprise,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flags, "enabled", lambda name, context: False)
    asked = question(own_airport())
    first = api.get(ANALYSIS, asked)
    second = tenants.make_client(other_enterprise).get(ANALYSIS, asked)
    assert first["Cache-Status"] == "layovers; fwd=miss; stored"
    assert second["Cache-Status"] == "layovers; hit"
    assert first.content == second.content
    with operator_scope():
        row = LayoverAnalysis.objects.get(airport_code=asked["airport"])
    text = json.dumps([row.analysis_result, row.request, row.weights, row.cache_key])
    assert str(enterprise.pk) not in text
    assert enterprise.slug not in text


def test_kept__other_weights_weather_or_ground_times__is_another_entry(made: list[str]) -> None:
    place = own_airport()
    usual = asked_of(place).key
    with override_config({"algorithm.safety_weight": 0.9}):
        heavier = asked_of(place).key
    assert len({usual, heavier, asked_of(place, weather=True).key}) == 3
    with operator_scope():
        Airport.objects.filter(pk=place).update(transfer_minutes=7)
    until(lambda: ground.get().transfer[ground.get().index[place]] == 7)
    assert asked_of(place).key != usual


def test_kept__minimum_connection_time_changed__is_made_anew(made: list[str]) -> None:
    asked = asked_of(own_airport(), hours=1, **{"from": "SFO", "to": "BOS"})
    place = asked.question.airport
    before = kept_analysis(asked, now=timezone.now())
    with operator_scope():
        MinimumConnectionTime.objects.create(
            airport_id=place, kind="DD", minutes=90, source="a test"
        )
    connection_times.forget()
    after = kept_analysis(asked, now=timezone.now())
    assert (before.document["feasible"], after.document["feasible"]) == (True, False)
    assert after.state == "miss"


def test_kept__by_the_runtime_role__is_read_by_its_key_alone(made: list[str]) -> None:
    asked = asked_of(own_airport(), price="411.00", best_price="400.00")
    kept_analysis(asked, now=timezone.now())
    # The price may be of a private offer: nobody looks through what others asked.
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        connections["default"].cursor() as cursor,
    ):
        cursor.execute("select request from layover_analyses_cache")
    with connections["default"].cursor() as cursor:
        cursor.execute("select analysis from kept_layover_analysis(%s)", [asked.key])
        assert '"411.00"' in cursor.fetchone()[0]


def test_kept__cache_emptied__is_found_in_the_database(made: list[str]) -> None:
    from django.core.cache import cache

    asked = asked_of(own_airport())
    now = timezone.now()
    kept_analysis(asked, now=now)
    cache.clear()
    assert kept_analysis(asked, now=now).state == "hit"
    assert shared.kept_text(asked.key) is not None
    assert len(made) == 1


def test_kept__expired__is_made_anew(made: list[str]) -> None:
    asked = asked_of(own_airport())
    now = timezone.now()
    kept_analysis(asked, now=now)
    later = kept_analysis(asked, now=now + timedelta(hours=25))
    assert later.state == "miss"
    assert len(made) == 2
    assert entry(asked).expires_at == now + timedelta(hours=49)


def test_kept__text__is_read_as_it_was_written() -> None:
    kept = Kept((1, 2, 3), datetime(2026, 12, 1, 8, 30, tzinfo=UTC), '{"a": "b c\\nd"}')
    assert Kept.of(kept.text()) == kept


# Expiry by the input that ages first


def test_expiry__with_weather__is_the_weathers(made: list[str]) -> None:
    place = own_airport()
    record_weather(place, datetime.now(UTC))
    until(lambda: layover_inputs.get()[place].weather_fetched_at)
    with override_config({"weather.cache_ttl": 600}):
        asked = asked_of(place, weather=True, days=1, **{"from": "SFO", "to": "BOS"})
        kept_analysis(asked, now=timezone.now())
    fetched = layover_inputs.get()[place].weather_fetched_at
    assert fetched is not None
    assert entry(asked).expires_at == fetched + timedelta(seconds=600)


# Renewed when an input changes


def test_changed__experience_added__is_made_anew(made: list[str]) -> None:
    asked = asked_of(own_airport())
    before = kept_analysis(asked, now=timezone.now()).document
    add_experience(asked.question.airport, name="New", opening_hours="24h")
    after = kept_analysis(asked, now=timezone.now())
    assert before["plan"]["stops"] == []
    assert [stop["name"] for stop in after.document["plan"]["stops"]] == ["New"]
    assert after.state == "miss"


def test_changed__experience_moved__makes_both_airports_anew(made: list[str]) -> None:
    one, other = asked_of(own_airport()), asked_of(own_airport())
    moved = add_experience(one.question.airport, opening_hours="24h")
    for asked in (one, other):
        kept_analysis(asked, now=timezone.now())
    held = layover_inputs.get().get(other.question.airport)
    with operator_scope():
        Experience.objects.filter(pk=moved.pk).update(airport=other.question.airport)
    until(lambda: layover_inputs.get().get(other.question.airport) != held)
    stops = [
        kept_analysis(asked, now=timezone.now()).document["plan"]["stops"] for asked in (one, other)
    ]
    assert [len(each) for each in stops] == [0, 1]


def test_changed__weather_that_says_the_same__keeps_the_entry(made: list[str]) -> None:
    place = own_airport()
    record_weather(place, datetime.now(UTC))
    asked = asked_of(place, weather=True, days=1, **{"from": "SFO", "to": "BOS"})
    kept_analysis(asked, now=timezone.now())
    record_weather(place, datetime.now(UTC))
    assert kept_analysis(asked, now=timezone.now()).state == "hit"
    record_weather(place, datetime.now(UTC), temperature_tenths=-50)
    renewed = kept_analysis(asked, now=timezone.now())
    assert renewed.state == "miss"
    assert renewed.document["weather"]["comfort"] < 20


def test_changed__weather__keeps_what_was_made_without_it(made: list[str]) -> None:
    place = own_airport()
    asked = asked_of(place)
    kept_analysis(asked, now=timezone.now())
    record_weather(place, datetime.now(UTC))
    assert kept_analysis(asked, now=timezone.now()).state == "hit"
    assert outdated_by(entry(asked)) == []


def test_changed__made_from_older_inputs_and_kept_late__is_not_answered(made: list[str]) -> None:
    asked = asked_of(own_airport())
    fresh = kept_analysis(asked, now=timezone.now())
    add_experience(asked.question.airport, name="New", opening_hours="24h")
    newer = kept_analysis(asked, now=timezone.now())
    # A process that began before the change, and ends now.
    row = entry(asked)
    late = {
        "cache_key": asked.key, "airport_code": row.airport_code,
        "analysis_result": fresh.document, "confidence_score": 1,
        "expires_at": row.expires_at.isoformat(), "request": row.request,
        "departure_at": row.departure_at.isoformat(), "weights": row.weights,
        "real_time_weather": False, "experiences_version": row.experiences_version - 1,
        "weather_version": row.weather_version, "invalidations": row.invalidations,
    }  # fmt: skip
    with connections["default"].cursor() as cursor:
        cursor.execute("select keep_layover_analysis(%s)", [json.dumps(late)])
    assert entry(asked).analysis_result == newer.document


def test_fresh__process_that_lags_behind__takes_newer_entries_and_no_older() -> None:
    now = timezone.now()
    kept = Kept((2, 5, 0), now + timedelta(minutes=1), "{}")
    assert kept.is_fresh(InputVersions(1, 5, 0), now)
    assert not kept.is_fresh(InputVersions(3, 5, 0), now)
    assert not kept.is_fresh(InputVersions(2, 6, 0), now)
    assert kept.is_bearable(InputVersions(3, 6, 0))
    assert not kept.is_bearable(InputVersions(2, 5, 1))


# Once for all who wait


def at_once(number: int, ask: Callable[[], Any]) -> list[Any]:
    """Ask from many threads, each with connections of its own."""
    start = threading.Barrier(number)

    def one() -> Any:
        start.wait(10)
        try:
            return ask()
        finally:
            for connection in connections.all(initialized_only=True):
                connection.close()

    with ThreadPoolExecutor(number) as pool:
        return [future.result() for future in [pool.submit(one) for _ in range(number)]]


@pytest.mark.parametrize("away", [False, True])
def test_stampede__many_at_once__is_made_once(
    made: list[str], monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    asked = asked_of(own_airport())
    now = timezone.now()

    def ask() -> Any:
        return kept_analysis(asked, now=now)

    if away:
        with cache_away(monkeypatch):
            answers = at_once(8, ask)
    else:
        answers = at_once(8, ask)
    assert len(made) == 1
    assert len({answer.body for answer in answers}) == 1
    assert sorted(answer.state for answer in answers) == ["hit"] * 7 + ["miss"]


def test_stampede__outdated_entry__is_answered_while_another_works(made: list[str]) -> None:
    asked = asked_of(own_airport())
    now = timezone.now()
    old = kept_analysis(asked, now=now)
    add_experience(asked.question.airport, name="New", opening_hours="24h")
    turn = shared.take_turn(asked.key, seconds=30)
    assert turn
    assert turn.is_mine
    meanwhile = kept_analysis(asked, now=now)
    turn.give_back()
    assert (meanwhile.state, meanwhile.body) == ("stale", old.body)
    assert kept_analysis(asked, now=now).state == "miss"


def test_stampede__void_entry__is_not_answered_by_anybody(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "WAIT_SECONDS", 0.05)
    asked = asked_of(own_airport())
    now = timezone.now()
    kept_analysis(asked, now=now)
    with operator_scope():
        invalidate_analyses(airports=[asked.question.airport], actor=None)
    until(
        lambda: (known := layover_inputs.get().get(asked.question.airport)) and known.invalidations
    )
    turn = shared.take_turn(asked.key, seconds=30)
    assert turn
    # The one whose turn it is never comes back: others wait a while, then make it themselves.
    assert kept_analysis(asked, now=now).state == "miss"
    turn.give_back()
    assert len(made) == 2


def test_turn__given_back_late__leaves_the_next_ones_alone() -> None:
    mine = shared.take_turn("a-test", seconds=30)
    theirs = shared.take_turn("a-test", seconds=30)
    assert mine
    assert theirs
    assert (mine.is_mine, theirs.is_mine) == (True, False)
    theirs.give_back()
    assert not shared.take_turn("a-test", seconds=30).is_mine  # type: ignore[union-attr]
    mine.give_back()
    mine.give_back()
    last = shared.take_turn("a-test", seconds=30)
    assert last
    assert last.is_mine
    last.give_back()


# Without the cache


def test_cache__away__is_slower_and_nothing_else(
    api: Client, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = question(own_airport())
    with cache_away(monkeypatch):
        first, second = api.get(ANALYSIS, asked), api.get(ANALYSIS, asked)
    third = api.get(ANALYSIS, asked)
    assert [each["Cache-Status"] for each in (first, second, third)] == [
        "layovers; fwd=miss; stored", "layovers; hit", "layovers; hit",
    ]  # fmt: skip
    assert first.json() == second.json() == third.json()
    assert len(made) == 1


def test_cache__away__is_asked_no_more_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Away:
        def get(self, key: str) -> None:
            calls.append(key)
            raise RedisConnectionError("away")

    monkeypatch.setattr(shared, "cache", Away())
    assert [shared.kept_text("a"), shared.kept_text("b")] == [None, None]
    assert len(calls) == 1


# Hits


def test_hits__many_reads__are_one_write(made: list[str]) -> None:
    asked = asked_of(own_airport())
    hits.flush()
    with operator_scope():
        before = LayoverCacheCount.objects.order_by("-hour").first()
    for _ in range(5):
        kept_analysis(asked, now=timezone.now())
    assert entry(asked).hit_count == 0
    stood_at = entry(asked).last_accessed
    hits.flush()
    found = entry(asked)
    assert found.hit_count == 4
    assert found.last_accessed > stood_at
    with operator_scope():
        counted = LayoverCacheCount.objects.order_by("-hour").first()
    assert counted
    if before is not None and before.hour == counted.hour:
        assert (counted.hits - before.hits, counted.misses - before.misses) == (4, 1)
    hits.flush()
    assert entry(asked).hit_count == 4


def test_hits__database_away__are_told_later(made: list[str], monkeypatch: Any) -> None:
    import psycopg

    asked = asked_of(own_airport())
    for _ in range(2):
        kept_analysis(asked, now=timezone.now())

    def refuse() -> Any:
        raise psycopg.OperationalError("away")

    with monkeypatch.context() as patched:
        patched.setattr("apps.layovers.hits.connect", refuse)
        hits.flush()
    assert entry(asked).hit_count == 0
    hits.flush()
    assert entry(asked).hit_count == 1


def test_flag__on_for_some__keeps_two_entries(api: Client, monkeypatch: Any, weather: Any) -> None:
    asked = question(own_airport())
    states = []
    for on in (True, False, True):
        monkeypatch.setattr(flags, "enabled", lambda name, context, on=on: on)
        states.append(api.get(ANALYSIS, asked).json()["weather"]["state"])
    assert states == ["fresh", "off", "fresh"]
    with operator_scope():
        rows = LayoverAnalysis.objects.filter(airport_code=asked["airport"])
        assert sorted(rows.values_list("real_time_weather", flat=True)) == [False, True]
