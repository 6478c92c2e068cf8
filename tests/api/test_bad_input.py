"""What cannot be used is named, whatever it is: never a 500."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import NoReverseMatch, reverse

from apps.tenants.models import Enterprise
from layoverhq.errors import PROBLEM_CONTENT_TYPE
from tests.api.test_schema import SCHEMA
from tests.isolation.test_routes import TOMORROW, plant_offer
from tests.tenants import factories

SEARCH = "/api/v1/flights/search"
USUAL = {"origin": "ORD", "destination": "DEN", "departure_date": TOMORROW.isoformat()}


def search_is_there() -> bool:
    try:
        return reverse("api-flight-search") == SEARCH
    except NoReverseMatch:
        return False


pytestmark = pytest.mark.skipif(not search_is_there(), reason="there is no search yet")

PARAMETERS = [
    parameter["name"]
    for parameter in SCHEMA.raw_schema["paths"]
    .get(SEARCH, {"get": {}})["get"]
    .get("parameters", [])
]


@pytest.fixture(scope="module")
def tenant() -> Enterprise:
    enterprise = factories.make_enterprise()
    plant_offer(enterprise)
    return enterprise


@pytest.fixture(scope="module")
def client(tenant: Enterprise) -> Client:
    return factories.make_client(tenant)


def named(response: Any) -> set[str]:
    """Return the fields that a refusal names."""
    assert response.status_code == 400, response.content
    assert response.headers["Content-Type"] == PROBLEM_CONTENT_TYPE
    return {error["field"] for error in response.json()["errors"]}


def test_search__usual__finds_the_planted_offer(client):
    # The mirror of what follows: but for its one fault, each request below would be served.
    response = client.get(SEARCH, USUAL)
    assert response.status_code == 200
    assert [offer["provider"] for offer in response.json()["results"]] == ["victim-only"]


NASTY = [
    "", " ", "\x00", "a\x00b", "'", '"', "%", "\\", "null", "None", "NaN", "-1", "1e309", "9" * 400,
    "<script>alert(1)</script>", "' or '1'='1", "'; drop table users; --", "%(name)s", "{}", "[]",
    "..", "....", "a..b", "\u0660", "\U0001f6eb", "\ufeffORD", "ord ", "../../etc/passwd",
    "x" * 5000,
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
]  # fmt: skip


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_search__nasty_values__are_refused_by_name(client, parameter):
    for value in NASTY:
        response = client.get(SEARCH, {**USUAL, parameter: value})
        assert parameter in named(response), (parameter, value)


@pytest.mark.parametrize("parameter", PARAMETERS)
@pytest.mark.parametrize("raw", ["%ff", "%c3%28", "%ed%a0%80", "%00", "ORD%00"])
def test_search__bytes_that_are_no_text__are_refused_by_name(client, parameter, raw):
    rest = urlencode({name: value for name, value in USUAL.items() if name != parameter})
    assert parameter in named(client.get(f"{SEARCH}?{rest}&{parameter}={raw}"))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"origin": "XXX"}, "origin"),
        ({"origin": "OR"}, "origin"),
        ({"destination": "ORD"}, "destination"),
        ({"departure_date": "2026-02-30"}, "departure_date"),
        ({"departure_date": "30.11.2026"}, "departure_date"),
        ({"departure_date": "1999-01-01"}, "departure_date"),
        ({"departure_date": "9999-12-31"}, "departure_date"),
        ({"layover": "20h..8h"}, "layover"),
        ({"layover": "8..20 parsecs"}, "layover"),
        ({"layover": "8h"}, "layover"),
        ({"duration": "..-5m"}, "duration"),
        ({"price": "400..100"}, "price"),
        ({"price": "..99999999999999999999"}, "price"),
        ({"depart": "25:00..26:00"}, "depart"),
        ({"depart": "12:00..06:00"}, "depart"),
        ({"via": "XXX"}, "via"),
        ({"via": "DEN,,ORD"}, "via"),
        ({"exclude": "DEN;ORD"}, "exclude"),
        ({"sort": "cheapest"}, "sort"),
        ({"sort": "price; drop table flights"}, "sort"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1000000"}, "limit"),
        ({"limit": "1.5"}, "limit"),
        ({"max_layovers": "-1"}, "max_layovers"),
        ({"cursor": "garbage"}, "cursor"),
        ({"colour": "blue"}, "colour"),
        ({"enterprise_id": "00000000-0000-7000-8000-000000000000"}, "enterprise_id"),
        ({"Origin": "ORD"}, "Origin"),
    ],
)
def test_search__one_fault__is_named(client, changed, field):
    assert named(client.get(SEARCH, {**USUAL, **changed})) == {field}


@pytest.mark.parametrize("missing", sorted(USUAL))
def test_search__required_parameter_missing__is_named(client, missing):
    given = {name: value for name, value in USUAL.items() if name != missing}
    assert named(client.get(SEARCH, given)) == {missing}


def test_search__several_faults__are_all_named(client):
    assert named(client.get(SEARCH, {"origin": "XXX", "limit": "0", "colour": "blue"})) == {
        "origin", "limit", "colour", "destination", "departure_date",
    }  # fmt: skip


def test_search__parameter_twice__is_refused_by_name(client):
    assert named(client.get(f"{SEARCH}?{urlencode(USUAL)}&origin=DEN")) == {"origin"}


def test_search__cursor_of_another_query_or_tenant__gives_nothing_away(client, tenant):
    other = factories.make_enterprise()
    plant_offer(other)
    plant_offer(other)
    page = factories.make_client(other).get(SEARCH, {**USUAL, "limit": "1"}).json()
    assert page["next"]
    assert named(client.get(SEARCH, {**USUAL, "sort": "duration", "cursor": page["next"]})) == {
        "cursor"
    }
    # A cursor is a place in an order and no capability: the key says whose offers.
    response = client.get(SEARCH, {**USUAL, "limit": "1", "cursor": page["next"]})
    shown = response.content.decode()
    assert page["results"][0]["id"] not in shown
    for offer in response.json().get("results", []):
        assert offer["id"] not in {result["id"] for result in page["results"]}


def test_path__id_that_is_none__is_404_as_a_problem(client):
    for path in ("/api/v1/api-keys/x", "/api/v1/api-keys/" + "9" * 500, "/api/v1/api-keys/%00"):
        response = client.get(path)
        assert response.status_code == 404
        assert response.headers["Content-Type"] == PROBLEM_CONTENT_TYPE


def test_body__sent_to_a_reading_route__is_ignored_or_refused(client):
    for body in (b"\xff\xfe", b"{", b"\x00", b"[" * 10_000):
        response = client.generic(
            "GET", SEARCH + "?" + urlencode(USUAL), body, content_type="application/json"
        )
        assert response.status_code in {200, 400}
        assert client.post(SEARCH, body, content_type="application/json").status_code == 405
