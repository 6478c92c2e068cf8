"""The search with analyses: what it adds to the search, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from apps.flights.airports import airports
from apps.flights.models import Airport
from apps.tenants.models import Enterprise, Scope
from layoverhq.tenancy import operator_scope
from tests.flights.factories import Shop
from tests.tenants import factories as tenants

SEARCH = "/api/v1/layovers/search"
PLAIN = "/api/v1/flights/search"


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A route and day of the test's own."""
    opened = Shop()
    yield opened
    opened.close()


def found(api: Client, shop: Shop, **more: str) -> dict[str, Any]:
    response = api.get(SEARCH, {**shop.asked, **more})
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    return answer


def test_search__with_layovers__has_the_analysis_of_each(api: Client, shop: Shop) -> None:
    shop.sell([("DEN", 500), ("ORD", 300)])
    (offer,) = found(api, shop, passport="DE")["results"]
    denver, chicago = offer["layovers"]
    for stop, segments in ((denver, offer["segments"][:2]), (chicago, offer["segments"][1:])):
        alone = api.get(
            "/api/v1/layovers/analysis",
            {
                "airport": stop["airport"],
                "arrival": segments[0]["arrives_at"],
                "departure": segments[1]["departs_at"],
                "from": segments[0]["origin"],
                "to": segments[1]["destination"],
                "passport": "DE",
                "price": "300.00",
                "best_price": "300.00",
                "duration": str(offer["duration_minutes"]),
                "best_duration": str(offer["duration_minutes"]),
            },
        )
        assert alone.status_code == 200, alone.content
        assert stop["analysis"] == alone.json()
        assert stop["analysis"]["minutes"] == stop["minutes"]
    assert "explanation" not in offer


def test_search__change_of_airports__has_no_analysis(api: Client, shop: Shop) -> None:
    offer = shop.sell([("LGA", 500)])
    offer.segments[1]["origin"] = "JFK"
    offer.layovers[0]["next_airport"] = "JFK"
    with operator_scope():
        offer.save(update_fields=["segments", "layovers"])
    # Nobody can be back at LaGuardia in time for a flight from Kennedy.
    (found_offer,) = found(api, shop)["results"]
    assert found_offer["layovers"][0]["analysis"] is None


def test_search__premium__is_over_the_best_of_the_route_and_day(api: Client, shop: Shop) -> None:
    shop.sell(price_minor=20_000)
    shop.sell([("DEN", 500)], price_minor=25_000)
    nonstop, over_denver = found(api, shop)["results"]
    assert nonstop["layovers"] == []
    premium = over_denver["layovers"][0]["analysis"]["premium"]
    assert premium == {"extra_price": "50.00", "extra_minutes": 620}


def test_search__otherwise__answers_as_the_plain_one(api: Client, shop: Shop) -> None:
    for price in (3, 1, 2):
        shop.sell([("DEN", 500)], price_minor=price)
    ours, plain = found(api, shop, limit="2"), api.get(PLAIN, {**shop.asked, "limit": "2"}).json()
    assert [offer["id"] for offer in ours["results"]] == [o["id"] for o in plain["results"]]
    assert ours["next"] == plain["next"]
    rest = found(api, shop, limit="2", cursor=ours["next"])
    assert [offer["price_minor"] for offer in rest["results"]] == [3]
    told = found(api, shop, explain="true")["results"][0]
    assert told["explanation"]["hub"] == "DEN"


def test_search__airport_that_was_closed__has_no_analysis(api: Client, shop: Shop) -> None:
    shop.sell([("HBA", 500)])
    with operator_scope():
        Airport.objects.filter(pk="HBA").update(is_active=False)
    try:
        airports.forget()
        (offer,) = found(api, shop)["results"]
        assert offer["layovers"][0]["analysis"] is None
    finally:
        with operator_scope():
            Airport.objects.filter(pk="HBA").update(is_active=True)
        airports.forget()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"passport": "Germany"}, {"passport"}),
        ({"passport": "XX"}, {"passport"}),
        ({"limit": "21"}, {"limit"}),
        ({"origin": "QQQ", "passport": "1"}, {"origin", "passport"}),
        ({"passports": "DE"}, {"passports"}),
    ],
)
def test_search__bad_input__is_named(
    api: Client, shop: Shop, more: dict[str, str], expected: set[str]
) -> None:
    response = api.get(SEARCH, {**shop.asked, **more})
    assert response.status_code == 400
    assert {error["field"] for error in response.json()["errors"]} == expected


@pytest.mark.parametrize("scope", [Scope.LAYOVERS_READ, Scope.FLIGHTS_READ])
def test_search__one_scope_of_two__is_403(enterprise: Enterprise, shop: Shop, scope: str) -> None:
    shop.sell()
    response = tenants.make_client(enterprise, [scope]).get(SEARCH, shop.asked)
    assert response.status_code == 403
    assert response.json()["code"] == "scope_missing"


def test_search__another_tenants_offer__is_never_analysed(
    api: Client, other_enterprise: Enterprise, shop: Shop
) -> None:
    shop.sell([("DEN", 500)], enterprise=other_enterprise, negotiated=True)
    assert found(api, shop)["results"] == []
