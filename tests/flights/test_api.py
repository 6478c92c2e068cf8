"""The search over HTTP: who may ask, what is refused, and what the OpenAPI document says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator

from apps.configs.operations import UNSET, Proposal, draft_change_set, publish_change_set
from apps.configs.runtime import configs, override_config
from apps.flights.airports import airports
from apps.flights.grammar import parse_flight_search
from apps.flights.models import Airport
from apps.tenants.models import Enterprise, Scope
from layoverhq.errors import PROBLEM_CONTENT_TYPE
from layoverhq.snapshot import connect
from layoverhq.tenancy import operator_scope
from tests.flights.factories import Shop
from tests.isolation import roles
from tests.kernel.test_snapshot import until
from tests.tenants import factories as tenants

SEARCH = "/api/v1/flights/search"


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == PROBLEM_CONTENT_TYPE
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    return document


def test_search__no_key__is_401(client: Client, shop: Shop) -> None:
    offer = shop.sell()
    response = client.get(SEARCH, shop.asked)
    problem(response, 401)
    assert "Bearer" in response["WWW-Authenticate"]
    assert str(offer.pk) not in response.content.decode()


def test_search__key_without_the_scope__is_403(enterprise: Enterprise, shop: Shop) -> None:
    offer = shop.sell()
    response = tenants.make_client(enterprise, [Scope.ACCOUNT_READ]).get(SEARCH, shop.asked)
    assert problem(response, 403)["code"] == "scope_missing"
    assert str(offer.pk) not in response.content.decode()


def test_search__faulty_fields__are_named_in_the_problem(api: Client, shop: Shop) -> None:
    response = api.get(SEARCH, {**shop.asked, "origin": "QQQ", "layover": "9h..8h", "foo": "1"})
    errors = problem(response, 400)["errors"]
    assert {error["field"]: error["code"] for error in errors} == {
        "foo": "unknown",
        "origin": "unknown_airport",
        "layover": "upside_down",
    }


@pytest.mark.parametrize(
    ("tail", "field", "code"),
    [
        ("&via=%00", "via", "nul"),
        ("&via=%ff%fe", "via", "not_utf8"),
        ("&price=%D9%A3..", "price", "invalid"),
        ("&%ff=1", "\N{REPLACEMENT CHARACTER}", "unknown"),
        ("&limit=" + "1" * 5_000, "limit", "too_long"),
        ("&limit=1e1", "limit", "invalid"),
        ("&sort=price%0d%0aX:1", "sort", "invalid"),
        ("&cursor=..%2f..%2f", "cursor", "malformed_cursor"),
        ("&origin=SFO", "origin", "repeated"),
    ],
)
def test_search__hostile_query__is_400(
    api: Client, shop: Shop, tail: str, field: str, code: str
) -> None:
    response = api.get(SEARCH, QUERY_STRING=urlencode(shop.asked) + tail)
    errors = problem(response, 400)["errors"]
    assert [(error["field"], error["code"]) for error in errors] == [(field, code)]


def test_search__cursor_of_another_route__is_400(api: Client, shop: Shop) -> None:
    shop.sell()
    shop.sell()
    page = api.get(SEARCH, {**shop.asked, "limit": "1"}).json()
    assert len(page["results"]) == 1
    other = Shop()
    response = api.get(SEARCH, {**other.asked, "limit": "1", "cursor": page["next"]})
    assert problem(response, 400)["errors"][0]["field"] == "cursor"


def test_search__cursor_of_another_enterprise__shows_only_ones_own(
    api: Client, other_enterprise: Enterprise, shop: Shop
) -> None:
    theirs = shop.sell(price_minor=1, enterprise=other_enterprise, negotiated=True)
    shared = [shop.sell(price_minor=2), shop.sell(price_minor=3)]
    page = tenants.make_client(other_enterprise).get(SEARCH, {**shop.asked, "limit": "1"}).json()
    assert [offer["id"] for offer in page["results"]] == [str(theirs.pk)]
    rest = api.get(SEARCH, {**shop.asked, "cursor": page["next"]}).json()
    assert [offer["id"] for offer in rest["results"]] == [str(offer.pk) for offer in shared]


def test_search__nothing_sold__is_an_empty_page(api: Client, shop: Shop) -> None:
    response = api.get(SEARCH, shop.asked)
    assert response.status_code == 200
    assert response.json() == {
        "results": [],
        "next": None,
        "empty": {"offers": 0, "filters": [], "days_with_offers": []},
    }


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_search__other_method__is_405(api: Client, shop: Shop, method: str) -> None:
    problem(getattr(api, method)(SEARCH + "?" + urlencode(shop.asked)), 405)


@contextmanager
def flights_locked() -> Iterator[None]:
    """Let every search wait for the block to end."""
    with roles.connect_as(roles.OWNER) as owner, owner.transaction():
        owner.execute("lock table flights in access exclusive mode")
        yield


def test_search__database_too_slow__is_503_with_retry_after(api: Client, shop: Shop) -> None:
    offer = shop.sell()
    with override_config({"flight.search_timeout": 0.05}), flights_locked():
        response = api.get(SEARCH, shop.asked)
        document = problem(response, 503)
        assert document["code"] == "query_timeout"
        assert "0.05 s" in document["detail"]
        assert response["Retry-After"]
    # The connection that was cut off is fit for the next request.
    (found,) = api.get(SEARCH, shop.asked).json()["results"]
    assert found["id"] == str(offer.pk)


def publish_timeout(enterprise: Enterprise, seconds: Any) -> None:
    """Give one enterprise another timeout, and wait until this process has heard of it."""
    with operator_scope():
        change_set = draft_change_set(
            title="Search timeout",
            reason="test",
            proposals=[Proposal("flight.search_timeout", seconds, enterprise)],
            actor=None,
        )
        publish_change_set(change_set=change_set)
    expected = configs.get("flight.search_timeout") if seconds is UNSET else seconds
    until(lambda: configs.get("flight.search_timeout", enterprise) == expected)


def test_search__timeout_published__bounds_this_enterprises_next_search(
    api: Client, enterprise: Enterprise, other_enterprise: Enterprise, shop: Shop
) -> None:
    offer = shop.sell()
    publish_timeout(enterprise, 0.2)
    assert configs.get("flight.search_timeout", other_enterprise) > 1
    with flights_locked():
        assert "0.2 s" in problem(api.get(SEARCH, shop.asked), 503)["detail"]
    publish_timeout(enterprise, 0.1)
    with flights_locked():
        assert "0.1 s" in problem(api.get(SEARCH, shop.asked), 503)["detail"]
    publish_timeout(enterprise, UNSET)
    assert [each["id"] for each in api.get(SEARCH, shop.asked).json()["results"]] == [str(offer.pk)]


def test_search__airport_made_inactive__is_unknown(api: Client, shop: Shop) -> None:
    def set_active(active: bool) -> None:
        with operator_scope():
            Airport.objects.filter(pk=shop.origin).update(is_active=active)
        with connect() as connection:
            airports.refresh(connection, at_least=airports.version + 1)

    assert api.get(SEARCH, shop.asked).status_code == 200
    set_active(False)
    try:
        errors = problem(api.get(SEARCH, shop.asked), 400)["errors"]
        assert [(error["field"], error["code"]) for error in errors] == [
            ("origin", "unknown_airport")
        ]
    finally:
        set_active(True)
    assert api.get(SEARCH, shop.asked).status_code == 200


@pytest.fixture(scope="module")
def operation() -> dict[str, Any]:
    document = SchemaGenerator().get_schema(public=True)
    found: dict[str, Any] = document["paths"][SEARCH]["get"]
    return found


def test_schema__search__lists_every_parameter_and_problem(operation: dict[str, Any]) -> None:
    parameters = {each["name"]: each for each in operation["parameters"]}
    assert set(parameters) == {
        "origin", "destination", "departure_date", "max_layovers", "via", "exclude", "layover",
        "duration", "price", "depart", "sort", "limit", "cursor", "usable", "daylight", "overnight",
        "flexible_days", "carriers", "exclude_carriers", "cabin", "self_transfer",
        "terminal_change", "currency", "explain",
    }  # fmt: skip
    assert {name for name, each in parameters.items() if each.get("required")} == {
        "origin", "destination", "departure_date",
    }  # fmt: skip
    assert set(operation["responses"]) == {"200", "400", "401", "403", "503"}
    assert operation["security"] == [{"ApiKey": []}]


def test_schema__examples__match_their_patterns_and_are_accepted(
    operation: dict[str, Any], shop: Shop
) -> None:
    query = shop.asked
    for each in operation["parameters"]:
        schema = each["schema"]
        if "example" in schema:
            assert re.search(schema["pattern"], schema["example"])
            if each["name"] not in shop.asked:
                query[each["name"]] = schema["example"]
    assert len(query) > len(shop.asked)
    parse_flight_search(urlencode(query), zones=airports.get(), now=timezone.now())
