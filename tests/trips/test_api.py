"""Travellers, saved searches, trips and alerts, as an enterprise's developer uses them."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.flights.models import Flight
from apps.trips.models import AlertEvent, PriceAlert, SavedSearch, Traveller, Trip
from layoverhq.tenancy import operator_scope
from tests.flights.factories import Shop
from tests.tenants import factories
from tests.trips.factories import add_alert, add_event, add_traveller, save_search
from tests.webhooks.factories import add_webhook, deliveries

JSON = "application/json"
BASE = "/api/v1"


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celery.app.base.Celery.send_task", lambda *args, **kwargs: None)


def post(api: Client, path: str, status: int = 201, **body: Any) -> Any:
    response = api.post(f"{BASE}/{path}", body, JSON)
    assert response.status_code == status, response.content
    return response.json()


def patch(api: Client, path: str, expected: int = 200, /, **body: Any) -> Any:
    response = api.patch(f"{BASE}/{path}", body, JSON)
    assert response.status_code == expected, response.content
    return response.json()


def faults(document: Any) -> dict[str, str]:
    return {error["field"]: error["code"] for error in document["errors"]}


def query(shop: Shop, **more: str) -> str:
    return "&".join(f"{name}={value}" for name, value in {**shop.asked, **more}.items())


def count(model: Any, enterprise: Any) -> int:
    with operator_scope():
        return int(model.objects.filter(enterprise=enterprise).count())


def test_traveller__added_changed_and_deleted__with_versions(api, enterprise):
    made = post(api, "travellers", reference=" T-1 ", name="Ann")
    assert (made["reference"], made["name"], made["version"]) == ("T-1", "Ann", 1)
    path = f"travellers/{made['id']}"
    shown = api.get(f"{BASE}/{path}")
    assert shown.json() == made
    again = api.get(f"{BASE}/{path}", headers={"If-None-Match": shown.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")

    changed = patch(api, path, version=1, name="Ann Arbor")
    assert (changed["name"], changed["version"]) == ("Ann Arbor", 2)
    stale = patch(api, path, 409, version=1, name="Somebody else")
    assert stale["code"] == "stale_version"
    assert faults(stale) == {"version": "stale"}
    assert api.delete(f"{BASE}/{path}?version=1").status_code == 409
    with operator_scope():
        assert Traveller.objects.get(pk=made["id"]).name == "Ann Arbor"
        event = AuditEvent.objects.get(row_id=made["id"], operation="UPDATE")
    assert event.reason.startswith("API key “test”")

    assert api.delete(f"{BASE}/{path}?version=2").status_code == 204
    assert api.get(f"{BASE}/{path}").status_code == 404
    assert count(Traveller, enterprise) == 0


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {"reference": "required", "name": "required"}),
        ({"reference": "", "name": " "}, {"reference": "invalid", "name": "invalid"}),
        ({"reference": "x" * 101, "name": 7}, {"reference": "invalid", "name": "invalid"}),
        ({"reference": "a\x00b", "name": "Ann"}, {"reference": "nul"}),
        ({"reference": "a", "name": "Ann", "id": 1}, {"id": "unknown"}),
    ],
)
def test_traveller__bad_input__names_each_field_and_adds_nothing(api, enterprise, body, expected):
    assert faults(post(api, "travellers", 400, **body)) == expected
    assert count(Traveller, enterprise) == 0


def test_traveller__reference_stands_already__is_refused_per_enterprise(
    api, enterprise, other_enterprise
):
    add_traveller(other_enterprise, reference="T-1")
    add_traveller(enterprise, reference="T-1")
    assert faults(post(api, "travellers", 400, reference="T-1", name="Bo")) == {
        "reference": "conflict"
    }
    assert count(Traveller, enterprise) == 1


def test_travellers__pages__are_walked_newest_first_and_found_by_reference(api, enterprise):
    made = [add_traveller(enterprise, reference=f"T-{number}") for number in range(5)]
    found: list[str] = []
    following, pages = None, 0
    while pages == 0 or following:
        asked = {"limit": 2, **({"after": following} if following else {})}
        page = api.get(f"{BASE}/travellers", asked).json()
        found += [each["id"] for each in page["results"]]
        following, pages = page["next"], pages + 1
    assert pages == 3
    assert found == [str(each.pk) for each in reversed(made)]
    one = api.get(f"{BASE}/travellers", {"reference": "T-3"}).json()
    assert [each["id"] for each in one["results"]] == [str(made[3].pk)]
    bad = api.get(f"{BASE}/travellers", {"limit": "0", "after": "x", "name": "Ann"})
    assert faults(bad.json()) == {"name": "unknown"}
    bad = api.get(f"{BASE}/travellers", {"limit": "0", "after": "x"})
    assert faults(bad.json()) == {"limit": "invalid", "after": "invalid"}


def test_traveller__deleted__takes_trips_searches_and_alerts_along(api, enterprise, shop):
    traveller = add_traveller(enterprise)
    kept = save_search(enterprise, shop)
    gone = save_search(enterprise, shop, traveller)
    add_event(enterprise, add_alert(enterprise, gone, threshold_minor=1))
    offer = shop.sell()
    post(api, "trips", traveller_id=str(traveller.pk), offer_id=str(offer.pk))
    assert api.delete(f"{BASE}/travellers/{traveller.pk}?version=1").status_code == 204
    for model in (Trip, PriceAlert, AlertEvent):
        assert count(model, enterprise) == 0
    with operator_scope():
        assert [each.pk for each in SavedSearch.objects.filter(enterprise=enterprise)] == [kept.pk]


def test_saved_search__kept_in_one_spelling_and_run(api, enterprise, shop):
    offer = shop.sell([("DEN", 600)])
    shop.sell([("DEN", 60)])
    asked = query(shop, layover="8h..20h", limit="1")
    saved = post(api, "saved-searches", name="Zoë’s", query=f"?{asked}")
    assert saved["query"] == "&".join(sorted(query(shop, layover="8h..20h").split("&")))
    page = api.get(f"{BASE}/saved-searches/{saved['id']}/results").json()
    assert [each["id"] for each in page["results"]] == [str(offer.pk)]
    assert page == api.get(f"{BASE}/flights/search?{saved['query']}").json()


def test_saved_search__results__are_paged(api, enterprise, shop):
    for price in (1, 2, 3):
        shop.sell(price_minor=price)
    search = save_search(enterprise, shop)
    path = f"{BASE}/saved-searches/{search.pk}/results"
    first = api.get(path, {"limit": 2}).json()
    second = api.get(path, {"limit": 2, "cursor": first["next"]}).json()
    prices = [each["price_minor"] for each in (*first["results"], *second["results"])]
    assert prices == [1, 2, 3]
    assert faults(api.get(path, {"sort": "duration"}).json()) == {"sort": "unknown"}


def test_saved_search__query_that_cannot_be__names_its_parameters(api, enterprise, shop):
    bad = post(
        api, "saved-searches", 400, name="x", query=query(shop, layover="20h..8h", nonsense="1")
    )
    assert faults(bad) == {"query.layover": "upside_down", "query.nonsense": "unknown"}
    strange = "\N{SNOWMAN}=\ud7ff&origin=%ff&&=="
    assert post(api, "saved-searches", 400, name="x", query=strange)["code"] == "invalid_input"
    unknown = post(
        api, "saved-searches", 400, name="x", query=query(shop), traveller_id=str(uuid4())
    )
    assert faults(unknown) == {"traveller_id": "unknown"}
    assert count(SavedSearch, enterprise) == 0


def test_saved_search__another_enterprises_traveller__is_unknown(
    api, enterprise, other_enterprise, shop
):
    theirs = add_traveller(other_enterprise)
    body = {"name": "x", "query": query(shop), "traveller_id": str(theirs.pk)}
    assert faults(post(api, "saved-searches", 400, **body)) == {"traveller_id": "unknown"}
    assert count(SavedSearch, enterprise) == 0


def test_saved_search__changed__its_alerts_begin_anew(api, enterprise, shop):
    search = save_search(enterprise, shop)
    alert = add_alert(enterprise, search, layovers="layover=8h..20h")
    with operator_scope():
        PriceAlert.objects.filter(pk=alert.pk).update(state="met", seen=["x"], best_price_minor=1)
    path = f"saved-searches/{search.pk}"
    renamed = patch(api, path, version=1, name="Another name", traveller_id=None)
    assert renamed["version"] == 2
    assert api.get(f"{BASE}/alerts/{alert.pk}").json()["state"] == "met"
    changed = patch(api, path, version=2, query=query(shop, max_layovers="1"))
    assert "max_layovers=1" in changed["query"]
    shown = api.get(f"{BASE}/alerts/{alert.pk}").json()
    assert (shown["state"], shown["best_price_minor"]) == ("watching", None)
    with operator_scope():
        assert PriceAlert.objects.get(pk=alert.pk).seen == []


def test_trip__planned__keeps_the_offer_as_it_was_and_tells(api, enterprise, shop):
    add_webhook(enterprise, "https://example.com/hooks")
    traveller = add_traveller(enterprise)
    offer = shop.sell([("DEN", 600)], price_minor=12_345)
    trip = post(api, "trips", traveller_id=str(traveller.pk), offer_id=str(offer.pk))
    (searched,) = api.get(f"{BASE}/flights/search", shop.asked).json()["results"]
    for name in ("id", "price_minor", "segments", "layovers", "departs_at"):
        assert trip["offer"][name] == searched[name]
    assert (trip["price_minor"], trip["status"], trip["version"]) == (12_345, "planned", 1)
    with operator_scope():
        Flight.objects.filter(departure_day=shop.day, pk=offer.pk).update(price_minor=1)
    assert api.get(f"{BASE}/trips/{trip['id']}").json()["price_minor"] == 12_345

    booked = patch(api, f"trips/{trip['id']}", version=1, status="booked")
    assert (booked["status"], booked["version"]) == ("booked", 2)
    assert [each.event for each in deliveries(enterprise)] == ["trip.created", "trip.changed"]
    assert all("Arbor" not in each.body for each in deliveries(enterprise))
    back = patch(api, f"trips/{trip['id']}", 400, version=2, status="planned")
    assert faults(back) == {"status": "invalid"}
    patch(api, f"trips/{trip['id']}", version=2, status="cancelled")
    assert (
        "stays so" in patch(api, f"trips/{trip['id']}", 400, version=3, status="booked")["detail"]
    )
    assert api.get(f"{BASE}/trips", {"status": "booked"}).json()["results"] == []
    found = api.get(f"{BASE}/trips", {"traveller_id": str(traveller.pk)}).json()["results"]
    assert [each["id"] for each in found] == [trip["id"]]


def test_trip__offer_is_anothers_expired_or_none__is_refused(
    api, enterprise, other_enterprise, shop
):
    traveller = str(add_traveller(enterprise).pk)
    private = shop.sell(enterprise=other_enterprise)
    negotiated = shop.sell(enterprise=other_enterprise, negotiated=True)
    expired = shop.sell(expires_at=timezone.now())
    for offer_id in (private.pk, negotiated.pk, expired.pk, uuid4()):
        bad = post(api, "trips", 400, traveller_id=traveller, offer_id=str(offer_id))
        assert faults(bad) == {"offer_id": "unknown"}
    own = shop.sell(enterprise=enterprise, negotiated=True)
    assert faults(post(api, "trips", 400, traveller_id=str(uuid4()), offer_id=str(own.pk))) == {
        "traveller_id": "unknown"
    }
    assert count(Trip, enterprise) == 0
    post(api, "trips", traveller_id=traveller, offer_id=str(own.pk))


def test_alert__added_changed_paused_and_gone_on_with(api, enterprise, shop):
    search = save_search(enterprise, shop)
    alert = post(api, "alerts", saved_search_id=str(search.pk), threshold_minor=40_000)
    assert (alert["state"], alert["layovers"]) == ("watching", "")
    path = f"alerts/{alert['id']}"
    narrowed = patch(api, path, version=1, layovers="via=DEN,ORD&layover=8h..20h")
    assert narrowed["layovers"] == "layover=8h..20h&via=DEN,ORD"
    paused = patch(api, path, version=2, paused=True)
    assert paused["state"] == "paused"
    assert patch(api, path, version=3, threshold_minor=None)["state"] == "paused"
    assert patch(api, path, version=4, paused=False)["state"] == "watching"
    nothing = patch(api, path, 400, version=5, layovers=None)
    assert faults(nothing) == {"threshold_minor": "required", "layovers": "required"}
    found = api.get(f"{BASE}/alerts", {"state": "watching"}).json()["results"]
    assert [each["id"] for each in found] == [alert["id"]]
    assert api.delete(f"{BASE}/{path}?version=5").status_code == 204
    assert count(PriceAlert, enterprise) == 0


@pytest.mark.parametrize(
    ("layovers", "expected"),
    [
        ("layover=20h..8h", {"layovers.layover": "upside_down"}),
        ("origin=SFO", {"layovers.origin": "unknown"}),
        ("via=ZZZ", {"layovers.via": "unknown_airport"}),
        ("nothing", {"layovers.nothing": "unknown"}),
    ],
)
def test_alert__layovers_that_cannot_be__name_the_parameter(
    api, enterprise, shop, layovers, expected
):
    search = save_search(enterprise, shop)
    bad = post(api, "alerts", 400, saved_search_id=str(search.pk), layovers=layovers)
    assert faults(bad) == expected
    assert count(PriceAlert, enterprise) == 0


def test_alert__of_a_search_whose_day_is_past__is_refused(api, enterprise, shop):
    search = save_search(enterprise, shop)
    alert = add_alert(enterprise, search, threshold_minor=1)
    past = search.query.replace(shop.day.isoformat(), "2024-02-29")
    with operator_scope():
        SavedSearch.objects.filter(pk=search.pk).update(query=past)
        PriceAlert.objects.filter(pk=alert.pk).update(state="ended")
    bad = post(api, "alerts", 400, saved_search_id=str(search.pk), threshold_minor=1)
    assert faults(bad) == {"saved_search_id": "past"}
    ended = patch(api, f"alerts/{alert.pk}", 409, version=1, threshold_minor=2)
    assert ended["code"] == "wrong_state"
    assert count(PriceAlert, enterprise) == 1
    patch(api, f"saved-searches/{search.pk}", version=1, query=query(shop))
    assert api.get(f"{BASE}/alerts/{alert.pk}").json()["state"] == "watching"


def test_saved_search__query_that_its_alert_does_not_fit__names_query(api, enterprise, shop):
    search = save_search(enterprise, shop)
    alert = add_alert(enterprise, search, layovers="via=DEN")
    bad = patch(
        api, f"saved-searches/{search.pk}", 400, version=1, query=query(shop, exclude="DEN")
    )
    assert faults(bad) == {"query": "contradiction"}
    assert str(alert.pk) in bad["detail"]
    assert api.get(f"{BASE}/saved-searches/{search.pk}").json()["query"] == search.query


def test_traveller__of_one_reference_added_at_once__is_refused_by_name(
    api, enterprise, monkeypatch
):
    add_traveller(enterprise, reference="T-1")
    # Both looked before either wrote.
    monkeypatch.setattr("django.db.models.query.QuerySet.exists", lambda rows: False)
    bad = post(api, "travellers", 409, reference="T-1", name="Bo")
    assert faults(bad) == {"reference": "conflict"}
    assert count(Traveller, enterprise) == 1


def test_trip__traveller_deleted_meanwhile__is_refused_by_name(api, enterprise, shop, monkeypatch):
    offer = shop.sell()
    monkeypatch.setattr("django.db.models.query.QuerySet.exists", lambda rows: True)
    gone = str(uuid4())
    bad = post(api, "trips", 409, traveller_id=gone, offer_id=str(offer.pk))
    assert faults(bad) == {"traveller_id": "conflict"}
    bad = post(api, "saved-searches", 409, traveller_id=gone, name="x", query=query(shop))
    assert faults(bad) == {"traveller_id": "conflict"}


def test_alert__too_many_of_one_search__is_refused(api, enterprise, shop, monkeypatch):
    monkeypatch.setattr("apps.trips.operations.MAXIMUM_ALERTS", 1)
    search = save_search(enterprise, shop)
    post(api, "alerts", saved_search_id=str(search.pk), threshold_minor=1)
    refused = post(api, "alerts", 409, saved_search_id=str(search.pk), threshold_minor=2)
    assert refused["code"] == "too_many_alerts"
    assert faults(post(api, "alerts", 400, saved_search_id=str(uuid4()), threshold_minor=2)) == {
        "saved_search_id": "unknown"
    }


def test_alert_events__are_listed_newest_first(api, enterprise, shop):
    alert = add_alert(enterprise, save_search(enterprise, shop), threshold_minor=1)
    for price in (3, 2):
        add_event(enterprise, alert, price_minor=price)
    page = api.get(f"{BASE}/alerts/{alert.pk}/events").json()
    assert [each["price_minor"] for each in page["results"]] == [2, 3]


def test_key__that_reads__writes_nothing(enterprise):
    client = factories.make_client(enterprise, ["trips:read"])
    assert client.get(f"{BASE}/travellers").status_code == 200
    assert post(client, "travellers", 403, reference="x", name="x")["code"] == "scope_missing"
    assert count(Traveller, enterprise) == 0
