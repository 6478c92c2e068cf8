"""The price calendar: the cheapest of each day, and there and back around two dates."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.flights import plans
from apps.flights.fare_calendar import parse_calendar_search
from apps.flights.models import Offer
from apps.tenants.models import Enterprise
from layoverhq.errors import InvalidInput
from layoverhq.tenancy import snapshot_scope
from tests.flights.factories import Shop
from tests.tenants import factories as tenants

URL = "/api/v1/flights/calendar"


@pytest.fixture
def week() -> Iterator[list[Shop]]:
    """A route on seven days of next month."""
    first = (timezone.now().date().replace(day=1) + timedelta(days=32)).replace(day=8)
    one = Shop(day=first)
    shops = [one] + [
        Shop(one.origin, one.destination, first + timedelta(days=shift)) for shift in range(1, 7)
    ]
    yield shops
    for shop in shops:
        shop.close()


def month_of(shop: Shop) -> dict[str, str]:
    return {
        "origin": shop.origin,
        "destination": shop.destination,
        "month": shop.day.strftime("%Y-%m"),
    }


def ask(client: Client, **query: str) -> list[dict[str, Any]]:
    response = client.get(URL, query)
    assert response.status_code == 200, response.content
    return list(response.json()["results"])


def priced(days: list[dict[str, Any]]) -> dict[str, tuple[int, str]]:
    return {
        each["date"]: (each["price_minor"], each["offer_id"])
        for each in days
        if each["price_minor"] is not None
    }


def told(offer: Offer) -> tuple[int, str]:
    return offer.price_minor, str(offer.pk)


def test_month__every_day__has_its_cheapest_offer_or_nulls(api: Client, week: list[Shop]) -> None:
    first = week[0]
    first.sell(price_minor=300)
    cheap = first.sell(price_minor=200)
    other = week[3].sell(price_minor=100)
    week[4].sell(expires_at=timezone.now() - timedelta(seconds=1))
    days = ask(api, **month_of(first))
    length = calendar.monthrange(first.day.year, first.day.month)[1]
    assert [each["date"] for each in days] == [
        first.day.replace(day=number).isoformat() for number in range(1, length + 1)
    ]
    assert priced(days) == {
        first.day.isoformat(): told(cheap),
        week[3].day.isoformat(): told(other),
    }
    empty = days[first.day.day]
    assert {empty[name] for name in ("price_minor", "price_currency", "offer_id", "seen_at")} == {
        None
    }
    assert days[first.day.day - 1]["price_currency"] == "USD"
    assert days[first.day.day - 1]["seen_at"] is not None


def test_month__filters__hold_for_every_day(api: Client, week: list[Shop]) -> None:
    week[0].sell(price_minor=100)
    stop = week[0].sell([("DEN", 500)], price_minor=400)
    week[1].sell([("ORD", 500)], price_minor=100)
    days = ask(api, **month_of(week[0]), layover="8h..20h", via="DEN")
    assert priced(days) == {week[0].day.isoformat(): told(stop)}


@pytest.mark.parametrize("negotiated", [True, False])
def test_month__private_offers__are_their_enterprises_alone(
    api: Client,
    enterprise: Enterprise,
    other_enterprise: Enterprise,
    week: list[Shop],
    negotiated: bool,
) -> None:
    shop = week[0]
    theirs = shop.sell(price_minor=1, enterprise=other_enterprise, negotiated=negotiated)
    ours = shop.sell(price_minor=50, enterprise=enterprise, negotiated=negotiated)
    shared = shop.sell(price_minor=80)
    day = shop.day.isoformat()
    assert priced(ask(api, **month_of(shop))) == {day: told(ours)}
    other = tenants.make_client(other_enterprise)
    assert priced(ask(other, **month_of(shop))) == {day: told(theirs)}
    nobody = tenants.make_client(tenants.make_enterprise())
    assert priced(ask(nobody, **month_of(shop))) == {day: told(shared)}


def test_month__this_one__leaves_out_the_days_that_are_past(api: Client) -> None:
    today = timezone.now().date()
    query = {"origin": "LHR", "destination": "JFK", "month": today.strftime("%Y-%m")}
    days = [date.fromisoformat(each["date"]) for each in ask(api, **query)]
    assert abs((days[0] - today).days) <= 1
    assert days == [days[0] + timedelta(days=shift) for shift in range(len(days))]


def test_around__return_trip__has_the_cheapest_pair_of_each_pair_of_days(
    api: Client, week: list[Shop]
) -> None:
    there, home = week[0], Shop(week[0].destination, week[0].origin, week[6].day)
    early = Shop(home.origin, home.destination, week[0].day)
    try:
        there.sell(price_minor=300)
        cheap = there.sell(price_minor=200)
        back = home.sell(price_minor=500)
        # Leaves before anybody has come.
        early.sell(price_minor=1, departure_minute=0)
        query = {**there.asked, "return_date": (home.day - timedelta(days=1)).isoformat()}
        pairs = ask(api, **query)
        found = [each for each in pairs if each["price_minor"] is not None]
        assert [
            (each["departure_date"], each["return_date"], each["price_minor"], each["offer_ids"])
            for each in found
        ] == [(there.day.isoformat(), home.day.isoformat(), 700, [str(cheap.pk), str(back.pk)])]
        assert all(each["departure_date"] <= each["return_date"] for each in pairs)
        assert len(pairs) == len({(e["departure_date"], e["return_date"]) for e in pairs})
        assert 40 <= len(pairs) <= 49
    finally:
        home.close()
        early.close()


def test_month__over_at_the_origin_and_not_in_utc__is_past() -> None:
    zones = {"AKL": "Pacific/Auckland", "LAX": "America/Los_Angeles"}
    now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    with pytest.raises(InvalidInput) as refused:
        parse_calendar_search("origin=AKL&destination=LAX&month=2026-11", zones=zones, now=now)
    assert [(error.field, error.code) for error in refused.value.errors] == [("month", "past")]
    asked = parse_calendar_search("origin=LAX&destination=AKL&month=2026-11", zones=zones, now=now)
    assert asked.days == (date(2026, 11, 30),)


def test_around__over_the_date_line__has_ways_back_of_the_day_before(
    api: Client, shop: Shop
) -> None:
    # From Samoa one lands in American Samoa on the day before.
    there = Shop("APW", "PPG", shop.day)
    back = Shop("PPG", "APW", shop.day - timedelta(days=1))
    try:
        out = there.sell(price_minor=200, departure_minute=480, flying_minutes=45)
        home = back.sell(price_minor=300, departure_minute=1_200, flying_minutes=45)
        query = {**there.asked, "return_date": back.day.isoformat()}
        found = [each for each in ask(api, **query) if each["price_minor"] is not None]
        assert [
            (each["departure_date"], each["return_date"], each["offer_ids"]) for each in found
        ] == [(there.day.isoformat(), back.day.isoformat(), [str(out.pk), str(home.pk)])]
        (both,) = api.get("/api/v1/flights/itineraries", query).json()["results"]
        assert [each["id"] for each in both["slices"]] == [str(out.pk), str(home.pk)]
        # The other way round a day is lost.
        wrong = {**back.asked, "return_date": (back.day - timedelta(days=1)).isoformat()}
        response = api.get("/api/v1/flights/itineraries", wrong)
        assert [error["code"] for error in response.json()["errors"]] == ["out_of_order"]
    finally:
        there.close()
        back.close()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            {},
            {("month", "required"), ("origin", "required"), ("destination", "required")},
        ),
        (
            {"origin": "SFO", "destination": "SFO", "month": "2026-13"},
            {("month", "invalid"), ("destination", "same_airport")},
        ),
        ({"origin": "SFO", "destination": "JFK", "month": "2020-01"}, {("month", "past")}),
        ({"origin": "SFO", "destination": "JFK", "month": "9999-12"}, {("month", "too_far")}),
        ({"origin": "SFO", "destination": "JFK", "month": "0000-12"}, {("month", "invalid")}),
        (
            {"origin": "SFO", "destination": "JFK", "month": "2027-01", "sort": "price"},
            {("sort", "unknown")},
        ),
        (
            {"origin": "SFO", "destination": "JFK", "month": "x", "return_date": "2027-01-01"},
            {("month", "contradiction"), ("departure_date", "required")},
        ),
        (
            {"origin": "QQQ", "destination": "JFK", "month": "2027-01", "layover": "1"},
            {("origin", "unknown_airport"), ("layover", "invalid")},
        ),
    ],
)
def test_calendar__faulty__names_every_field(
    api: Client, query: dict[str, str], expected: set[tuple[str, str]]
) -> None:
    response = api.get(URL, query)
    assert response.status_code == 400
    assert {(error["field"], error["code"]) for error in response.json()["errors"]} == expected


def test_calendar__its_plan__ends_each_day_with_the_first_match_by_the_index(
    enterprise: Enterprise, week: list[Shop]
) -> None:
    for number in range(60):
        week[0].sell(price_minor=1_000 + number)
    with snapshot_scope(enterprise.ref, timeout_seconds=10) as fetch:
        (plan,) = plans.explained(
            fetch,
            "price_calendar",
            {
                "asked": {
                    "origin": week[0].origin,
                    "destination": week[0].destination,
                    "departure_days": [week[0].day.isoformat()],
                },
                "days": [shop.day.isoformat() for shop in week],
            },
        )
    assert "Seq Scan" not in plan.text
    walked = re.findall(
        r"Index Scan using (flights_y\w+_origin_airport\w+).*rows=([\d.]+) loops=7", plan.text
    )
    assert walked, plan.text
    # Sixty offers stand on one of the seven days: a walk ends with the first.
    assert all(float(rows) <= 1 for _, rows in walked)
    assert "plan_cache_mode = 'force_generic_plan'" in plan.text
