"""What tenants report of their travellers' choices: kept once, for themselves, refused by field."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils import timezone

from apps.configs.runtime import override_config
from apps.flights import choices
from apps.flights.choices import learn_preferences
from apps.flights.models import LayoverPlace, LayoverPreference, Offer, OfferChoice
from apps.flights.operations import set_layover_places
from apps.tenants.models import Enterprise, Scope
from layoverhq.errors import PROBLEM_CONTENT_TYPE
from layoverhq.tenancy import operator_scope
from tests.flights.choosing import make_choices
from tests.flights.factories import Shop
from tests.isolation import roles
from tests.tenants import factories

PATH = "/api/v1/flights/choices"


def send(client: Client, body: Any, **extra: Any) -> Any:
    return client.post(PATH, json.dumps(body), content_type="application/json", **extra)


def told(shop: Shop, offer: Offer, *shown: Offer, **more: Any) -> dict[str, Any]:
    return {
        "id": "choice-1",
        "offer_id": str(offer.pk),
        "departure_date": shop.day.isoformat(),
        "shown": [str(each.pk) for each in shown],
        **more,
    }


def kept(enterprise: Enterprise) -> list[OfferChoice]:
    with operator_scope():
        return list(OfferChoice.objects.filter(enterprise=enterprise).order_by("chosen_at"))


def refused(response: Any) -> dict[str, str]:
    """Return the codes of a refusal by field."""
    assert response.status_code == 400, response.content
    assert response.headers["Content-Type"] == PROBLEM_CONTENT_TYPE
    return {error["field"]: error["code"] for error in response.json()["errors"]}


def test_choice__with_what_was_shown__keeps_what_each_was_worth(
    api: Client, enterprise: Enterprise, other_enterprise: Enterprise, shop: Shop
) -> None:
    with operator_scope():
        set_layover_places(appeal={"DEN": [80] * 17}, now=timezone.now())
    stay = shop.sell([("DEN", 600)], ground=[(180, 60, True)], price_minor=45_000)
    nonstop = shop.sell(price_minor=30_000)
    short = shop.sell([("ORD", 60)], ground=[(0, 0, False)], price_minor=30_000)
    try:
        response = send(api, told(shop, stay, nonstop, stay, short, user="ann", booked=True))
    finally:
        with operator_scope():
            LayoverPlace.objects.filter(airport="DEN").delete()
    assert response.status_code == 201, response.content
    assert response.json() == {"id": "choice-1", "repeated": False}

    (choice,) = kept(enterprise)
    assert (choice.offer_id, choice.departure_day) == (stay.pk, shop.day)
    assert (choice.origin_airport, choice.destination_airport) == (shop.origin, shop.destination)
    assert (choice.hub, choice.usable_minutes, choice.overnight) == ("DEN", 180, True)
    assert choice.booked
    city, experience, weather, safety, premium, preference = choice.components
    assert (city, experience, weather, preference) == (0.5, 0.8, None, None)
    assert 0.9 < safety <= 0.99
    # Half as dear again as the best price, and ten hours longer of twelve.
    assert premium == pytest.approx(0.5 - (stay.duration_minutes - 120) / 1440, abs=0.001)
    others = dict(zip(choice.shown_ids, choice.shown_components, strict=True))
    assert set(others) == {nonstop.pk, short.pk}
    assert others[nonstop.pk] == [0, 0, None, 1, 1, None]
    assert sorted(hub or "" for hub in choice.shown_hubs) == ["", "ORD"]
    assert kept(other_enterprise) == []


def test_choice__of_a_traveller__is_kept_as_a_digest_alone(
    api: Client, enterprise: Enterprise, other_enterprise: Enterprise, shop: Shop
) -> None:
    offer = shop.sell()
    send(api, told(shop, offer, user="ann@example.com"))
    send(api, told(shop, offer, id="choice-2", user="ann@example.com"))
    send(api, told(shop, offer, id="choice-3"))
    send(factories.make_client(other_enterprise), told(shop, offer, user="ann@example.com"))
    first, second, third = kept(enterprise)
    (foreign,) = kept(other_enterprise)
    assert first.unit == second.unit is not None
    assert third.unit is None
    # Nobody can follow a traveller from one tenant to another, by the id of the choice neither.
    assert foreign.unit != first.unit
    assert foreign.pk != first.pk
    with roles.connect_as_superuser() as connection:
        text = connection.execute(
            "select string_agg(c::text, ' ') from offer_choices c where enterprise_id = any(%s)",
            [[enterprise.pk, other_enterprise.pk]],
        ).fetchone()
    assert "ann" not in text[0]
    assert "choice-" not in text[0]


def test_choice__same_id_again__is_kept_once_and_may_be_booked_later(
    api: Client, enterprise: Enterprise, shop: Shop
) -> None:
    offer, other = shop.sell(), shop.sell()
    assert send(api, told(shop, offer, other)).status_code == 201
    for booked in (True, False):
        response = send(api, told(shop, offer, booked=booked))
        assert response.status_code == 200
        assert response.json() == {"id": "choice-1", "repeated": True}
        # A booking is not taken back by a message that comes late.
        (choice,) = kept(enterprise)
        assert choice.booked
        assert choice.shown_ids == [other.pk]


def test_choice__same_id_for_another_offer__is_a_conflict(
    api: Client, enterprise: Enterprise, shop: Shop
) -> None:
    offer, other = shop.sell(), shop.sell()
    send(api, told(shop, offer))
    response = send(api, told(shop, other))
    assert response.status_code == 409
    assert response.json()["code"] == "choice_conflict"
    assert response.json()["errors"][0]["field"] == "id"
    (choice,) = kept(enterprise)
    assert choice.offer_id == offer.pk


def test_choice__of_a_repeated_id__needs_the_offer_no_more(
    api: Client, enterprise: Enterprise, shop: Shop
) -> None:
    offer = shop.sell()
    body = told(shop, offer)
    send(api, body)
    shop.close()
    assert send(api, {**body, "booked": True}).status_code == 200
    assert kept(enterprise)[0].booked


@pytest.mark.parametrize("negotiated", [True, False])
def test_choice__another_tenants_private_offer__is_as_unknown_as_none(
    api: Client,
    enterprise: Enterprise,
    other_enterprise: Enterprise,
    shop: Shop,
    negotiated: bool,
) -> None:
    mine = shop.sell(enterprise=enterprise, negotiated=negotiated)
    theirs = shop.sell(enterprise=other_enterprise, negotiated=negotiated, price_minor=1)
    there = send(api, told(shop, theirs))
    nowhere = send(api, told(shop, theirs, offer_id=str(uuid4())))
    assert refused(there) == refused(nowhere) == {"offer_id": "unknown"}
    assert there.json()["detail"] == nowhere.json()["detail"]
    shown = send(api, told(shop, mine, theirs))
    assert refused(shown) == {"shown[0]": "unknown"}
    assert kept(enterprise) == []
    # What it costs moves nothing either.
    assert send(api, told(shop, mine)).status_code == 201
    assert kept(enterprise)[0].components[4] == 1


def test_choice__offers_elsewhere_or_far_off__are_refused_by_place(
    api: Client, enterprise: Enterprise, shop: Shop
) -> None:
    offer = shop.sell()
    elsewhere = Shop(shop.destination, shop.origin)
    near = Shop(shop.origin, shop.destination, day=shop.day + timedelta(days=6))
    far = Shop(shop.origin, shop.destination, day=shop.day - timedelta(days=7))
    try:
        response = send(
            api, told(shop, offer, near.sell(), elsewhere.sell(), far.sell(), id="choice-2")
        )
        assert refused(response) == {"shown[1]": "route", "shown[2]": "unknown"}
        assert refused(send(api, told(near, offer))) == {"offer_id": "unknown"}
        assert kept(enterprise) == []
        assert send(api, told(shop, offer, *near.made)).status_code == 201
    finally:
        for each in (elsewhere, near, far):
            each.close()


@pytest.mark.parametrize(
    ("changed", "refusals"),
    [
        ({"id": ""}, {"id": "invalid"}),
        ({"id": None}, {"id": "invalid"}),
        ({"id": "x" * 101}, {"id": "invalid"}),
        ({"id": "a\x00"}, {"id": "invalid"}),
        ({"id": 5}, {"id": "invalid"}),
        ({"offer_id": "x"}, {"offer_id": "invalid"}),
        ({"offer_id": None}, {"offer_id": "invalid"}),
        ({"offer_id": 7}, {"offer_id": "invalid"}),
        ({"departure_date": "tomorrow"}, {"departure_date": "invalid"}),
        ({"departure_date": "2026-W48-3"}, {"departure_date": "invalid"}),
        ({"departure_date": "2026-02-30"}, {"departure_date": "invalid"}),
        ({"user": ""}, {"user": "invalid"}),
        ({"user": True}, {"user": "invalid"}),
        ({"user": "x" * 1_001}, {"user": "invalid"}),
        ({"user": "\ud800"}, {"user": "invalid"}),
        ({"booked": "yes"}, {"booked": "type"}),
        ({"booked": None}, {"booked": "type"}),
        ({"shown": "x"}, {"shown": "type"}),
        ({"shown": [5, "x"]}, {"shown[0]": "invalid", "shown[1]": "invalid"}),
        ({"shown": [str(UUID(int=n)) for n in range(101)]}, {"shown": "number"}),
        ({"shown": [str(UUID(int=1))] * 2}, {"shown[1]": "duplicate"}),
        ({"prize": 1}, {"prize": "unknown"}),
        (
            {"id": "", "booked": 1, "prize": 1},
            {"id": "invalid", "booked": "type", "prize": "unknown"},
        ),
        ({"departure_date": "0001-01-01"}, {"offer_id": "unknown"}),
        ({"departure_date": "9999-12-31"}, {"offer_id": "unknown"}),
    ],
)  # fmt: skip
def test_choice__bad_input__is_refused_by_field(
    api: Client,
    enterprise: Enterprise,
    shop: Shop,
    changed: dict[str, Any],
    refusals: dict[str, str],
) -> None:
    assert refused(send(api, {**told(shop, shop.sell()), **changed})) == refusals
    assert kept(enterprise) == []


@pytest.mark.parametrize("body", ["", "[]", "null", '"x"', "{", '{"id": NaN}', '{"id":1,"id":2}'])
def test_choice__body_that_is_none__is_refused(api: Client, body: str) -> None:
    response = api.post(PATH, body, content_type="application/json")
    assert response.status_code == 400
    assert response.json()["code"] == "invalid_input"


def test_choice__query_or_missing_scope__is_refused(
    api: Client, enterprise: Enterprise, shop: Shop
) -> None:
    body = told(shop, shop.sell())
    response = api.post(f"{PATH}?id=1", json.dumps(body), content_type="application/json")
    assert refused(response) == {"id": "unknown"}
    reader = factories.make_client(enterprise, [Scope.FLIGHTS_READ])
    assert send(reader, body).status_code == 403
    assert kept(enterprise) == []


def test_choices_table__offer_that_expired_meanwhile__was_still_a_choice(
    api: Client, enterprise: Enterprise, shop: Shop
) -> None:
    # The cheapest one has run out since it was shown: the others were compared with it.
    gone = shop.sell(price_minor=20_000, expires_at=timezone.now() - timedelta(minutes=5))
    dear = shop.sell(price_minor=31_000)
    assert send(api, told(shop, gone, dear)).status_code == 201
    (choice,) = kept(enterprise)
    assert choice.components[4] == 1
    assert choice.shown_components[0][4] == pytest.approx(0.5, abs=0.001)


def preferences(enterprise: Enterprise) -> dict[str, int]:
    with operator_scope():
        return dict(
            LayoverPreference.objects.filter(enterprise=enterprise).values_list("airport", "share")
        )


def learn(**shift: float) -> int:
    with operator_scope():
        return learn_preferences(now=timezone.now() + timedelta(**shift))


HUBS = {"DEN": 12, "ORD": 6, "EWR": 3, None: 30}


def test_learn_preferences__choices__become_shares_of_the_most_chosen(
    enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    make_choices(enterprise, [hub for hub, number in HUBS.items() for _ in range(number)])
    make_choices(other_enterprise, ["SEA"] * 20)
    learn()
    assert preferences(enterprise) == {"DEN": 100, "ORD": 50, "EWR": 25}
    assert preferences(other_enterprise) == {"SEA": 100}


def test_learn_preferences__again__writes_nothing(enterprise: Enterprise) -> None:
    make_choices(enterprise, ["DEN"] * 20)
    learn()
    with operator_scope():
        before = LayoverPreference.objects.get(enterprise=enterprise)
    assert learn(days=3) == 0
    with operator_scope():
        assert LayoverPreference.objects.get(enterprise=enterprise).updated_at == before.updated_at


def test_learn_preferences__changed_choices__write_their_tenant_alone(
    enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    for each in (enterprise, other_enterprise):
        make_choices(each, ["DEN"] * 20 + ["ORD"] * 20)
    learn()
    make_choices(enterprise, ["DEN"] * 20)
    assert learn() == 1
    assert preferences(enterprise) == {"DEN": 100, "ORD": 50}
    assert preferences(other_enterprise) == {"DEN": 100, "ORD": 100}


def test_learn_preferences__too_few_or_too_old__are_none(enterprise: Enterprise) -> None:
    make_choices(enterprise, ["DEN"] * 19 + [None] * 10)
    learn()
    assert preferences(enterprise) == {}
    make_choices(enterprise, ["ORD"])
    learn()
    assert preferences(enterprise) == {"DEN": 100, "ORD": 5}
    learn(days=91)
    assert preferences(enterprise) == {}


def test_learn_preferences__half_life__halves_what_is_old(enterprise: Enterprise) -> None:
    make_choices(enterprise, ["DEN"] * 20, days_ago=40)
    make_choices(enterprise, ["ORD"] * 20)
    with override_config({"ranking.half_life_days": 20}):
        learn()
    assert preferences(enterprise) == {"ORD": 100, "DEN": 25}


def test_learn_preferences__more_tenants_than_a_batch__are_all_learned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choices, "ENTERPRISES_AT_ONCE", 2)
    enterprises = [factories.make_enterprise() for _ in range(5)]
    for each in enterprises:
        make_choices(each, ["DEN"] * 20)
    learn()
    assert [preferences(each) for each in enterprises] == [{"DEN": 100}] * 5


def test_enhanced_search__reported_choices__move_the_next_search(
    api: Client, enterprise: Enterprise, shop: Shop, switch: Callable[[str, bool], None]
) -> None:
    usual = shop.sell([("SLC", 600)], ground=[(360, 0, False)])
    liked = shop.sell([("MSP", 600)], ground=[(300, 0, False)])
    asked = {**shop.asked, "sort": "score"}
    for number in range(20):
        response = send(api, told(shop, liked, usual, id=f"choice-{number}"))
        assert response.status_code == 201
    learn()
    with override_config({"algorithm.preference_weight": 1.0}):
        switch("enhanced_search", True)
        found = [each["id"] for each in api.get("/api/v1/flights/search", asked).json()["results"]]
        assert found == [str(liked.pk), str(usual.pk)]
        switch("enhanced_search", False)
        found = [each["id"] for each in api.get("/api/v1/flights/search", asked).json()["results"]]
        assert found == [str(usual.pk), str(liked.pk)]
