"""Experiences, what search is told, warming and purging: as the operator's role does it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.flags.evaluation import Evaluation
from apps.flags.runtime import flags
from apps.flights.airports import airports
from apps.flights.models import Airport, LayoverPlace, LayoverWeather
from apps.layovers import tasks
from apps.layovers.experience_rows import COLUMNS, as_csv, read_experiences, row_of, written
from apps.layovers.keeping import Asked, kept_analysis, weights_of
from apps.layovers.models import (
    Experience,
    LayoverAnalysis,
    LayoverCacheCount,
    LayoverInput,
    WeatherObservation,
)
from apps.layovers.operations import (
    import_experiences,
    invalidate_analyses,
    plan_experiences,
    publish_weather,
    purge_layovers,
    refresh_places,
    save_experience,
    set_experiences_active,
)
from apps.layovers.questions import parse_values
from apps.layovers.versions import layover_inputs
from apps.layovers.warming import popular_layovers, warm_popular_caches
from layoverhq.errors import Conflict, InvalidInput
from layoverhq.tenancy import OPERATOR, operator_scope
from tests.flights.factories import Shop
from tests.kernel.test_snapshot import until
from tests.layovers.factories import add_experience, own_airport, question, record_weather
from tests.layovers.weather_server import WeatherServer

pytestmark = pytest.mark.usefixtures("operator")

CELLS = {
    "airport": "ORD", "city": "Chicago", "name": "A sight", "category": "museum", "rating": "4.6",
    "price_from": "12.50", "currency": "USD", "duration_minutes": "90",
    "opening_hours": "daily 09:00-17:00", "base": "centre", "travel_minutes": "10",
    "distance_km": "1.5",
}  # fmt: skip


def csv_of(*rows: dict[str, str], columns: tuple[str, ...] = COLUMNS) -> str:
    lines = [",".join(columns)]
    for row in rows:
        lines.append(",".join(f'"{ {**CELLS, **row}[name] }"' for name in columns))
    return "\n".join(lines) + "\n"


def read(text: str) -> Any:
    return read_experiences(text, airports=airports.get(), source="a test")


def events(table: str, row_id: Any) -> list[str]:
    return list(
        AuditEvent.objects.filter(table_name=table, row_id=str(row_id))
        .order_by("at", "id")
        .values_list("operation", flat=True)
    )


# The seed


def test_seed__hubs__have_indicative_experiences_ground_times_and_an_appeal() -> None:
    hubs = Experience.objects.filter(source__contains="LayoverHQ").values("airport").distinct()
    codes = {row["airport"] for row in hubs}
    assert len(codes) >= 40
    assert {"IST", "SIN", "ORD", "DEN", "ATL", "JFK", "KEF"} <= codes
    for code in codes:
        own = Experience.objects.filter(airport=code, source__contains="LayoverHQ")
        assert own.count() >= 3
        assert not own.exclude(is_indicative=True).exists()
    known = Airport.objects.filter(pk__in=codes)
    assert not known.filter(transfer_minutes__isnull=True).exists()
    assert not known.filter(exit_minutes__isnull=True).exists()
    appeal = LayoverPlace.objects.get(pk="ORD").appeal
    assert len(appeal) == 17
    assert (appeal[0], appeal[-1] > 80) == (0, True)


def test_seed__premium_index__serves_the_premium_question() -> None:
    with connections[OPERATOR].cursor() as cursor:
        cursor.execute("begin")
        cursor.execute("set local enable_seqscan = off")
        cursor.execute(
            "explain select name from experiences where city = 'Chicago' and rating_tenths >= 40"
            " and price_from is not null order by rating_tenths desc, price_from limit 5"
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("rollback")
    assert "idx_experiences_premium" in plan
    assert "Sort" not in plan


# One by one


def test_save__new_and_changed__is_audited_and_told_to_search() -> None:
    place = own_airport()
    row = row_of({**CELLS, "airport": place}, airports.get(), "a test")
    now = timezone.now()

    made = save_experience(experience=None, row=row, now=now, actor=None)
    told = LayoverPlace.objects.get(pk=place).appeal
    dearer = row_of({**CELLS, "airport": place, "rating": "3.0"}, airports.get(), "a test")
    save_experience(experience=made, row=dearer, now=now, actor=None)

    assert (made.price_from, made.distance_metres) == (1250, 1500)
    assert events("experiences", made.pk) == ["INSERT", "UPDATE"]
    assert told[16] == 48
    assert LayoverPlace.objects.get(pk=place).appeal == [0] * 17
    assert LayoverInput.objects.get(pk=place).experiences_version == 2


def test_save__name_twice_at_an_airport__is_refused_by_field() -> None:
    place = own_airport()
    row = row_of({**CELLS, "airport": place}, airports.get(), "a test")
    save_experience(experience=None, row=row, now=timezone.now(), actor=None)
    with pytest.raises(Conflict) as refused:
        save_experience(experience=None, row=row, now=timezone.now(), actor=None)
    assert [error.field for error in refused.value.errors] == ["name"]
    assert Experience.objects.filter(airport=place).count() == 1


def test_deactivate__the_last_one__leaves_search_nothing() -> None:
    place = own_airport()
    made = add_experience(place)
    refresh_places(airports=[place], now=timezone.now())
    assert LayoverPlace.objects.filter(pk=place).exists()
    changed = set_experiences_active(
        experiences=[made], active=False, now=timezone.now(), actor=None
    )
    assert changed == 1
    assert not LayoverPlace.objects.filter(pk=place).exists()
    again = set_experiences_active(experiences=[made], active=False, now=timezone.now(), actor=None)
    assert again == 0


# Many at once


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"airport": "QQQ"}, "airport"),
        ({"city": ""}, "city"),
        ({"name": "x" * 201}, "name"),
        ({"name": "tab\there"}, "name"),
        ({"category": "casino"}, "category"),
        ({"rating": "5.1"}, "rating"),
        ({"rating": "4.65"}, "rating"),
        ({"rating": ""}, "rating"),
        ({"price_from": "-3"}, "price_from"),
        ({"price_from": "1.005"}, "price_from"),
        ({"price_from": "5.5", "currency": "JPY"}, "price_from"),
        ({"price_from": "999999999999"}, "price_from"),
        ({"currency": "XXX"}, "currency"),
        ({"duration_minutes": "9"}, "duration_minutes"),
        ({"duration_minutes": "1.5"}, "duration_minutes"),
        ({"opening_hours": "9 to 5"}, "opening_hours"),
        ({"base": "hotel"}, "base"),
        ({"travel_minutes": "301"}, "travel_minutes"),
        ({"distance_km": "301"}, "distance_km"),
    ],
)
def test_read__faulty_line__is_named_and_the_others_are_read(
    change: dict[str, str], column: str
) -> None:
    found = read(csv_of({"name": "Good"}, change))
    assert [(each.line, each.column) for each in found.rejects] == [(3, column)]
    assert [row.name for _, row in found.rows] == ["Good"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "missing_columns"),
        ("airport,city\nORD,Chicago\n", "missing_columns"),
        (csv_of(columns=COLUMNS), "empty"),
        (csv_of({}).replace("distance_km", "distance_km,colour"), "unknown_columns"),
        (csv_of({}) + '"open', "not_csv"),
        (csv_of({}) + "\x00", "nul"),
        ("x" * 5_000_001, "too_long"),
    ],
)
def test_read__file_that_is_none__is_refused(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(text)
    assert [error.code for error in refused.value.errors] == [code]


def test_read__line_twice_or_of_other_width__is_named() -> None:
    found = read(csv_of({"name": "A"}, {"name": "A"}) + "ORD,Chicago\n")
    assert [str(each) for each in found.rejects] == [
        "line 3: name: Line 2 names it already.",
        "line 4: columns: It has more or fewer columns than the head.",
    ]


def test_import__twice__changes_nothing_the_second_time() -> None:
    place = own_airport()
    text = csv_of({"airport": place, "name": "A"}, {"airport": place, "name": "B"})
    first = import_experiences(reading=read(text), now=timezone.now(), actor=None)
    assert (len(first.added), len(first.changed), first.unchanged) == (2, 0, 0)
    version = LayoverInput.objects.get(pk=place).experiences_version
    again = import_experiences(reading=read(text), now=timezone.now(), actor=None)
    assert (len(again.added), len(again.changed), again.unchanged) == (0, 0, 2)
    assert LayoverInput.objects.get(pk=place).experiences_version == version


def test_import__changed_line__changes_just_that() -> None:
    place = own_airport()
    text = csv_of({"airport": place, "name": "A"}, {"airport": place, "name": "B"})
    import_experiences(reading=read(text), now=timezone.now(), actor=None)
    changed = csv_of({"airport": place, "name": "B", "rating": "3.9", "price_from": ""})
    plan = plan_experiences(read(changed))
    assert [(line, columns) for line, _, columns in plan.changed] == [
        (2, ("rating_tenths", "price_from"))
    ]
    import_experiences(reading=read(changed), now=timezone.now(), actor=None)
    found = dict(
        Experience.objects.filter(airport=place).values_list("name", "rating_tenths").order_by()
    )
    assert found == {"A": 46, "B": 39}
    made = Experience.objects.get(airport=place, name="B")
    assert events("experiences", made.pk) == ["INSERT", "UPDATE"]


def test_import__with_a_reject__writes_nothing() -> None:
    place = own_airport()
    text = csv_of({"airport": place, "name": "A"}, {"airport": place, "rating": "9"})
    with pytest.raises(InvalidInput, match="line 3"):
        import_experiences(reading=read(text), now=timezone.now(), actor=None)
    assert not Experience.objects.filter(airport=place).exists()


def test_export__read_again__changes_nothing() -> None:
    everything = Experience.objects.filter(source__contains="LayoverHQ").order_by("airport", "name")
    found = read(as_csv(everything.iterator()))
    assert found.rejects == ()
    plan = plan_experiences(found)
    assert (plan.added, plan.changed, plan.unchanged) == ((), (), everything.count())
    assert written(everything[0])["is_indicative"] == "true"


# Analyses and weather


def test_invalidate__is_audited_and_raises_the_version() -> None:
    place = own_airport()
    assert invalidate_analyses(airports=[place, place], actor=None) == [place]
    assert LayoverInput.objects.get(pk=place).invalidations == 1
    record_weather(place, datetime.now(UTC))
    # What rises by itself is no event.
    assert events("layover_inputs", place) == ["INSERT", "UPDATE"]


def test_publish__comfort__is_told_once_and_again_when_it_changes() -> None:
    place = own_airport()
    now = timezone.now()
    record_weather(place, now, hours=5)
    assert publish_weather(now=now) >= 5
    told = LayoverWeather.objects.filter(airport=place)
    assert set(told.values_list("comfort", flat=True)) == {100}
    assert publish_weather(now=timezone.now()) == 0
    record_weather(place, now, hours=5, temperature_tenths=80)
    assert publish_weather(now=timezone.now()) == 5
    assert set(told.values_list("comfort", flat=True)) == {60}


def test_purge__of_what_is_over__keeps_the_rest() -> None:
    place = own_airport()
    now = timezone.now()
    record_weather(place, now - timedelta(days=9), hours=48)
    record_weather(place, now, hours=2)
    purged = purge_layovers(now=now)
    assert purged["weather"] >= 47
    assert WeatherObservation.objects.filter(airport_code=place).count() >= 2
    assert not WeatherObservation.objects.filter(hour__lt=now - timedelta(days=7)).exists()
    assert not LayoverAnalysis.objects.filter(departure_at__lt=now).exists()
    assert not LayoverCacheCount.objects.filter(hour__lt=now - timedelta(days=60)).exists()


@pytest.fixture
def busy() -> Any:
    """An airport that more layovers of tomorrow are at than at any other."""
    place = own_airport()
    shop = Shop(day=timezone.now().date() + timedelta(days=1))
    for number in range(25):
        shop.sell([(place, 400 + number)])
    yield place
    shop.close()


def test_popular__most_used_layover_airport__comes_first_with_its_layovers(busy: str) -> None:
    found = popular_layovers(since=timezone.now().date())
    first = [each for each in found if each.airport == busy]
    # Other tests leave layovers as well.
    counts = [each.layovers for each in found]
    assert counts == sorted(counts, reverse=True)
    assert [each.layovers for each in first] == [25, 25, 25]
    assert all(each.arrives_at and each.departs_at for each in first)
    assert popular_layovers(since=timezone.now().date(), of_each=0)[0].arrives_at is None


def test_popular__private_offers__are_left_out(enterprise: Any) -> None:
    place = own_airport()
    shop = Shop(day=timezone.now().date() + timedelta(days=1))
    for number in range(30):
        shop.sell([(place, 400 + number)], enterprise=enterprise, negotiated=True)
    try:
        assert place not in {each.airport for each in popular_layovers(since=timezone.now().date())}
    finally:
        shop.close()


def test_warm__most_used_airport__has_real_analyses_that_are_found(busy: str) -> None:
    now = timezone.now()
    assert warm_popular_caches(real_time_weather=False, now=now) >= 3
    rows = list(LayoverAnalysis.objects.filter(airport_code=busy))
    assert len(rows) == 3
    for row in rows:
        assert row.analysis_result["airport"]["iata"] == busy
        assert row.analysis_result["components"]
        assert row.request["from"]
        assert row.expires_at > now


# Tasks


@pytest.mark.usefixtures("enterprise")
def test_task__weather__asks_for_hubs_in_use_and_tells_search(
    busy: str, weather: WeatherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, "STATIC", enabled=True)
    tasks.warm_layover_analyses()
    tasks.refresh_hub_weather()
    told = LayoverWeather.objects.filter(airport=busy)
    assert told.count() >= 24 * 14
    asked = len(weather.asked)
    tasks.refresh_hub_weather()
    assert len(weather.asked) == asked
    tasks.refresh_hub_weather(airports=[busy])
    assert len(weather.asked) == asked + 1


@pytest.mark.parametrize(
    ("reason", "had_it", "asked"),
    [
        ("DEFAULT", False, False),
        # Half of the travellers have it, and no enterprise by itself.
        ("DEFAULT", True, True),
        # Somebody turned it off a moment ago.
        ("DISABLED", True, False),
        ("ERROR", True, False),
    ],
)
def test_task__no_enterprise_has_weather__asks_for_its_travellers_alone(
    busy: str,
    weather: WeatherServer,
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
    had_it: bool,
    asked: bool,
) -> None:
    with operator_scope():
        LayoverAnalysis.objects.all().delete()
    zones = airports.get()
    about = parse_values(question(busy), zones=zones, now=timezone.now())
    kept_analysis(Asked(about, weights_of(None), real_time_weather=had_it), now=timezone.now())
    weather.asked.clear()
    with operator_scope():
        LayoverInput.objects.update(weather_fetched_at=None)
    until(lambda: not any(known.weather_fetched_at for known in layover_inputs.get().values()))
    answers(monkeypatch, reason, enabled=False)
    tasks.refresh_hub_weather()
    assert bool(weather.asked) is asked


def answers(monkeypatch: pytest.MonkeyPatch, reason: str, *, enabled: bool) -> None:
    """Let every flag answer so."""
    answer = Evaluation(None, enabled, reason, enabled=enabled)
    monkeypatch.setattr(flags, "evaluate", lambda name, context: answer)


def test_task__purge__runs() -> None:
    tasks.purge_layovers()
    assert not LayoverAnalysis.objects.filter(departure_at__lt=timezone.now()).exists()
