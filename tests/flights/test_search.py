"""The search over stored offers: what matches, in which order, and for whom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from apps.configs.runtime import override_config
from apps.flights.grammar import FILTERS, Bounds, FlightSearch, Position, parse_flight_search
from apps.flights.models import Offer
from apps.flights.queries import search_flights
from apps.tenants.models import Enterprise
from layoverhq.tenancy import TenantRef
from tests.flights.factories import Shop
from tests.tenants import factories as tenants

SEARCH = "/api/v1/flights/search"


@pytest.fixture(autouse=True)
def no_policy() -> Iterator[None]:
    """Let layovers be as short as the tests want them."""
    with override_config({"layover.min_duration": 0}):
        yield


def found(client: Client, shop: Shop, **more: str) -> list[str]:
    """Return the ids of the one page that a search answers."""
    response = client.get(SEARCH, {**shop.asked, **more})
    assert response.status_code == 200, response.content
    return [offer["id"] for offer in response.json()["results"]]


def ids(*offers: Offer) -> list[str]:
    return [str(offer.pk) for offer in offers]


def walk(tenant: TenantRef, shop: Shop, **asked: Any) -> Iterator[list[dict[str, Any]]]:
    """Yield the pages of a search, following its cursors as a client would."""
    cursor = None
    while True:
        search = FlightSearch(shop.origin, shop.destination, shop.day, **asked)
        if cursor:
            digest, key, offer = cursor.split(".")
            assert digest == search.digest
            search = FlightSearch(
                shop.origin,
                shop.destination,
                shop.day,
                **asked,
                after=Position(int(key), UUID(offer)),
            )
        page = json.loads(search_flights(tenant, search))
        yield page["results"]
        cursor = page["next"]
        if cursor is None:
            return


def test_layover__range__means_every_layover(api: Client, shop: Shop) -> None:
    shop.sell()
    both = shop.sell([("DEN", 500), ("ORD", 600)])
    shop.sell([("DEN", 500), ("ORD", 90)])
    one = shop.sell([("ORD", 480)])
    shop.sell([("ORD", 479)])
    assert found(api, shop, layover="8h..20h") == sorted(ids(both, one))


@pytest.mark.parametrize(
    ("text", "minutes"), [("..90m", [45, 90]), ("90..", [90, 91]), ("90m..1h30m", [90])]
)
def test_layover__either_end__is_included(
    api: Client, shop: Shop, text: str, minutes: list[int]
) -> None:
    sold = {pause: shop.sell([("DEN", pause)]) for pause in (45, 90, 91)}
    assert found(api, shop, layover=text) == sorted(ids(*(sold[m] for m in minutes)))


def test_layover__range_that_includes_zero__matches_no_nonstop(api: Client, shop: Shop) -> None:
    shop.sell()
    assert found(api, shop, layover="0..") == []
    assert found(api, shop, layover="..20h") == []


def test_via__with_range__means_the_layover_there(api: Client, shop: Shop) -> None:
    longest_elsewhere = shop.sell([("DEN", 500), ("ORD", 1500)])
    shorter_elsewhere = shop.sell([("ORD", 50), ("DEN", 700)])
    shop.sell([("DEN", 90), ("ORD", 600)])
    shop.sell([("ORD", 600)])
    expected = sorted(ids(longest_elsewhere, shorter_elsewhere))
    assert found(api, shop, via="DEN", layover="8h..20h") == expected


def test_via__several_airports__means_any_of_them(api: Client, shop: Shop) -> None:
    first = shop.sell([("DEN", 100)])
    second = shop.sell([("SLC", 60), ("ORD", 600)])
    shop.sell([("SLC", 600)])
    shop.sell()
    assert found(api, shop, via="DEN,ORD") == sorted(ids(first, second))
    assert found(api, shop, via="DEN,ORD", layover="8h..") == ids(second)


def test_via__two_layovers_at_it__offer_appears_once(api: Client, shop: Shop) -> None:
    twice = shop.sell([("DEN", 100), ("ORD", 60), ("DEN", 200)])
    assert found(api, shop, via="DEN,ORD", layover="1h..5h") == ids(twice)


def test_exclude__airports__means_a_layover_at_none(api: Client, shop: Shop) -> None:
    nonstop = shop.sell()
    elsewhere = shop.sell([("SLC", 100)])
    shop.sell([("SLC", 100), ("ORD", 100)])
    shop.sell([("DEN", 100)])
    assert found(api, shop, exclude="ORD,DEN") == sorted(ids(nonstop, elsewhere))


def test_max_layovers__zero_and_one__bound_the_count(api: Client, shop: Shop) -> None:
    nonstop, one = shop.sell(), shop.sell([("DEN", 100)])
    shop.sell([("DEN", 100), ("ORD", 100)])
    assert found(api, shop, max_layovers="0") == ids(nonstop)
    assert found(api, shop, max_layovers="1") == sorted(ids(nonstop, one))


def test_price__range__is_in_dollars(api: Client, shop: Shop) -> None:
    offers = [shop.sell(price_minor=minor) for minor in (9_999, 10_000, 40_000, 40_001)]
    assert found(api, shop, price="100..400") == ids(*offers[1:3])
    assert found(api, shop, price="..99.99") == ids(offers[0])


def test_depart__range__is_on_the_origins_clock(api: Client, shop: Shop) -> None:
    offers = [shop.sell(departure_minute=minute) for minute in (359, 360, 720, 721)]
    assert found(api, shop, depart="06:00..12:00") == sorted(ids(*offers[1:3]))


def test_duration__range__counts_from_departure_to_arrival(api: Client, shop: Shop) -> None:
    shop.sell([("DEN", 841)])
    fits = shop.sell([("DEN", 840)])
    assert found(api, shop, duration="..18h") == ids(fits)
    assert found(api, shop, duration="18h..18h") == ids(fits)


def test_expired_offer__is_not_found(api: Client, shop: Shop) -> None:
    shop.sell(expires_at=timezone.now() - timedelta(seconds=1))
    living = shop.sell()
    assert found(api, shop) == ids(living)


@pytest.mark.parametrize("sort", ["price", "duration", "departure"])
def test_sort__private_and_shared__are_merged_in_order(
    api: Client, enterprise: Enterprise, shop: Shop, sort: str
) -> None:
    def offer(step: int, **owner: Any) -> Offer:
        return shop.sell(
            price_minor=10_000 + step, flying_minutes=100 + step, departure_minute=step, **owner
        )

    offers = [
        offer(3),
        offer(4, enterprise=enterprise),
        offer(1, enterprise=enterprise, negotiated=True),
        offer(2),
        offer(5, enterprise=enterprise, negotiated=True),
    ]
    response = api.get(SEARCH, {**shop.asked, "sort": sort}).json()
    expected = [offers[place] for place in (2, 3, 0, 1, 4)]
    assert [result["id"] for result in response["results"]] == ids(*expected)
    assert [result["private"] for result in response["results"]] == [
        True, False, False, True, True,
    ]  # fmt: skip
    assert response["next"] is None


@pytest.mark.parametrize("negotiated", [True, False])
@pytest.mark.parametrize("sort", ["price", "duration", "departure"])
def test_private_offer__another_enterprise__never_sees_it(
    api: Client,
    other_enterprise: Enterprise,
    shop: Shop,
    negotiated: bool,
    sort: str,
) -> None:
    theirs = shop.sell([("DEN", 100)], enterprise=other_enterprise, negotiated=negotiated)
    ours = shop.sell([("DEN", 100)], price_minor=90_000)
    assert found(api, shop, sort=sort) == ids(ours)
    assert found(tenants.make_client(other_enterprise), shop, sort="price") == ids(theirs, ours)


def test_private_offer__runtime_role_without_context__sees_shared_ones_only(
    app_role: psycopg.Connection[Any], enterprise: Enterprise, shop: Shop
) -> None:
    shared = shop.sell([("DEN", 100)])
    shop.sell([("DEN", 100)], enterprise=enterprise)
    shop.sell([("DEN", 100)], enterprise=enterprise, negotiated=True)
    keys = [offer.pk for offer in shop.made]
    for table, key in [
        ("flights", "id"),
        ("flight_layovers", "flight_id"),
        ("flight_offers", "id"),
    ]:
        statement = sql.SQL(
            "select {key} from {table} where departure_day = %s and {key} = any(%s)"
        ).format(key=sql.Identifier(key), table=sql.Identifier(table))
        assert app_role.execute(statement, [shop.day, keys]).fetchall() == [(shared.pk,)]
    assert app_role.execute("select count(*) from enterprise_flights").fetchone() == (0,)


@pytest.mark.parametrize("table", ["flights", "enterprise_flights", "flight_layovers"])
@pytest.mark.parametrize("verb", ["delete from {}", "update {} set departure_day = departure_day"])
def test_offers__runtime_role__may_not_write(
    app_role: psycopg.Connection[Any], table: str, verb: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app_role.execute(sql.SQL(verb).format(sql.Identifier(table)))


def test_partition__addressed_directly__is_refused(app_role: psycopg.Connection[Any]) -> None:
    partitions = app_role.execute(
        "select c.oid::regclass::text from pg_inherits i join pg_class c on c.oid = i.inhrelid"
        " where i.inhparent = any(%s::regclass[])",
        [["flights", "enterprise_flights", "flight_layovers"]],
    ).fetchall()
    assert len(partitions) > 10
    for (name,) in partitions:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app_role.execute(sql.SQL("select from {}").format(sql.Identifier(name)))


@pytest.mark.parametrize("sort", ["price", "duration", "departure"])
def test_cursor__walk_over_ties__neither_repeats_nor_skips(
    enterprise: Enterprise, shop: Shop, sort: str
) -> None:
    for number in range(23):
        owner = {"enterprise": enterprise, "negotiated": number % 2 == 0} if number % 3 else {}
        shop.sell(price_minor=10_000 + number // 8, **owner)
    pages = list(walk(enterprise.ref, shop, sort=sort, limit=4))
    assert [len(page) for page in pages] == [4, 4, 4, 4, 4, 3]
    seen = [(offer["price_minor"], offer["id"]) for page in pages for offer in page]
    assert len(set(seen)) == 23
    expected = [(offer.price_minor, str(offer.pk)) for offer in shop.made]
    if sort == "price":
        assert seen == sorted(expected)
    else:
        assert [key for _, key in seen] == sorted(key for _, key in expected)


def test_cursor__page_that_is_just_full__ends_the_walk(
    api: Client, enterprise: Enterprise, shop: Shop
) -> None:
    for number in range(4):
        shop.sell(price_minor=number)
    first = api.get(SEARCH, {**shop.asked, "limit": "2"}).json()
    second = api.get(SEARCH, {**shop.asked, "limit": "2", "cursor": first["next"]}).json()
    assert [offer["price_minor"] for offer in first["results"] + second["results"]] == [0, 1, 2, 3]
    assert second["next"] is None


def test_search__shared_offers__are_found_by_their_index_under_row_security(
    app_role: psycopg.Connection[Any], enterprise: Enterprise, shop: Shop
) -> None:
    shop.sell()
    app_role.execute("begin")
    app_role.execute(
        "select set_config('app.current_enterprise_id', %s, true)", [str(enterprise.pk)]
    )
    # An empty table is cheaper to scan: what counts is that policies do not forbid the index.
    app_role.execute("set local enable_seqscan = off")
    plan = "\n".join(
        line
        for (line,) in app_role.execute(
            sql.SQL(
                "explain select * from shared_offers where origin_airport = {} and"
                " destination_airport = {} and departure_day = {} and (price_minor, id) > (0, {})"
                " order by price_minor, id limit 21"
            ).format(shop.origin, shop.destination, shop.day, UUID(int=0))
        )
    )
    app_role.execute("rollback")
    assert "Index Cond: ((origin_airport = " in plan
    assert "ROW(price_minor, id) > ROW(" in plan
    assert "Sort" not in plan


@pytest.fixture(scope="module")
def market() -> tuple[Enterprise, Enterprise]:
    return tenants.make_enterprise(), tenants.make_enterprise()


HUBS = ["DEN", "ORD", "SLC"]
# Few values, so that layovers often meet the ends of a range.
pauses = st.sampled_from([0, 45, 90, 91, 300])
# An airport, its minutes, and what is known of the ground: usable, daylight, overnight.
known = st.tuples(
    st.sampled_from([0, 45, 60, 90, 300]), st.sampled_from([0, 45, 60, 90]), st.booleans()
)


@st.composite
def stop(draw: st.DrawFn) -> tuple[tuple[str, int], tuple[int, int, bool]]:
    pause = draw(pauses)
    usable, daylight, overnight = draw(known)
    hub = draw(st.sampled_from(HUBS))
    return (hub, pause), (min(usable, pause), min(daylight, pause), overnight)


stops = st.lists(stop(), max_size=3)
offers = st.lists(
    st.tuples(
        stops,
        st.lists(st.sampled_from(["AA", "BB"]), min_size=1, max_size=2),
        st.sampled_from(["", "economy", "business"]),
        st.booleans(),
        st.booleans(),
        st.integers(0, 3),
        st.integers(0, 1439),
        st.sampled_from(["shared", "priced", "negotiated", "theirs"]),
    ),
    max_size=8,
)
bounds = st.none() | st.tuples(st.none() | pauses, st.none() | pauses).filter(
    lambda ends: ends != (None, None)
).map(lambda ends: Bounds(*ends))
hubs = st.sets(st.sampled_from(HUBS), max_size=2).map(lambda chosen: tuple(sorted(chosen)))
airlines = st.sets(st.sampled_from(["AA", "BB"]), max_size=1).map(tuple)
searches = st.fixed_dictionaries(
    {
        "max_layovers": st.none() | st.integers(0, 3),
        "via": hubs,
        "exclude": hubs,
        "layover": bounds,
        "duration": st.none() | st.just(Bounds(None, 500)) | st.just(Bounds(300, None)),
        "price": st.none() | st.just(Bounds(1, 2)),
        "depart": st.none() | st.just(Bounds(360, 720)),
        "usable": bounds,
        "daylight": st.booleans(),
        "overnight": st.none() | st.booleans(),
        "carriers": airlines,
        "exclude_carriers": airlines,
        "cabin": st.sampled_from([None, None, "economy", "business"]),
        "self_transfer": st.none() | st.booleans(),
        "terminal_change": st.none() | st.booleans(),
        "explain": st.booleans(),
        "sort": st.sampled_from(["price", "duration", "departure"]),
        "limit": st.integers(1, 4),
    }
)


def matches(offer: Offer, asked: dict[str, Any]) -> bool:
    """Say in Python what the SQL says."""

    def within(value: int, ends: Bounds[int] | None) -> bool:
        return ends is None or (
            (ends.low is None or value >= ends.low) and (ends.high is None or value <= ends.high)
        )

    layovers = [(each["airport"], each["minutes"]) for each in offer.layovers]
    lit = "daylight_minutes" if asked["daylight"] else "usable_minutes"
    usable = asked["usable"] or (Bounds(60, None) if asked["daylight"] else None)
    if asked["via"]:
        fits = any(
            stop["airport"] in asked["via"]
            and within(stop["minutes"], asked["layover"])
            and within(stop[lit], usable)
            and asked["overnight"] in (None, stop.get("overnight", False))
            for stop in offer.layovers
        )
    else:
        fits = (
            asked["layover"] is None
            or (
                bool(layovers) and all(within(minutes, asked["layover"]) for _, minutes in layovers)
            )
        ) and asked["overnight"] in (None, offer.overnight)
        most = max((stop[lit] for stop in offer.layovers), default=None)
        fits = fits and (usable is None or (most is not None and within(most, usable)))
    return (
        fits
        and (not asked["carriers"] or set(offer.carriers) <= set(asked["carriers"]))
        and not set(offer.carriers) & set(asked["exclude_carriers"])
        and asked["cabin"] in (None, offer.cabin)
        and asked["self_transfer"] in (None, offer.self_transfer)
        and asked["terminal_change"] in (None, offer.terminal_change)
        and (asked["max_layovers"] is None or len(layovers) <= asked["max_layovers"])
        and not any(airport in asked["exclude"] for airport, _ in layovers)
        and within(offer.duration_minutes, asked["duration"])
        and within(offer.price_minor, asked["price"])
        and within(offer.departure_minute, asked["depart"])
    )


def left_out(asked: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the search without each of its filters."""
    plain = asdict(FlightSearch("", "", date.min))
    return {name: {**asked, name: plain[name]} for name in FILTERS if asked[name] != plain[name]}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stock=offers, asked=searches)
def test_search__any_offers__equals_the_reference(
    market: tuple[Enterprise, Enterprise], stock: list[Any], asked: dict[str, Any]
) -> None:
    buyer, other = market
    owners: dict[str, dict[str, Any]] = {
        "shared": {},
        "priced": {"enterprise": buyer},
        "negotiated": {"enterprise": buyer, "negotiated": True},
        "theirs": {"enterprise": other},
    }
    shop = Shop()
    try:
        visible = [
            offer
            for layovers, carriers, cabin, self_transfer, change, price, minute, owner in stock
            for offer in [
                shop.sell(
                    [place for place, _ in layovers],
                    ground=[left for _, left in layovers],
                    carriers=carriers,
                    cabin=cabin,
                    self_transfer=self_transfer,
                    terminal_change=change,
                    price_minor=price,
                    departure_minute=minute,
                    **owners[owner],
                )
            ]
            if owner != "theirs"
        ]
        keys = {
            "price": lambda offer: offer.price_minor,
            "duration": lambda offer: offer.duration_minutes,
            "departure": lambda offer: offer.departure_at,
        }
        key = keys[asked["sort"]]
        expected = sorted(
            (offer for offer in visible if matches(offer, asked)),
            key=lambda offer: (key(offer), offer.pk),
        )
        got = [offer for page in walk(buyer.ref, shop, **asked) for offer in page]
        assert [offer["id"] for offer in got] == ids(*expected)
        if not expected:
            search = FlightSearch(shop.origin, shop.destination, shop.day, **asked)
            told = json.loads(search_flights(buyer.ref, search))["empty"]
            assert told["offers"] == len(visible)
            found = {each["parameter"]: each["found_without"] for each in told["filters"]}
            assert found.keys() <= left_out(asked).keys()
            for name, rest in left_out(asked).items():
                number = sum(matches(offer, rest) for offer in visible)
                assert found.get(name, 0) == number, name
    finally:
        shop.close()


def test_search__answer_of_an_offer__has_all_that_the_schema_promises(
    api: Client, shop: Shop
) -> None:
    offer = shop.sell([("DEN", 500), ("ORD", 60)], price_minor=12_345, modelled=True)
    response = api.get(SEARCH, shop.asked)
    assert response["Content-Type"] == "application/json"
    (result,) = response.json()["results"]
    untold = {"segments", "seen_at", "age_minutes"}
    assert result["age_minutes"] >= 0
    assert {name: result[name] for name in result if name not in untold} == {
        "id": str(offer.pk),
        "provider": "test",
        "private": False,
        "origin": shop.origin,
        "destination": shop.destination,
        "departs_at": offer.segments[0]["departs_at"],
        "arrives_at": offer.segments[2]["arrives_at"],
        "duration_minutes": 920,
        "price_minor": 12_345,
        "price_currency": "USD",
        "layover_count": 2,
        "layovers": [{"airport": "DEN", "minutes": 500}, {"airport": "ORD", "minutes": 60}],
        "self_transfer": False,
        "modelled": ["arrival_time", "date", "fare", "carrier"],
        "expires_at": offer.expires_at.isoformat(),
    }
    assert result["segments"] == offer.segments


def test_parsed_query__and_search__mean_the_same(shop: Shop) -> None:
    zones = dict.fromkeys((shop.origin, shop.destination, "DEN"), "UTC")
    query = "&".join(f"{name}={value}" for name, value in shop.asked.items())
    parsed = parse_flight_search(query + "&via=DEN&layover=1h..", zones=zones, now=timezone.now())
    assert parsed == FlightSearch(
        shop.origin, shop.destination, shop.day, via=("DEN",), layover=Bounds(60, None)
    )
