"""Popular routes: counted by day from the shared inventory, ranked by route, read by everybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.flights.models import (
    Flight,
    InventoryLoad,
    PopularLayoverRoute,
    RouteDay,
    RouteDayRefresh,
)
from apps.flights.popularity import (
    most_used_layover_airports,
    refresh_popular_routes,
    refresh_route_day,
)
from apps.flights.tasks import refresh_popular_routes as task
from apps.tenants.models import Enterprise
from layoverhq.tenancy import operator_scope
from tests.flights.factories import Shop
from tests.tenants import factories as tenants

URL = "/api/v1/flights/popular-routes"


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Leave nothing counted of what other tests sell."""
    yield
    with operator_scope():
        for model in (RouteDay, RouteDayRefresh, PopularLayoverRoute):
            model.objects.all().delete()


def refresh(shop: Shop) -> int:
    with operator_scope():
        return refresh_route_day(day=shop.day, now=timezone.now())


def standing(shop: Shop) -> PopularLayoverRoute | None:
    with operator_scope():
        return PopularLayoverRoute.objects.filter(
            origin_airport=shop.origin, destination_airport=shop.destination
        ).first()


def sell_five(shop: Shop, **fields: Any) -> None:
    for number in range(5):
        shop.sell([("DEN", 100 + number)], price_minor=10_000 + number, **fields)


def test_route__five_offers_with_a_layover__is_popular(shop: Shop) -> None:
    for number in range(4):
        shop.sell([("DEN", 100)], price_minor=10_000 + number)
    shop.sell(price_minor=1)
    refresh(shop)
    assert standing(shop) is None, "nonstops have no layover"

    shop.sell([("ORD", 90), ("DEN", 100)], price_minor=20_000)
    shop.sell([("ORD", 90), ("ORD", 100)], price_minor=20_000)
    refresh(shop)

    route = standing(shop)
    assert route is not None
    assert route.pk == f"{shop.origin}-{shop.destination}"
    assert route.flight_count == 6
    assert route.avg_price == Decimal("133.34")
    assert route.avg_layovers == Decimal("1.33")
    assert route.layover_airports == ["DEN", "ORD"]
    with operator_scope():
        day = RouteDay.objects.get(origin_airport=shop.origin, destination_airport=shop.destination)
    assert (day.offers, day.layover_offers, day.layovers, day.lowest_price_minor) == (7, 6, 8, 1)
    assert day.layover_airports == {"DEN": 5, "ORD": 2}


@pytest.mark.parametrize("negotiated", [True, False])
def test_route__private_offers__are_never_counted(
    api: Client, enterprise: Enterprise, shop: Shop, negotiated: bool
) -> None:
    sell_five(shop, enterprise=enterprise, negotiated=negotiated)
    refresh(shop)
    assert standing(shop) is None
    for _ in range(5):
        shop.sell([("ORD", 100)], price_minor=50_000)
    refresh(shop)
    route = standing(shop)
    assert route is not None
    assert (route.flight_count, route.avg_price, route.layover_airports) == (
        5, Decimal("500.00"), ["ORD"],
    )  # fmt: skip
    (told,) = api.get(URL, {"origin": shop.origin}).json()["results"]
    assert told["flight_count"] == 5


def test_route__offers_gone_or_expired__goes_with_them(shop: Shop) -> None:
    sell_five(shop)
    refresh(shop)
    assert standing(shop) is not None
    with operator_scope():
        Flight.objects.filter(departure_day=shop.day, pk=shop.made[0].pk).update(
            expires_at=timezone.now() - timedelta(minutes=1)
        )
    assert refresh(shop) == 1
    assert standing(shop) is None
    with operator_scope():
        assert RouteDay.objects.get(origin_airport=shop.origin).offers == 4


def test_route__several_days__are_added_up(shop: Shop) -> None:
    later = Shop(shop.origin, shop.destination, shop.day + timedelta(days=1))
    try:
        sell_five(shop)
        sell_five(later)
        refresh(shop)
        refresh(later)
        route = standing(shop)
        assert route is not None
        assert route.flight_count == 10
    finally:
        later.close()
    refresh(later)
    route = standing(shop)
    assert route is not None
    assert route.flight_count == 5


def test_refresh__nothing_changed__writes_nothing(shop: Shop) -> None:
    sell_five(shop)
    assert refresh(shop) >= 1
    before = standing(shop)
    assert refresh(shop) == 0
    after = standing(shop)
    assert before is not None
    assert after is not None
    assert after.refreshed_at == before.refreshed_at


def test_refresh__stale_days__are_those_loaded_expiring_or_old(shop: Shop) -> None:
    sell_five(shop)
    now = timezone.now()
    with operator_scope():
        # The rest of the test's database may hold offers of other days.
        refresh_popular_routes(now=now)
        counted = RouteDayRefresh.objects.get(day=shop.day)
        assert counted.offers >= 5
        minute = now + timedelta(minutes=1)
        refresh_popular_routes(now=minute)
        assert RouteDayRefresh.objects.get(day=shop.day).refreshed_at == now, "is not stale"
        load = InventoryLoad.objects.create(
            day=shop.day,
            provider=tenants.unique("test"),
            offers=1,
            layovers=0,
            loaded_at=now + timedelta(seconds=30),
        )
        try:
            refresh_popular_routes(now=minute)
            assert RouteDayRefresh.objects.get(day=shop.day).refreshed_at == minute, "was loaded"
        finally:
            load.delete()
        later = now + timedelta(minutes=62)
        refresh_popular_routes(now=later)
        assert RouteDayRefresh.objects.get(day=shop.day).refreshed_at == later, "was old"


def test_refresh__readers__wait_for_nobody(
    api: Client, shop: Shop, app_role: psycopg.Connection[Any]
) -> None:
    sell_five(shop)
    refresh(shop)
    shop.sell([("ORD", 100)])
    with operator_scope(), transaction.atomic(using="operator"):
        assert refresh_route_day(day=shop.day, now=timezone.now()) == 1
        app_role.execute("set lock_timeout = '100ms'")
        seen = "select flight_count from popular_layover_routes where route = %s"
        route = f"{shop.origin}-{shop.destination}"
        assert app_role.execute(seen, [route]).fetchone() == (5,)
    assert app_role.execute(seen, [route]).fetchone() == (6,)


def test_task__runs_as_the_operator(shop: Shop) -> None:
    sell_five(shop)
    task()
    assert standing(shop) is not None


def test_runtime_role__counts_of_days__are_closed_to_it(app_role: psycopg.Connection[Any]) -> None:
    for statement in (
        "select from route_days",
        "select from route_day_refreshes",
        "select refresh_route_day(current_date, now())",
        "select stale_route_days(now())",
        "delete from popular_layover_routes",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app_role.execute(statement)


def test_most_used__airports__by_their_offers(shop: Shop) -> None:
    sell_five(shop)
    shop.sell([("ORD", 100), ("DEN", 90)])
    refresh(shop)
    with operator_scope():
        found = dict(most_used_layover_airports(limit=1_000))
    assert found["DEN"] >= 6
    assert found["ORD"] >= 1
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_api__pages__the_most_offers_first(api: Client) -> None:
    first = Shop()
    shops = [first] + [Shop(first.origin, Shop().destination) for _ in range(2)]
    shops = [shop for shop in shops if shop.origin != shop.destination]
    try:
        for number, shop in enumerate(shops):
            sell_five(shop)
            for _ in range(number):
                shop.sell([("ORD", 100)])
            refresh(shop)
        seen, more = [], {}
        while True:
            page = api.get(URL, {"origin": first.origin, "limit": "1", **more}).json()
            seen += page["results"]
            if page["next"] is None:
                break
            more = {"cursor": page["next"]}
        assert [each["destination_airport"] for each in seen] == [
            shop.destination for shop in reversed(shops)
        ]
        assert [each["flight_count"] for each in seen] == [
            5 + number for number in reversed(range(len(shops)))
        ]
        assert seen[0]["price_currency"] == "USD"
        assert seen[-1]["avg_price"] == "100.02"
    finally:
        for shop in shops:
            shop.close()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"origin": "sfo"}, "origin"),
        ({"destination": "SFOO"}, "destination"),
        ({"limit": "0"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"cursor": "5.SFO"}, "cursor"),
        ({"nothing": "1"}, "nothing"),
    ],
)
def test_api__faulty__names_the_field(api: Client, query: dict[str, str], field: str) -> None:
    response = api.get(URL, query)
    assert response.status_code == 400
    assert [error["field"] for error in response.json()["errors"]] == [field]


offers = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["DEN", "ORD", "SLC", "ATL", "DFW", "LAX", "BOS"]), max_size=2),
        st.integers(0, 3),
        st.sampled_from(["shared", "theirs", "expired"]),
    ),
    max_size=12,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(days=st.lists(offers, min_size=1, max_size=2))
def test_refresh__any_offers__equals_the_reference(days: list[Any]) -> None:
    owner = tenants.make_enterprise()
    shops: list[Shop] = []
    try:
        living: list[tuple[list[str], int]] = []
        for number, stock in enumerate(days):
            shop = (
                Shop(shops[0].origin, shops[0].destination, shops[0].day + timedelta(days=number))
                if shops
                else Shop()
            )
            shops.append(shop)
            for stops, price, kind in stock:
                fields: dict[str, Any] = {
                    "shared": {},
                    "theirs": {"enterprise": owner},
                    "expired": {"expires_at": timezone.now() - timedelta(seconds=1)},
                }[kind]
                shop.sell([(each, 60) for each in stops], price_minor=price * 100, **fields)
                if kind == "shared" and stops:
                    living.append((stops, price * 100))
        for shop in shops:
            refresh(shop)
        route = standing(shops[0])
        if len(living) < 5:
            assert route is None
            return
        assert route is not None
        cent = Decimal("0.01")
        prices = [price for _, price in living]
        assert route.flight_count == len(living)
        assert abs(route.avg_price - Decimal(sum(prices)) / len(prices) / 100) <= cent
        layovers = Decimal(sum(len(stops) for stops, _ in living)) / len(living)
        assert abs(route.avg_layovers - layovers) <= cent
        used = Counter(airport for stops, _ in living for airport in set(stops))
        ranked = sorted(used, key=lambda airport: (-used[airport], airport))
        assert route.layover_airports == ranked[:5]
    finally:
        for shop in shops:
            shop.close()
            refresh(shop)
