"""There and back, and several cities: combinations of real offers, for their tenant alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise, product
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import DatabaseError, connections
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.flights import combining
from apps.flights.itineraries import search_itineraries
from apps.flights.itinerary_grammar import ItinerarySearch, parse_itinerary_search
from apps.flights.models import Offer
from apps.tenants.models import Enterprise
from layoverhq.errors import InvalidInput
from layoverhq.tenancy import TenantRef, snapshot_scope
from tests.flights.factories import Shop
from tests.isolation import roles
from tests.tenants import factories as tenants

URL = "/api/v1/flights/itineraries"
ZONES = dict.fromkeys(("SFO", "JFK", "LHR", "DEN"), "UTC")


@pytest.fixture
def trip() -> Iterator[tuple[Shop, Shop]]:
    """A way there and, five days later, back."""
    there, back = way_there_and_back()
    yield there, back
    there.close()
    back.close()


def way_there_and_back(days: int = 5) -> tuple[Shop, Shop]:
    there = Shop()
    return there, Shop(there.destination, there.origin, there.day + timedelta(days=days))


def asked(there: Shop, back: Shop) -> dict[str, str]:
    return {**there.asked, "return_date": back.day.isoformat()}


def slices(*shops: Shop) -> str:
    return ",".join(f"{shop.origin}-{shop.destination}-{shop.day}" for shop in shops)


def ask(client: Client, **query: str) -> dict[str, Any]:
    response = client.get(URL, query)
    assert response.status_code == 200, response.content
    return dict(response.json())


def ids(answer: dict[str, Any]) -> list[tuple[str, ...]]:
    return [tuple(offer["id"] for offer in each["slices"]) for each in answer["results"]]


def keys(*offers: Offer) -> tuple[str, ...]:
    return tuple(str(offer.pk) for offer in offers)


def test_return__cheapest_sums__come_first_with_whole_offers(
    api: Client, trip: tuple[Shop, Shop]
) -> None:
    there, back = trip
    cheap, dear = there.sell(price_minor=100), there.sell([("DEN", 100)], price_minor=130)
    home, late = back.sell(price_minor=200), back.sell(price_minor=220)

    answer = ask(api, **asked(there, back))

    assert ids(answer) == [
        keys(cheap, home), keys(cheap, late), keys(dear, home), keys(dear, late),
    ]  # fmt: skip
    assert [each["price_minor"] for each in answer["results"]] == [300, 320, 330, 350]
    third = answer["results"][2]
    assert third["duration_minutes"] == dear.duration_minutes + home.duration_minutes
    assert third["price_currency"] == "USD"
    assert third["slices"][0]["layovers"][0]["airport"] == "DEN"
    assert third["slices"][1]["origin"] == there.destination
    assert (answer["next"], answer["truncated"]) == (None, False)


def test_slices__and_there_and_back__are_the_same_search(
    api: Client, trip: tuple[Shop, Shop]
) -> None:
    there, back = trip
    there.sell()
    back.sell()
    in_words = ask(api, **asked(there, back))
    assert in_words["results"]
    assert ids(ask(api, slices=slices(there, back))) == ids(in_words)


def test_slices__same_day__next_departs_an_hour_after_the_arrival(api: Client) -> None:
    there, back = way_there_and_back(days=0)
    try:
        early = there.sell(departure_minute=600, flying_minutes=100, price_minor=9_000)
        departed = early.departure_at
        offers = {}
        for minutes in (159, 160, 161):
            # The clocks of the two ends differ: place it by the instant.
            offer = back.sell(price_minor=minutes, departure_minute=0)
            shift = departed + timedelta(minutes=minutes) - offer.departure_at
            with roles.connect_as(roles.OPERATOR) as operator:
                operator.execute(
                    "update flights set departure_at = departure_at + %(shift)s,"
                    " arrival_at = arrival_at + %(shift)s, expires_at = now() + interval '30 days'"
                    " where departure_day = %(day)s and id = %(id)s",
                    {"shift": shift, "day": back.day, "id": offer.pk},
                )
            offers[minutes] = offer
        answer = ask(api, slices=slices(there, back))
        assert ids(answer) == [keys(early, offers[160]), keys(early, offers[161])]
    finally:
        there.close()
        back.close()


def test_filters__hold_for_every_slice(api: Client, trip: tuple[Shop, Shop]) -> None:
    there, back = trip
    there.sell()
    stop = there.sell([("DEN", 500)])
    back.sell([("ORD", 90)])
    long_stop = back.sell([("ORD", 600)])
    answer = ask(api, **asked(there, back), layover="8h..20h")
    assert ids(answer) == [keys(stop, long_stop)]
    assert ask(api, **asked(there, back), layover="8h..20h", exclude="ORD")["results"] == []


def test_sort__duration__adds_up_durations(api: Client, trip: tuple[Shop, Shop]) -> None:
    there, back = trip
    slow, quick = there.sell(flying_minutes=300, price_minor=1), there.sell(price_minor=2)
    home = back.sell()
    answer = ask(api, **asked(there, back), sort="duration")
    assert ids(answer) == [keys(quick, home), keys(slow, home)]


@pytest.mark.parametrize("negotiated", [True, False])
@pytest.mark.parametrize("sort", ["price", "duration"])
def test_private_offers__another_enterprise__never_in_any_combination(
    api: Client,
    enterprise: Enterprise,
    other_enterprise: Enterprise,
    trip: tuple[Shop, Shop],
    negotiated: bool,
    sort: str,
) -> None:
    there, back = trip
    shared = there.sell(price_minor=500)
    theirs = there.sell(price_minor=1, enterprise=other_enterprise, negotiated=negotiated)
    ours = back.sell(price_minor=900, enterprise=enterprise, negotiated=negotiated)
    public = back.sell(price_minor=2_000, flying_minutes=130)
    answer = ask(api, **asked(there, back), sort=sort)
    assert ids(answer) == [keys(shared, ours), keys(shared, public)]
    assert [offer["private"] for offer in answer["results"][0]["slices"]] == [False, True]
    other = ask(tenants.make_client(other_enterprise), **asked(there, back), sort="price")
    assert ids(other) == [keys(theirs, public), keys(shared, public)]


def test_expired_offers__are_in_no_combination(api: Client, trip: tuple[Shop, Shop]) -> None:
    there, back = trip
    there.sell(expires_at=timezone.now() - timedelta(seconds=1))
    back.sell()
    assert ask(api, **asked(there, back))["results"] == []


def test_cursor__pages__walk_through_all_once(api: Client, trip: tuple[Shop, Shop]) -> None:
    there, back = trip
    for number in range(5):
        there.sell(price_minor=number // 2)
        back.sell(price_minor=number // 2)
    seen: list[Any] = []
    query = {**asked(there, back), "limit": "4"}
    for size in (4, 4, 4, 4, 4, 4, 1):
        answer = ask(api, **query)
        assert len(answer["results"]) == size
        seen += [
            (each["price_minor"], *pair)
            for each, pair in zip(answer["results"], ids(answer), strict=True)
        ]
        query["cursor"] = answer["next"]
    assert answer["next"] is None
    assert seen == sorted(seen)
    assert len(set(seen)) == 25


def test_cursor__of_another_search__is_refused(api: Client, trip: tuple[Shop, Shop]) -> None:
    there, back = trip
    for shop in trip:
        shop.sell()
        shop.sell()
    cursor = ask(api, **asked(there, back), limit="1")["next"]
    three = slices(there, back) + f",{there.origin}-{there.destination}-{back.day}"
    for query in (
        {**asked(there, back), "layover": "1h.."},
        {**asked(there, back), "sort": "duration"},
        {"slices": three},
    ):
        response = api.get(URL, {**query, "cursor": cursor})
        assert response.status_code == 400
        assert [(error["field"], error["code"]) for error in response.json()["errors"]] == [
            ("cursor", "foreign_cursor")
        ]
    same = api.get(URL, {**asked(there, back), "cursor": cursor})
    assert same.status_code == 200
    assert len(same.json()["results"]) == 3


def test_snapshot__what_others_commit_meanwhile__is_not_seen(
    enterprise: Enterprise, trip: tuple[Shop, Shop]
) -> None:
    there, _ = trip
    there.sell()
    count = "select count(*) from flight_offers where origin_airport = %(origin)s"
    with snapshot_scope(enterprise.ref, timeout_seconds=5) as fetch:
        before = fetch(count, {"origin": there.origin})
        there.sell()
        assert fetch(count, {"origin": there.origin}) == before == [(1,)]
    with snapshot_scope(enterprise.ref, timeout_seconds=5) as fetch:
        assert fetch(count, {"origin": there.origin}) == [(2,)]
    assert not connections["default"].in_atomic_block


def test_snapshot__writes__are_refused(enterprise: Enterprise) -> None:
    with snapshot_scope(enterprise.ref, timeout_seconds=5) as fetch:
        fetch("select 1", {})
        with pytest.raises(DatabaseError, match="read-only transaction"):
            fetch("insert into travellers (reference, name) values (%(name)s, '')", {"name": "a"})


def walk(tenant: TenantRef, search: dict[str, str]) -> Iterator[dict[str, Any]]:
    cursor: dict[str, str] = {}
    while True:
        zones = dict.fromkeys(
            [code for each in search["slices"].split(",") for code in each.split("-")[:2]], "UTC"
        )
        parsed = parse_itinerary_search(
            urlencode({**search, **cursor}), zones=zones, now=timezone.now()
        )
        page = json.loads(search_itineraries(tenant, parsed))
        yield from page["results"]
        if page["next"] is None:
            return
        cursor = {"cursor": page["next"]}


@pytest.fixture(scope="module")
def market() -> tuple[Enterprise, Enterprise]:
    return tenants.make_enterprise(), tenants.make_enterprise()


stock = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.integers(0, 1439),
        st.sampled_from([60, 600, 2_000]),
        st.sampled_from(["shared", "priced", "negotiated", "theirs"]),
    ),
    max_size=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    stocks=st.lists(stock, min_size=2, max_size=3),
    gaps=st.lists(st.integers(0, 2), min_size=2, max_size=2),
    sort=st.sampled_from(["price", "duration"]),
    limit=st.integers(1, 5),
)
def test_itineraries__any_offers__equal_the_reference(
    market: tuple[Enterprise, Enterprise],
    stocks: list[Any],
    gaps: list[int],
    sort: str,
    limit: int,
) -> None:
    buyer, other = market
    owners: dict[str, dict[str, Any]] = {
        "shared": {},
        "priced": {"enterprise": buyer},
        "negotiated": {"enterprise": buyer, "negotiated": True},
        "theirs": {"enterprise": other},
    }
    shops: list[Shop] = []
    try:
        visible = []
        for number, offers in enumerate(stocks):
            shop = Shop()
            if shops:
                shop.day = shops[-1].day + timedelta(days=gaps[number - 1])
            shops.append(shop)
            visible.append(
                [
                    offer
                    for price, minute, flying, owner in offers
                    for offer in [
                        shop.sell(
                            price_minor=price,
                            departure_minute=minute,
                            flying_minutes=flying,
                            **owners[owner],
                        )
                    ]
                    if owner != "theirs"
                ]
            )
        hour = timedelta(hours=1)
        expected = sorted(
            (
                sum(
                    offer.price_minor if sort == "price" else offer.duration_minutes
                    for offer in chosen
                ),
                keys(*chosen),
            )
            for chosen in product(*visible)
            if all(b.departure_at >= a.arrival_at + hour for a, b in pairwise(chosen))
        )
        search = {"slices": slices(*shops), "sort": sort, "limit": str(limit)}
        got = list(walk(buyer.ref, search))
        assert [tuple(o["id"] for o in each["slices"]) for each in got] == [
            pair for _, pair in expected
        ]
    finally:
        for shop in shops:
            shop.close()


def test_search__long_lists__reads_only_their_beginning(
    api: Client, trip: tuple[Shop, Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(combining, "FIRST_READ", 2)
    there, back = trip
    for number in range(12):
        there.sell(price_minor=100 * number)
        back.sell(price_minor=100 * number)
    read: list[int] = []
    usual = combining.Slice.grow

    def counted(self: combining.Slice) -> None:
        before = len(self.choices)
        usual(self)
        read.append(len(self.choices) - before)

    monkeypatch.setattr(combining.Slice, "grow", counted)
    assert len(ask(api, **asked(there, back), limit="1")["results"]) == 1
    assert sum(read) < 12


def parsed(**query: str) -> ItinerarySearch:
    return parse_itinerary_search(urlencode(query), zones=ZONES, now=timezone.now())


def faults(**query: str) -> set[tuple[str, str]]:
    with pytest.raises(InvalidInput) as refused:
        parsed(**query)
    return {(error.field, error.code) for error in refused.value.errors}


SOON = (timezone.now() + timedelta(days=30)).date()
LATER = SOON + timedelta(days=4)
THERE_AND_BACK = {
    "origin": "SFO",
    "destination": "JFK",
    "departure_date": SOON.isoformat(),
    "return_date": LATER.isoformat(),
}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, {(name, "required") for name in THERE_AND_BACK}),
        ({"slices": ""}, {("slices", "invalid")}),
        ({"slices": f"SFO-JFK-{SOON}"}, {("slices", "invalid")}),
        ({"slices": ",".join([f"SFO-JFK-{SOON}"] * 7)}, {("slices", "invalid")}),
        ({"slices": f"SFO-JFK-{SOON},JFK-XQX-{LATER}"}, {("slices", "unknown_airport")}),
        ({"slices": f"SFO-JFK-{SOON},JFK-JFK-{LATER}"}, {("slices", "same_airport")}),
        ({"slices": f"SFO-JFK-{LATER},JFK-SFO-{SOON}"}, {("slices", "out_of_order")}),
        ({"slices": f"SFO-JFK-{SOON},JFK-SFO-2026-13-40"}, {("slices", "impossible_date")}),
        (
            {"slices": f"SFO-JFK-{SOON},JFK-SFO-{LATER}", "origin": "SFO"},
            {("origin", "contradiction")},
        ),
        (
            {**THERE_AND_BACK, "return_date": (SOON - timedelta(days=1)).isoformat()},
            {("return_date", "out_of_order")},
        ),
        ({**THERE_AND_BACK, "return_date": "soon"}, {("return_date", "invalid")}),
        ({**THERE_AND_BACK, "destination": "QQQ"}, {("destination", "unknown_airport")}),
        (
            {**THERE_AND_BACK, "layover": "x", "limit": "0", "sort": "score", "cursor": "x"},
            {
                ("layover", "invalid"), ("limit", "invalid"), ("sort", "invalid"),
                ("cursor", "malformed_cursor"),
            },
        ),
        ({**THERE_AND_BACK, "flexible_days": "1"}, {("flexible_days", "unknown")}),
    ],
)  # fmt: skip
def test_parse__faulty__names_each_field_once(
    query: dict[str, str], expected: set[tuple[str, str]]
) -> None:
    assert faults(**query) == expected


def test_parse__six_slices__are_searches_with_all_filters() -> None:
    days = [SOON + timedelta(days=number) for number in range(6)]
    text = ",".join(
        f"{'SFO-JFK' if number % 2 == 0 else 'JFK-SFO'}-{day}" for number, day in enumerate(days)
    )
    search = parsed(slices=text, layover="8h..", via="DEN")
    assert [each.departure_date for each in search.slices] == days
    assert {each.via for each in search.slices} == {("DEN",)}
    assert {each.layover.low for each in search.slices if each.layover} == {480}


@given(st.text(max_size=60), st.text(max_size=60))
def test_parse__anything__is_refused_by_its_field(slices: str, cursor: str) -> None:
    assert {field for field, _ in faults(slices=slices, cursor=cursor)} == {"slices", "cursor"}
