"""The search that begins with the place: which layovers, in which order, and for whom."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from apps.flights.grammar import Bounds
from apps.flights.layover_search import LayoverPosition, LayoverSearch, search_layovers
from apps.flights.models import FlightLayover, Offer
from apps.tenants.models import Enterprise
from layoverhq.tenancy import operator_scope
from tests.flights.factories import Shop, unique_route
from tests.tenants import factories as tenants

URL = "/api/v1/flights/layovers"


@pytest.fixture
def place() -> str:
    """An airport where no other test has layovers."""
    return unique_route()[0]


def stop(
    shop: Shop,
    place: str,
    minutes: int = 600,
    *,
    usable: int | None = 300,
    daylight: int | None = 200,
    overnight: bool = False,
    before: int | None = None,
    **fields: Any,
) -> Offer:
    """Sell an offer with a layover there, after one in Denver if `before` is its minutes."""
    layovers = [("DEN", before)] if before is not None else []
    offer = shop.sell([*layovers, (place, minutes)], **fields)
    with operator_scope():
        FlightLayover.objects.filter(
            departure_day=shop.day, flight_id=offer.pk, airport=place
        ).update(usable_minutes=usable, daylight_minutes=daylight, overnight=overnight)
    return offer


def ask(client: Client, shop: Shop, place: str, **more: str) -> dict[str, Any]:
    response = client.get(URL, {"airport": place, "date": shop.day.isoformat(), **more})
    assert response.status_code == 200, response.content
    return dict(response.json())


def found(client: Client, shop: Shop, place: str, **more: str) -> list[str]:
    return [each["offer"]["id"] for each in ask(client, shop, place, **more)["results"]]


def ids(*offers: Offer) -> list[str]:
    return [str(offer.pk) for offer in offers]


def test_layovers__of_any_route__the_most_usable_first(api: Client, place: str) -> None:
    shops = [Shop(), Shop(), Shop()]
    try:
        offers = [
            stop(shop, place, usable=usable)
            for shop, usable in zip(shops, (250, 400, 300), strict=True)
        ]
        assert found(api, shops[0], place) == ids(offers[1], offers[2], offers[0])
        assert found(api, shops[0], place, origin=shops[2].origin) == ids(offers[2])
        assert found(api, shops[0], place, destination=shops[1].destination) == ids(offers[1])
    finally:
        for shop in shops:
            shop.close()


def test_layovers__daylight_hours_in_town__as_the_question_goes(
    api: Client, shop: Shop, place: str
) -> None:
    # 8 to 20 daylight hours with four usable hours in town.
    fits = stop(shop, place, 600, usable=300, daylight=240)
    longer = stop(shop, place, 1_200, usable=500, daylight=499)
    stop(shop, place, 479, usable=300, daylight=300)
    stop(shop, place, 1_201, usable=600, daylight=600)
    stop(shop, place, 600, usable=239, daylight=239)
    dark = stop(shop, place, 600, usable=300, daylight=239)
    asked = {"layover": "8h..20h", "usable": "4h.."}
    assert found(api, shop, place, **asked, daylight="true") == ids(longer, fits)
    assert found(api, shop, place, **asked) == ids(longer, dark, fits)


def test_layovers__daylight_alone__is_an_hour_of_it(api: Client, shop: Shop, place: str) -> None:
    hour = stop(shop, place, daylight=60)
    stop(shop, place, daylight=59)
    stop(shop, place, daylight=None)
    assert found(api, shop, place, daylight="true") == ids(hour)


def test_layovers__overnight__yes_no_or_either(api: Client, shop: Shop, place: str) -> None:
    night, day = stop(shop, place, overnight=True), stop(shop, place)
    assert found(api, shop, place, overnight="yes") == ids(night)
    assert found(api, shop, place, overnight="no") == ids(day)
    assert set(found(api, shop, place)) == {*ids(night, day)}


def test_layovers__other_day_expired_or_never_worked_out__are_not_found(
    api: Client, shop: Shop, place: str
) -> None:
    stop(shop, place, expires_at=timezone.now() - timedelta(seconds=1))
    stop(shop, place, usable=None, daylight=None)
    tomorrow = Shop(shop.origin, shop.destination, shop.day + timedelta(days=1))
    try:
        later = stop(tomorrow, place)
        assert found(api, shop, place) == []
        assert found(api, tomorrow, place) == ids(later)
    finally:
        tomorrow.close()


def test_layovers__second_of_a_journey__is_told_with_its_place_in_it(
    api: Client, shop: Shop, place: str
) -> None:
    offer = stop(shop, place, 610, before=95, usable=200, daylight=100, overnight=True)
    (result,) = ask(api, shop, place)["results"]
    assert result["layover"] == {
        "airport": place,
        "minutes": 610,
        "position": 2,
        "usable_minutes": 200,
        "daylight_minutes": 100,
        "overnight": True,
    }
    assert result["offer"]["id"] == str(offer.pk)
    assert [each["airport"] for each in result["offer"]["layovers"]] == ["DEN", place]


@pytest.mark.parametrize("negotiated", [True, False])
@pytest.mark.parametrize("sort", ["usable", "price"])
def test_layovers__private_offers__are_found_by_their_enterprise_alone(
    api: Client,
    enterprise: Enterprise,
    other_enterprise: Enterprise,
    shop: Shop,
    place: str,
    negotiated: bool,
    sort: str,
) -> None:
    theirs = stop(
        shop, place, usable=900, minutes=950, price_minor=1, enterprise=other_enterprise,
        negotiated=negotiated,
    )  # fmt: skip
    ours = stop(
        shop, place, usable=500, price_minor=2, enterprise=enterprise, negotiated=negotiated
    )
    shared = stop(shop, place, usable=400, price_minor=3)
    answer = ask(api, shop, place, sort=sort)
    assert [each["offer"]["id"] for each in answer["results"]] == ids(ours, shared)
    assert [each["offer"]["private"] for each in answer["results"]] == [True, False]
    other = tenants.make_client(other_enterprise)
    assert found(other, shop, place, sort=sort) == ids(theirs, shared)


@pytest.mark.parametrize("sort", ["usable", "price"])
def test_layovers__cursor__walks_over_ties_once(
    api: Client, enterprise: Enterprise, shop: Shop, place: str, sort: str
) -> None:
    for number in range(11):
        owner = {"enterprise": enterprise, "negotiated": number % 2 == 0} if number % 3 else {}
        stop(shop, place, usable=300 + number // 4, price_minor=number // 4, **owner)
    seen: list[tuple[int, str]] = []
    more: dict[str, str] = {}
    for size in (4, 4, 3):
        answer = ask(api, shop, place, sort=sort, limit="4", **more)
        assert len(answer["results"]) == size
        seen += [
            (
                -each["layover"]["usable_minutes"]
                if sort == "usable"
                else each["offer"]["price_minor"],
                each["offer"]["id"],
            )
            for each in answer["results"]
        ]
        more = {"cursor": answer["next"]}
    assert answer["next"] is None
    assert len(set(seen)) == 11
    assert [key for key, _ in seen] == sorted(key for key, _ in seen)


def test_layovers__cursor_of_another_search__is_refused(
    api: Client, shop: Shop, place: str
) -> None:
    stop(shop, place)
    stop(shop, place)
    cursor = ask(api, shop, place, limit="1")["next"]
    response = api.get(
        URL, {"airport": place, "date": shop.day.isoformat(), "overnight": "no", "cursor": cursor}
    )
    assert response.status_code == 400
    assert [error["code"] for error in response.json()["errors"]] == ["foreign_cursor"]
    assert len(ask(api, shop, place, cursor=cursor)["results"]) == 1


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, {("airport", "required"), ("date", "required")}),
        ({"airport": "QQQ", "date": "x"}, {("airport", "unknown_airport"), ("date", "invalid")}),
        ({"airport": "DEN", "date": "2020-01-01"}, {("date", "past")}),
        ({"airport": "DEN", "date": "2060-01-01"}, {("date", "too_far")}),
        (
            {"airport": "DEN", "date": "2020-01-01", "origin": "DEN", "usable": "9..1"},
            {("date", "past"), ("airport", "same_airport"), ("usable", "upside_down")},
        ),
        (
            {"airport": "DEN", "date": "x", "daylight": "yes", "overnight": "true", "sort": "best",
             "cursor": "1", "nothing": "1", "limit": "101"},
            {
                ("date", "invalid"), ("daylight", "invalid"), ("overnight", "invalid"),
                ("sort", "invalid"), ("cursor", "malformed_cursor"), ("nothing", "unknown"),
                ("limit", "invalid"),
            },
        ),
    ],
)  # fmt: skip
def test_layovers__faulty__names_every_field(
    api: Client, query: dict[str, str], expected: set[tuple[str, str]]
) -> None:
    response = api.get(URL, query)
    assert response.status_code == 400
    assert {(error["field"], error["code"]) for error in response.json()["errors"]} == expected


@pytest.mark.parametrize(
    "owner", ["enterprise_id is null", "enterprise_id = current_enterprise_id()"]
)
def test_layovers__under_row_security__are_walked_by_their_index(
    app_role: psycopg.Connection[Any], enterprise: Enterprise, owner: str
) -> None:
    app_role.execute("begin")
    app_role.execute(
        "select set_config('app.current_enterprise_id', %s, true)", [str(enterprise.pk)]
    )
    # An empty table is cheaper to scan: what counts is that policies do not forbid the index.
    app_role.execute("set local enable_seqscan = off")
    app_role.execute("set local enable_sort = off")
    plan = "\n".join(
        line
        for (line,) in app_role.execute(
            sql.SQL(
                "explain select * from flight_layovers where {} and airport = 'DEN'"
                " and departure_day = current_date and usable_minutes between 240 and 600"
                " and (usable_minutes, flight_id, position) < (9999, {}, 9)"
                " order by usable_minutes desc, flight_id desc, position desc limit 21"
            ).format(sql.SQL(owner), "ffffffff-ffff-ffff-ffff-ffffffffffff")
        )
    )
    app_role.execute("rollback")
    assert "Backward" in plan
    assert "usable_minutes >= 240" in plan
    assert "Sort" not in plan


@pytest.fixture(scope="module")
def market() -> tuple[Enterprise, Enterprise]:
    return tenants.make_enterprise(), tenants.make_enterprise()


bounds = st.none() | st.tuples(
    st.none() | st.sampled_from([100, 300]), st.none() | st.sampled_from([300, 500])
).filter(lambda ends: ends != (None, None)).map(lambda ends: Bounds(*ends))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    stock=st.lists(
        st.tuples(
            st.sampled_from([99, 100, 300, 500]),
            st.sampled_from([None, 0, 60, 100]),
            st.sampled_from([0, 60, 100]),
            st.booleans(),
            st.integers(0, 2),
            st.sampled_from(["shared", "priced", "negotiated", "theirs"]),
        ),
        max_size=8,
    ),
    layover=bounds,
    usable=st.none() | st.sampled_from([Bounds(60, None), Bounds(None, 60)]),
    daylight=st.booleans(),
    overnight=st.none() | st.booleans(),
    sort=st.sampled_from(["usable", "price"]),
    limit=st.integers(1, 3),
)
def test_layovers__any_stock__equals_the_reference(
    market: tuple[Enterprise, Enterprise], stock: list[Any], **asked: Any
) -> None:
    buyer, other = market
    owners: dict[str, dict[str, Any]] = {
        "shared": {},
        "priced": {"enterprise": buyer},
        "negotiated": {"enterprise": buyer, "negotiated": True},
        "theirs": {"enterprise": other},
    }
    shop, place = Shop(), unique_route()[0]
    try:
        visible = [
            (offer, minutes, usable, min(daylight, usable or 0), overnight)
            for minutes, usable, daylight, overnight, price, owner in stock
            for usable in [usable if usable is None else min(usable, minutes)]
            for offer in [
                stop(
                    shop,
                    place,
                    minutes,
                    usable=usable,
                    daylight=None if usable is None else min(daylight, usable),
                    overnight=overnight,
                    price_minor=price,
                    **owners[owner],
                )
            ]
            if owner != "theirs"
        ]

        def within(value: int, ends: Bounds[int] | None) -> bool:
            return ends is None or (
                (ends.low is None or value >= ends.low)
                and (ends.high is None or value <= ends.high)
            )

        ends = asked["usable"]
        if asked["daylight"] and ends is None:
            ends = Bounds(60, None)
        matching = [
            (offer, usable)
            for offer, minutes, usable, daylight, overnight in visible
            if usable is not None
            and within(minutes, asked["layover"])
            and within(daylight if asked["daylight"] else usable, ends)
            and (asked["overnight"] is None or overnight == asked["overnight"])
        ]
        if asked["sort"] == "usable":
            matching.sort(key=lambda each: (each[1], each[0].pk), reverse=True)
        else:
            matching.sort(key=lambda each: (each[0].price_minor, each[0].pk))
        got: list[str] = []
        after = None
        while True:
            page = json.loads(
                search_layovers(buyer.ref, LayoverSearch(place, shop.day, **asked, after=after))
            )
            got += [each["offer"]["id"] for each in page["results"]]
            if page["next"] is None:
                break
            _, key, flight, position = page["next"].split(".")
            after = LayoverPosition(int(key), flight, int(position))
        assert got == ids(*(offer for offer, _ in matching))
    finally:
        shop.close()
