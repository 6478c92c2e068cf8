"""What the search ranks by, what it tells of it, and what it says where nothing is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.configs.runtime import override_config
from apps.flights.grammar import FlightSearch, Position
from apps.flights.models import Flight, LayoverPlace, LayoverPreference, LayoverWeather, Offer
from apps.flights.operations import set_layover_places, set_layover_weather
from apps.flights.queries import search_flights
from apps.flights.rates import Rate, rates
from apps.tenants.models import Enterprise
from layoverhq.tenancy import fetch_in_scope, operator_scope
from tests.flights.factories import Shop
from tests.tenants import factories as tenants

SEARCH = "/api/v1/flights/search"
EQUAL = {
    f"algorithm.{name}_weight": weight
    for name, weight in {
        "city": 0.2, "experience": 0.2, "weather": 0, "safety": 0.2, "premium": 0.4,
        "preference": 0,
    }.items()
}  # fmt: skip


def results(api: Client, shop: Shop, **more: str) -> list[dict[str, Any]]:
    response = api.get(SEARCH, {**shop.asked, "sort": "score", **more})
    assert response.status_code == 200, response.content
    found: list[dict[str, Any]] = response.json()["results"]
    return found


def ids(*offers: Offer) -> list[str]:
    return [str(offer.pk) for offer in offers]


@pytest.fixture
def places() -> Iterator[None]:
    """Give three airports a city: Denver's has much to offer, Newark's little."""
    appeal = {"DEN": 100, "ORD": 50, "EWR": 10}
    with operator_scope():
        set_layover_places(
            appeal={airport: [most] * 17 for airport, most in appeal.items()}, now=timezone.now()
        )
    yield
    with operator_scope():
        LayoverPlace.objects.filter(airport__in=appeal).delete()
        LayoverWeather.objects.filter(airport__in=appeal).delete()


def sell_stay(shop: Shop, airport: str, usable: int, **fields: Any) -> Offer:
    """Sell an offer with one layover of ten hours that leaves so many usable minutes."""
    return shop.sell([(airport, 600)], ground=[(usable, 0, False)], **fields)


def test_score__more_usable_time__ranks_first(api: Client, shop: Shop, places: None) -> None:
    little, much = sell_stay(shop, "DEN", 150), sell_stay(shop, "DEN", 330)
    with override_config(EQUAL):
        found = results(api, shop)
    assert [offer["id"] for offer in found] == ids(much, little)
    assert found[0]["score"] > found[1]["score"]


def test_score__same_time__the_city_with_more_to_offer_ranks_first(
    api: Client, shop: Shop, places: None
) -> None:
    dull, lively = sell_stay(shop, "EWR", 300), sell_stay(shop, "DEN", 300)
    with override_config(EQUAL):
        assert [offer["id"] for offer in results(api, shop)] == ids(lively, dull)


def test_score__explained__adds_up(api: Client, shop: Shop, places: None) -> None:
    sell_stay(shop, "DEN", 180, price_minor=30_000)
    sell_stay(shop, "ORD", 360, price_minor=45_000)
    with override_config(EQUAL):
        found = results(api, shop, explain="true")
    by_hub = {offer["explanation"]["hub"]: offer for offer in found}
    told = by_hub["ORD"]["explanation"]
    values = {name: part["value"] for name, part in told["components"].items()}
    # Half as dear again as the best price costs half of the premium; it flies no longer.
    assert values["city"] == 1
    assert values["experience"] == 0.5
    assert values["premium"] == pytest.approx(0.5, abs=0.001)
    assert 0.9 < values["safety"] <= 0.99
    assert told["best_price_minor"] == 30_000
    assert told["confidence"] == 1
    for offer in found:
        parts = offer["explanation"]["components"].values()
        assert offer["score"] == pytest.approx(sum(part["points"] for part in parts), abs=0.3)


def test_score__explain_in_another_order__tells_the_same_score(
    api: Client, shop: Shop, places: None
) -> None:
    sell_stay(shop, "DEN", 180, price_minor=40_000)
    shop.sell(price_minor=30_000)
    with override_config(EQUAL):
        ranked = results(api, shop, explain="true")
        for sort in ("price", "duration", "departure"):
            told = results(api, shop, explain="true", sort=sort)
            assert {each["id"]: each["score"] for each in told} == {
                each["id"]: each["score"] for each in ranked
            }
            assert {each["id"]: each["explanation"] for each in told} == {
                each["id"]: each["explanation"] for each in ranked
            }
    assert "score" not in results(api, shop, sort="price")[0]


def test_score__halfway_between_two_tenths__is_rounded_alike(api: Client, shop: Shop) -> None:
    shop.sell()
    # 81.25: a nonstop is safe and shows no city.
    weights = {"algorithm.city_weight": 0.1875, "algorithm.safety_weight": 0.8125}
    with override_config({**dict.fromkeys(EQUAL, 0), **weights}):
        scores = {
            results(api, shop, sort=sort, explain="true")[0]["score"]
            for sort in ("score", "price", "duration")
        }
    assert scores == {81.2}


def test_score__usable_time_never_worked_out__says_nothing_of_the_city(
    api: Client, shop: Shop, places: None
) -> None:
    shop.sell([("DEN", 600)])
    with override_config(EQUAL):
        (offer,) = results(api, shop, explain="true")
    told = offer["explanation"]
    assert told["components"]["city"] == told["components"]["experience"] == {"weight": 0.2}
    assert told["confidence"] == 0.6


def test_score__nothing_known_of_the_city__counts_what_is_known(api: Client, shop: Shop) -> None:
    sell_stay(shop, "BTV", 360)
    with override_config(EQUAL):
        (offer,) = results(api, shop, explain="true")
    told = offer["explanation"]
    assert told["components"]["experience"] == {"weight": 0.2}
    assert told["confidence"] == 0.8
    assert offer["score"] > 95


def test_score__short_layover__is_an_airports(api: Client, shop: Shop, places: None) -> None:
    sell_stay(shop, "DEN", 119)
    with override_config(EQUAL):
        (offer,) = results(api, shop, explain="true")
    values = {name: part["value"] for name, part in offer["explanation"]["components"].items()}
    # Ten hours in an airport's chairs are no pleasure.
    assert (values["city"], values["experience"]) == (0, 0)


def test_score__own_weights__are_the_tenants(
    api: Client, enterprise: Enterprise, shop: Shop, places: None
) -> None:
    dear = sell_stay(shop, "DEN", 360, price_minor=90_000)
    cheap = sell_stay(shop, "EWR", 121, price_minor=30_000)
    only = dict.fromkeys(EQUAL, 0)
    with override_config({**only, "algorithm.premium_weight": 1}):
        assert [offer["id"] for offer in results(api, shop)] == ids(cheap, dear)
        with override_config({**only, "algorithm.city_weight": 1}, tenant=enterprise.ref):
            assert [offer["id"] for offer in results(api, shop)] == ids(dear, cheap)
            ranking = api.get(SEARCH, {**shop.asked, "sort": "score"}).json()["ranking"]
    assert ranking["source"] == "configuration"
    assert ranking["weights"]["city"] == 1
    assert ranking["weights"]["premium"] == 0


def test_score__real_time_weather__counts_where_the_flag_is_on(
    api: Client, shop: Shop, places: None, switch: Callable[[str, bool], None]
) -> None:
    wet, fair = sell_stay(shop, "DEN", 300), sell_stay(shop, "ORD", 300)
    for offer, comfort in ((wet, 5), (fair, 95)):
        middle = offer.departure_at + (offer.arrival_at - offer.departure_at) / 2
        hour = middle.replace(minute=0, second=0, microsecond=0)
        with operator_scope():
            set_layover_weather(
                comfort={(offer.layover_airports[0], hour): comfort}, now=timezone.now()
            )
    weights = {**EQUAL, "algorithm.weather_weight": 1.0}
    with override_config(weights):
        switch("real_time_weather", True)
        assert [offer["id"] for offer in results(api, shop)] == ids(fair, wet)
        switch("real_time_weather", False)
        found = results(api, shop, explain="true")
    assert [offer["id"] for offer in found] == ids(wet, fair)
    assert "weather" not in found[0]["explanation"]["components"]


def test_score__enhanced_search__knows_what_travellers_chose(
    api: Client,
    enterprise: Enterprise,
    other_enterprise: Enterprise,
    shop: Shop,
    switch: Callable[[str, bool], None],
) -> None:
    first, second = sell_stay(shop, "BTV", 300), sell_stay(shop, "BGR", 300)
    with operator_scope():
        LayoverPreference.objects.bulk_create(
            [
                LayoverPreference(enterprise=enterprise, airport_id="BGR", share=100),
                LayoverPreference(enterprise=other_enterprise, airport_id="BTV", share=100),
            ]
        )
    with override_config({**EQUAL, "algorithm.preference_weight": 1.0}):
        switch("enhanced_search", True)
        found = results(api, shop, explain="true")
        assert [offer["id"] for offer in found] == ids(second, first)
        assert [offer["explanation"]["components"]["preference"]["value"] for offer in found] == [
            1,
            0,
        ]
        stranger = results(tenants.make_client(tenants.make_enterprise()), shop, explain="true")
        assert [offer["id"] for offer in stranger] == ids(first, second)
        assert stranger[0]["explanation"]["components"]["preference"] == {"weight": 1}
        switch("enhanced_search", False)
        assert [offer["id"] for offer in results(api, shop)] == ids(first, second)


def test_score__walk_of_pages__neither_repeats_nor_skips(
    enterprise: Enterprise, shop: Shop, places: None
) -> None:
    for number in range(17):
        sell_stay(shop, "DEN", 120 + number // 3 * 40, price_minor=30_000 + number % 2 * 10)
    search = FlightSearch(shop.origin, shop.destination, shop.day, sort="score", limit=5)
    seen: list[tuple[float, str]] = []
    pages = 0
    query: FlightSearch | None = search
    while query is not None:
        page = json.loads(search_flights(enterprise.ref, query))
        seen += [(-offer["score"], offer["id"]) for offer in page["results"]]
        pages += 1
        query = following(search, page["next"])
    assert (pages, len(seen), len(set(seen))) == (4, 17, 17)
    assert seen == sorted(seen)


def following(search: FlightSearch, cursor: str | None) -> FlightSearch | None:
    if cursor is None:
        return None
    _, key, offer = cursor.split(".")
    return replace(search, after=Position(int(key), UUID(offer)))


@pytest.fixture(scope="module")
def somebody() -> Enterprise:
    return tenants.make_enterprise()


@settings(max_examples=50)
@given(
    slack=st.floats(-200, 400),
    airport=st.sampled_from([None, "ATL", "ORD", "SEA", "ABE", "IST"]),
)
def test_on_time_share_of__any_airport__is_what_on_time_share_says(
    somebody: Enterprise, slack: float, airport: str | None
) -> None:
    ((here, there),) = fetch_in_scope(
        somebody.ref,
        "select on_time_share_of(a, %(slack)s::float8),"
        " (select share from on_time_share(%(airport)s::text, %(slack)s::float8))"
        " from arrival_delays a where a.airport = %(airport)s or a.airport is null"
        " order by a.airport limit 1",
        {"slack": slack, "airport": airport},
        timeout_seconds=10,
    )
    assert here == pytest.approx(there)


def empty(api: Client, shop: Shop, **more: str) -> dict[str, Any]:
    answer = api.get(SEARCH, {**shop.asked, **more}).json()
    assert answer["results"] == []
    told: dict[str, Any] = answer["empty"]
    return told


def test_empty__one_filter_does_it__is_named_with_what_it_hides(api: Client, shop: Shop) -> None:
    sell_stay(shop, "DEN", 200, price_minor=50_000)
    sell_stay(shop, "DEN", 300, price_minor=50_000)
    sell_stay(shop, "DEN", 300, price_minor=10_000)
    told = empty(api, shop, usable="4h..", price="..200", via="ORD")
    assert told["offers"] == 3
    # With a via airport the usable hours are asked of the layover there.
    assert told["filters"] == [
        {"parameter": "via", "refused": 3, "found_without": 1},
        {"parameter": "price", "refused": 2, "found_without": 0},
    ]
    told = empty(api, shop, usable="6h..", price="..200")
    assert told["filters"] == [
        {"parameter": "usable", "refused": 3, "found_without": 1},
        {"parameter": "price", "refused": 2, "found_without": 0},
    ]


@pytest.mark.parametrize(
    ("asked", "filters"),
    [
        # Both wait in DEN, and without via would not long enough either.
        ({"via": "DEN", "layover": "8h.."}, [("layover", 2, 2)]),
        ({"via": "DEN", "usable": "4h..", "overnight": "no"}, [("usable", 2, 2)]),
        ({"via": "ORD", "usable": "3h.."}, [("via", 2, 1)]),
        # In the dark it would be too short as well.
        ({"usable": "6h..", "daylight": "true"}, [("usable", 2, 0)]),
        ({"usable": "3h..", "daylight": "true"}, [("daylight", 1, 1), ("usable", 1, 0)]),
        ({"daylight": "true"}, [("daylight", 2, 2)]),
    ],
)
def test_empty__filters_that_hang_together__are_told_by_what_leaving_them_out_would_find(
    api: Client, shop: Shop, asked: dict[str, str], filters: list[tuple[str, int, int]]
) -> None:
    shop.sell([("DEN", 120)], ground=[(0, 0, False)])
    shop.sell([("DEN", 400)], ground=[(200, 0, False)])
    told = empty(api, shop, **asked)
    assert [
        (each["parameter"], each["refused"], each["found_without"]) for each in told["filters"]
    ] == filters
    for name, _, found_without in filters:
        rest = {key: value for key, value in asked.items() if key != name}
        assert len(api.get(SEARCH, {**shop.asked, **rest}).json()["results"]) == found_without


def test_empty__no_offers_that_day__names_days_nearby(api: Client, shop: Shop) -> None:
    there = Shop(shop.origin, shop.destination, day=shop.day + timedelta(days=2))
    try:
        there.sell()
        told = empty(api, shop)
        assert told == {
            "offers": 0, "filters": [], "days_with_offers": [there.day.isoformat()]
        }  # fmt: skip
    finally:
        there.close()


def test_empty__second_page__says_nothing(api: Client, shop: Shop) -> None:
    shop.sell()
    shop.sell()
    page = api.get(SEARCH, {**shop.asked, "limit": "1"}).json()
    with operator_scope():
        Flight.objects.filter(departure_day=shop.day, origin_airport=shop.origin).delete()
    rest = api.get(SEARCH, {**shop.asked, "limit": "1", "cursor": page["next"]}).json()
    assert rest == {"results": [], "next": None}


def test_policy__shortest_layover__hides_what_is_shorter(
    api: Client, enterprise: Enterprise, shop: Shop
) -> None:
    nonstop, long = shop.sell(), shop.sell([("DEN", 120)])
    shop.sell([("DEN", 60)])
    with override_config({"layover.min_duration": 90}, tenant=enterprise.ref):
        found = results(api, shop, sort="price")
        assert {offer["id"] for offer in found} == set(ids(nonstop, long))
        told = empty(api, shop, layover="..70m")
    # The short one has what is asked for, and the policy forbids it.
    assert told["filters"] == [
        {"parameter": "layover", "refused": 2, "found_without": 2},
        {"parameter": "policy", "refused": 1, "found_without": 1},
    ]


@pytest.mark.parametrize("sort", ["price", "duration", "score"])
def test_policy__banned_hubs_and_carriers__are_never_offered(
    api: Client, enterprise: Enterprise, shop: Shop, sort: str
) -> None:
    shop.sell([("EWR", 300)])
    shop.sell(carriers=["ZZ"])
    shop.sell([("DEN", 300)], carriers=["XX", "ZZ"])
    good = shop.sell([("DEN", 300)])
    with override_config(
        {"search.banned_hubs": ["EWR"], "search.banned_carriers": ["ZZ"]}, tenant=enterprise.ref
    ):
        assert [offer["id"] for offer in results(api, shop, sort=sort)] == ids(good)
        told = empty(api, shop, via="EWR")
        assert {"parameter": "policy", "refused": 3, "found_without": 1} in told["filters"]
    assert len(results(api, shop, sort=sort)) == 4


def test_flexible_days__days_around__are_one_order(api: Client, shop: Shop) -> None:
    shops = [
        Shop(shop.origin, shop.destination, day=shop.day + timedelta(days=shift))
        for shift in (-3, -1, 2, 4)
    ]
    try:
        prices = [500, 100, 300, 50]
        sold = [each.sell(price_minor=price) for each, price in zip(shops, prices, strict=True)]
        here = shop.sell(price_minor=200)
        near = results(api, shop, sort="price", flexible_days="3")
        assert [offer["id"] for offer in near] == ids(sold[1], here, sold[2], sold[0])
        nearer = results(api, shop, sort="price", flexible_days="2")
        assert [offer["id"] for offer in nearer] == ids(sold[1], here, sold[2])
        ranked = results(api, shop, flexible_days="1")
        assert {offer["id"] for offer in ranked} == set(ids(sold[1], here))
    finally:
        for each in shops:
            each.close()


def test_flexible_days__walk_of_pages__neither_repeats_nor_skips(api: Client, shop: Shop) -> None:
    other = Shop(shop.origin, shop.destination, day=shop.day + timedelta(days=1))
    try:
        sold = [each.sell(price_minor=7) for each in (shop, other) * 4]
        asked = {**shop.asked, "flexible_days": "1", "limit": "3"}
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = api.get(SEARCH, {**asked, **cursor}).json()
            seen += [offer["id"] for offer in page["results"]]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
        assert seen == sorted(ids(*sold))
    finally:
        other.close()


@pytest.fixture
def euro() -> Iterator[None]:
    """Let a dollar be 0.8 euros, and 120 yen, today."""
    today = timezone.now().date()
    held = {"USD": Rate(Decimal("1.25"), today), "JPY": Rate(Decimal(150), today)}
    with patch.object(rates, "get", lambda: held):
        yield


def test_currency__another__prices_are_shown_and_bounded_in_it(
    api: Client, shop: Shop, euro: None
) -> None:
    cheap, dear = shop.sell(price_minor=10_000), shop.sell(price_minor=20_001)
    answer = api.get(SEARCH, {**shop.asked, "currency": "EUR"}).json()
    assert [(each["price_minor"], each["price_currency"]) for each in answer["results"]] == [
        (8_000, "EUR"),
        (16_001, "EUR"),
    ]
    assert answer["prices"] == {
        "currency": "EUR", "rate_date": timezone.now().date().isoformat()
    }  # fmt: skip
    yen = api.get(SEARCH, {**shop.asked, "currency": "JPY"}).json()["results"]
    assert [each["price_minor"] for each in yen] == [12_000, 24_001]
    for bounds, expected in (("..80", [cheap]), ("80..", [cheap, dear]), ("80.01..", [dear])):
        found = results(api, shop, sort="price", currency="EUR", price=bounds)
        assert [each["id"] for each in found] == ids(*expected)


def test_currency__fare_named_in_it__is_shown_as_it_was_named(
    api: Client, shop: Shop, euro: None
) -> None:
    shop.sell(price_minor=10_000, fare_minor=7_999, fare_currency="EUR", rate_date=shop.day)
    (offer,) = api.get(SEARCH, {**shop.asked, "currency": "EUR"}).json()["results"]
    assert offer["price_minor"] == 7_999
    (offer,) = api.get(SEARCH, shop.asked).json()["results"]
    assert (offer["price_minor"], offer["price_currency"]) == (10_000, "USD")
    assert offer["fare"] == {
        "price_minor": 7_999, "price_currency": "EUR", "rate_date": shop.day.isoformat()
    }  # fmt: skip


def test_currency__bounds__hold_for_the_prices_that_are_shown(
    api: Client, shop: Shop, euro: None
) -> None:
    # 12,001.2 yen, and a fare named when the dollar was dearer.
    shown = shop.sell(price_minor=10_001)
    named = shop.sell(price_minor=10_100, fare_minor=7_999, fare_currency="EUR", rate_date=shop.day)
    for currency, bounds, expected in (
        ("JPY", "..12001", [shown]),
        ("JPY", "12001..", [shown, named]),
        ("JPY", "12002..", [named]),
        ("EUR", "..79.99", [named]),
        ("EUR", "80..", [shown]),
    ):
        found = results(api, shop, sort="price", currency=currency, price=bounds)
        assert [each["id"] for each in found] == ids(*expected), (currency, bounds)


def test_currency__no_rate_or_an_old_one__is_named(api: Client, shop: Shop, euro: None) -> None:
    shop.sell()
    response = api.get(SEARCH, {**shop.asked, "currency": "CHF"})
    assert response.status_code == 400
    assert [(e["field"], e["code"]) for e in response.json()["errors"]] == [("currency", "no_rate")]
    old = {"USD": Rate(Decimal("1.25"), timezone.now().date() - timedelta(days=11))}
    with patch.object(rates, "get", lambda: old):
        response = api.get(SEARCH, {**shop.asked, "currency": "EUR"})
    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == "stale_rate"
