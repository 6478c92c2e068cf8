"""The demo's inventory comes in by whole days, and what has expired goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest.mock import patch

import numpy as np
import psycopg
import pytest
import time_machine
from celery import current_app
from django.db import IntegrityError, connections
from django.db.models import Min
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from apps.configs.runtime import override_config
from apps.flights import operations, tasks
from apps.flights.demo import (
    MINIMUM_CONNECTION_MINUTES,
    PROVIDER,
    DemoOffers,
    busiest_routes,
    demo_offers,
)
from apps.flights.ground import Places
from apps.flights.models import EnterpriseFlight, Flight, FlightLayover, InventoryLoad
from apps.flights.network import network
from apps.tenants.models import Enterprise
from layoverhq.tenancy import OPERATOR, atomic, operator_scope, tenant_scope
from tests.flights.factories import Shop

pytestmark = pytest.mark.usefixtures("operator")

SAMPLE = 300


def sample(day: date, *, minimum_layover_minutes: int) -> DemoOffers:
    """Return a real day's offers on the busiest routes: enough to see, quick to store."""
    offers = demo_offers(day, minimum_layover_minutes=minimum_layover_minutes)
    codes = network().codes
    pairs = {codes.index(one) * len(codes) + codes.index(two) for one, two in busiest_routes(10)}
    legs = offers.schedule.legs
    last = np.where(offers.second >= 0, offers.second, offers.first)
    route = legs.origin[offers.first].astype(np.int64) * len(codes) + legs.destination[last]
    kept = np.flatnonzero(np.isin(route, list(pairs)))[:SAMPLE]
    return replace(
        offers,
        first=offers.first[kept],
        second=offers.second[kept],
        price_minor=offers.price_minor[kept],
        carrier=offers.carrier[kept],
    )


@pytest.fixture
def days() -> Iterator[list[date]]:
    """Four days that nothing else loads, composed in small; gone afterwards."""
    first = timezone.now().date() + timedelta(days=60)
    mine = [first + timedelta(days=shift) for shift in range(4)]
    with patch.object(operations, "demo_offers", sample):
        yield mine
    with operator_scope():
        for model in (Flight, EnterpriseFlight, FlightLayover):
            model.objects.filter(departure_day__in=mine).delete()
        InventoryLoad.objects.filter(day__in=mine).delete()


def standing(day: date) -> tuple[int, int, int]:
    """Return the day's offers, layovers and ledger entries."""
    return (
        Flight.objects.filter(departure_day=day).count(),
        FlightLayover.objects.filter(departure_day=day).count(),
        InventoryLoad.objects.filter(day=day).count(),
    )


def test_load_demo_days__new_days__stand_whole_and_are_entered(days: list[date]) -> None:
    loaded = operations.load_demo_days(days=days[:2])
    assert loaded == 2 * SAMPLE
    for day in days[:2]:
        entry = InventoryLoad.objects.get(day=day, provider=PROVIDER)
        assert standing(day) == (SAMPLE, entry.layovers, 1)
        one_stops = Flight.objects.filter(departure_day=day, layover_count=1)
        assert entry.offers == SAMPLE
        assert entry.layovers == one_stops.count() > 0
        offer = one_stops[0]
        layover = FlightLayover.objects.get(departure_day=day, flight_id=offer.pk)
        (told,) = offer.layovers
        for column in ("airport", "minutes", "usable_minutes", "daylight_minutes"):
            assert told[column] == getattr(layover, column)
        assert told.get("overnight", False) == layover.overnight == offer.overnight
        assert (offer.usable_minutes, offer.daylight_minutes) == (
            layover.usable_minutes,
            layover.daylight_minutes,
        )
        assert offer.carriers == [offer.segments[0]["carrier"]]
        longest = one_stops.order_by("-layover_max_minutes")[0]
        assert longest.usable_minutes > 0
        assert offer.modelled_fields == ("arrival_time", "date", "fare", "carrier")
        assert offer.enterprise is None


def test_load_demo_days__min_duration_changed__builds_by_the_value_that_holds(
    days: list[date],
) -> None:
    def shortest(day: date) -> int:
        operations.load_demo_days(days=[day])
        one_stops = Flight.objects.filter(departure_day=day, layover_count=1)
        return int(one_stops.aggregate(least=Min("layover_min_minutes"))["least"])

    with override_config({"layover.min_duration": 90}):
        assert 90 <= shortest(days[0]) < 300
    with override_config({"layover.min_duration": 300}):
        assert shortest(days[1]) >= 300
    with override_config({"layover.min_duration": 10}):
        assert MINIMUM_CONNECTION_MINUTES <= shortest(days[2]) < 90


def test_load_demo_days__again__changes_nothing(days: list[date]) -> None:
    operations.load_demo_days(days=days[:1])
    before = set(Flight.objects.filter(departure_day=days[0]).values_list("pk", flat=True))
    assert operations.load_demo_days(days=days[:1]) == 0
    assert set(Flight.objects.filter(departure_day=days[0]).values_list("pk", flat=True)) == before


def test_load_demo_days__cut_off_within_a_day__leaves_whole_days_only(days: list[date]) -> None:
    lines = operations.copy_lines

    def failing(offers: DemoOffers, *, known: Places) -> Iterator[str]:
        for number, line in enumerate(lines(offers, known=known)):
            if offers.day == days[1] and number == 200:
                raise KeyboardInterrupt
            yield line

    with patch.object(operations, "copy_lines", failing), pytest.raises(KeyboardInterrupt):
        operations.load_demo_days(days=days[:3])
    assert standing(days[1]) == (0, 0, 0)
    # The others were loaded beside it, or not begun.
    assert {standing(day)[::2] for day in days[:3]} <= {(0, 0), (SAMPLE, 1)}

    assert operations.load_demo_days(days=days[:3]) >= SAMPLE
    assert [standing(day)[0] for day in days[:3]] == [SAMPLE] * 3


def test_load_demo_days__another_process_was_faster__leaves_its_day_alone(
    days: list[date],
) -> None:
    operations.load_demo_days(days=days[:1])
    with patch.object(operations, "missing_days", wraps=operations.missing_days) as asked:
        asked.side_effect = [[days[0]], []]
        assert operations.load_demo_days(days=days[:1]) == 0
    assert standing(days[0])[0] == SAMPLE


def store_staged(day: date, provider: str, **fields: Any) -> None:
    """Stage one offer, plain but for the fields, and store it."""
    row = {"origin": "SFO", "destination": "JFK", "segments": '[{"origin": "SFO"}]', **fields}
    with atomic(), connections[OPERATOR].cursor() as cursor:
        cursor.execute("select open_offer_staging()")
        cursor.execute(
            "insert into pg_temp.staged_offers (departs, arrives, departure_minute, price_minor,"
            " origin_airport, destination_airport, layover_airports, layover_minutes, layovers,"
            " segments) values (29928244, 29929197, 424, 25551, %(origin)s, %(destination)s,"
            " '{}', '{}', '[]', %(segments)s)",
            row,
        )
        cursor.execute("select store_staged_offers(%s, %s, true)", [day, provider])


def test_store_staged_offers__day_stands_already__is_refused(days: list[date]) -> None:
    operations.load_demo_days(days=days[:1])
    with pytest.raises(IntegrityError, match="inventory_loads_day_once"):
        store_staged(days[0], PROVIDER)
    assert standing(days[0])[0] == SAMPLE


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"origin": "QQQ"}, "unknown airport: QQQ"),
        ({"destination": "SFO"}, "flights_goes_somewhere"),
        ({"segments": "[]"}, "flights_layovers_agree"),
    ],
)
def test_store_staged_offers__impossible_offer__is_refused(
    days: list[date], fields: dict[str, str], problem: str
) -> None:
    with pytest.raises(IntegrityError, match=problem):
        store_staged(days[0], "test", **fields)
    assert standing(days[0]) == (0, 0, 0)


def test_roll_demo_horizon__next_day__loads_only_what_came_into_reach(days: list[date]) -> None:
    assert operations.roll_demo_horizon(today=days[0], days=2) == 2 * SAMPLE
    assert operations.roll_demo_horizon(today=days[1], days=2) == SAMPLE
    assert [standing(day)[2] for day in days] == [1, 1, 1, 0]


@time_machine.travel(datetime(2026, 7, 4, 8, 0, tzinfo=UTC), tick=False)
def test_roll_demo_horizon__before_the_day_ends_in_honolulu__begins_with_it() -> None:
    with patch.object(operations, "load_demo_days", return_value=0) as load:
        operations.roll_demo_horizon()
    (_, asked) = load.call_args
    assert (asked["days"][0], asked["days"][-1]) == (date(2026, 7, 3), date(2026, 7, 16))


def test_load_negotiated_demo_offers__busy_routes__undercut_the_shared_price(
    days: list[date], enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    operations.load_demo_days(days=days[:1])
    added = operations.load_negotiated_demo_offers(enterprise=enterprise)
    assert added > 0
    assert operations.load_negotiated_demo_offers(enterprise=enterprise) == 0

    negotiated = EnterpriseFlight.objects.filter(enterprise=enterprise)
    assert negotiated.count() == added
    for offer in negotiated:
        shared = Flight.objects.get(
            departure_day=offer.departure_day,
            origin_airport=offer.origin_airport,
            destination_airport=offer.destination_airport,
            departure_at=offer.departure_at,
            arrival_at=offer.arrival_at,
            layovers=offer.layovers,
        )
        assert 0.89 <= offer.price_minor / shared.price_minor <= 0.95
        assert offer.provider == f"{enterprise.slug}-negotiated"
        assert offer.modelled
    layovers = FlightLayover.objects.filter(enterprise=enterprise)
    assert layovers.count() == sum(offer.layover_count for offer in negotiated)

    with tenant_scope(other_enterprise.ref):
        assert not EnterpriseFlight.objects.exists()
        assert not FlightLayover.objects.filter(enterprise__isnull=False).exists()


def test_load_negotiated_demo_offers__own_min_duration__has_no_shorter_layover(
    days: list[date], enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    operations.load_demo_days(days=days[:1])
    with override_config({"layover.min_duration": 700}, tenant=enterprise):
        for each in (enterprise, other_enterprise):
            operations.load_negotiated_demo_offers(enterprise=each)

    def shortest(each: Enterprise) -> int:
        mine = EnterpriseFlight.objects.filter(enterprise=each)
        assert mine.filter(layover_count=0).exists()
        return int(mine.aggregate(least=Min("layover_min_minutes"))["least"])

    assert shortest(enterprise) >= 700
    assert shortest(other_enterprise) < 700


def test_roll_demo_horizon__enterprise_of_the_demo__gets_offers_for_the_new_day(
    days: list[date], enterprise: Enterprise
) -> None:
    operations.roll_demo_horizon(today=days[0], days=1)
    operations.load_negotiated_demo_offers(enterprise=enterprise)
    operations.roll_demo_horizon(today=days[0], days=2)
    mine = EnterpriseFlight.objects.filter(enterprise=enterprise)
    assert set(mine.values_list("departure_day", flat=True)) == set(days[:2])


def test_cleanup_expired_flights__an_hour_past__goes_with_its_layovers(
    shop: Shop, enterprise: Enterprise
) -> None:
    now = timezone.now()
    long_past, just_past = now - timedelta(minutes=61), now - timedelta(minutes=58)
    gone = [
        shop.sell([("DEN", 100), ("ORD", 60)], expires_at=long_past),
        shop.sell([("DEN", 100)], expires_at=long_past, enterprise=enterprise),
        shop.sell([("DEN", 100)], expires_at=long_past, enterprise=enterprise, negotiated=True),
        shop.sell(expires_at=long_past),
    ]
    kept = [
        shop.sell([("DEN", 100)], expires_at=just_past),
        shop.sell([("DEN", 100)], enterprise=enterprise, negotiated=True),
    ]
    with patch.object(operations, "CLEANUP_BATCH", 2):
        assert operations.cleanup_expired_flights() == len(gone)
    assert operations.cleanup_expired_flights() == 0

    left = set(Flight.objects.filter(departure_day=shop.day).values_list("pk", flat=True))
    assert kept[0].pk in left
    assert not left & {offer.pk for offer in gone}
    assert set(EnterpriseFlight.objects.filter(enterprise=enterprise)) == {kept[1]}
    layovers = FlightLayover.objects.filter(
        departure_day=shop.day, flight_id__in=[offer.pk for offer in shop.made]
    )
    assert {layover.flight_id for layover in layovers} == {offer.pk for offer in kept}


def test_cleanup_expired_flights__of_the_database__deletes_one_batch(shop: Shop) -> None:
    for _ in range(3):
        shop.sell(expires_at=timezone.now() - timedelta(hours=2))
    with connections[OPERATOR].cursor() as cursor:
        cursor.execute("select cleanup_expired_flights(2), cleanup_expired_flights()")
        assert cursor.fetchone() == (2, 1)


@pytest.mark.parametrize(
    "call",
    [
        "cleanup_expired_flights()",
        "open_offer_staging()",
        "store_staged_offers('2030-01-01', 'x', true)",
        "negotiate_demo_offers(null, 'x', '{}', '{}', 90)",
    ],
)
def test_operators_functions__runtime_role__may_not_call_them(
    app_role: psycopg.Connection[Any], call: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app_role.execute("select " + call)


def test_tasks__called_as_the_worker_does__use_the_operators_role(shop: Shop) -> None:
    shop.sell(expires_at=timezone.now() - timedelta(hours=2))
    tasks.cleanup_expired_flights(unknown="keyword of a later release")
    assert not Flight.objects.filter(departure_day=shop.day, pk=shop.made[0].pk).exists()
    with (
        patch.object(tasks, "has_inventory", return_value=True),
        patch.object(operations, "load_demo_days", return_value=0) as load,
    ):
        tasks.roll_demo_horizon()
    assert load.called


def test_roll_demo_horizon__inventory_is_no_demo__gets_no_demo_offers() -> None:
    with operator_scope():
        assert not InventoryLoad.objects.filter(provider=PROVIDER).exists()
    with patch.object(operations, "load_demo_days") as load:
        tasks.roll_demo_horizon()
    assert not load.called


def test_schedules__as_migrated__name_tasks_that_exist() -> None:
    seeded = dict(
        PeriodicTask.objects.filter(task__startswith="apps.").values_list("task", "crontab__minute")
    )
    assert seeded[tasks.cleanup_expired_flights.name] == "*/30"
    assert seeded[tasks.compose_itineraries.name] == "10,40"
    current_app.loader.import_default_modules()
    assert set(seeded) <= set(current_app.tasks)
