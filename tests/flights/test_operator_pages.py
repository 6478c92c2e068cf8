"""Operators' pages: routes, popular routes, partitions, and the search as an enterprise has it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connections
from django.test import Client
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.configs.runtime import configs
from apps.flights import plans
from apps.flights.grammar import FlightSearch
from apps.flights.layover_search import LayoverSearch, layover_arguments
from apps.flights.models import PopularLayoverRoute, RouteDay, RouteDayRefresh
from apps.flights.popularity import refresh_route_day
from apps.flights.queries import asked_record, search_record
from apps.tenants.models import Enterprise, User
from layoverhq.tenancy import operator_scope, snapshot_scope
from tests.flights.factories import Shop
from tests.tenants import factories

PLAYGROUND = "/admin/flights/searchplayground/"
ROUTES = "/admin/flights/routeday/"
POPULAR = "/admin/flights/popularlayoverroute/"
PARTITIONS = "/admin/flights/partitionsize/"


@pytest.fixture
def counted(shop: Shop) -> Iterator[Shop]:
    """A shop with six offers whose routes are counted."""
    for number in range(5):
        shop.sell([("DEN", 100 + number)], price_minor=10_000)
    shop.sell(price_minor=9_000)
    with operator_scope():
        refresh_route_day(day=shop.day, now=timezone.now())
    yield shop
    with operator_scope():
        for model in (RouteDay, RouteDayRefresh, PopularLayoverRoute):
            model.objects.all().delete()


def operator_with(*codenames: str) -> Client:
    user = factories.make_operator(superuser=False)
    with operator_scope():
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return factories.make_admin_client(user)


def readings(enterprise: Enterprise) -> list[AuditEvent]:
    with operator_scope():
        return list(
            AuditEvent.objects.filter(
                enterprise_id=enterprise.pk, operation="READ", table_name="flights"
            )
        )


def ask(client: Client, enterprise: Enterprise, kind: str = "search", **fields: str) -> Any:
    return client.post(
        f"{PLAYGROUND}?kind={kind}",
        {"enterprise": enterprise.slug, "reason": "a support case", **fields},
    )


def test_playground__search__answers_as_the_enterprise_and_leaves_a_trace(
    admin_client: Client, enterprise: Enterprise, other_enterprise: Enterprise, shop: Shop
) -> None:
    shop.sell(price_minor=30_000)
    shop.sell(price_minor=12_345, enterprise=enterprise, negotiated=True)
    shop.sell(price_minor=1, enterprise=other_enterprise, negotiated=True)

    response = ask(admin_client, enterprise, **shop.asked)

    page = response.content.decode()
    assert response.status_code == 200
    assert [row["price"] for row in response.context["rows"]] == ["123.45 USD", "300.00 USD"]
    ours, theirs = (str(offer.pk) for offer in shop.made[1:])
    assert ours in page
    assert theirs not in page
    assert [row["private"] for row in response.context["rows"]] == [True, False]
    assert response.context["tried"].milliseconds > 0
    assert response.context["tried"].plans == ()
    (event,) = readings(enterprise)
    assert event.reason == "a support case"
    assert event.row_id == f"/flights/search?{response.context['query']}"
    assert f"origin={shop.origin}" in event.row_id
    assert event.user_id is not None
    assert not readings(other_enterprise)


def test_playground__with_the_plan__shows_that_of_the_functions_own_statement(
    admin_client: Client, enterprise: Enterprise, shop: Shop
) -> None:
    shop.sell()
    response = ask(admin_client, enterprise, plan="on", **shop.asked)
    (plan,) = response.context["tried"].plans
    assert "Buffers: shared hit" in plan.text
    assert "plan_cache_mode = 'force_generic_plan'" in plan.text
    assert "actual time" in plan.text
    assert "flights_y" in plan.text
    assert "Execution Time" in response.content.decode()


@pytest.mark.parametrize("kind", ["itineraries", "calendar", "layovers"])
def test_playground__other_searches__are_answered_with_their_plans(
    admin_client: Client, enterprise: Enterprise, shop: Shop, kind: str
) -> None:
    back = Shop(shop.destination, shop.origin, shop.day + timedelta(days=2))
    try:
        shop.sell([("DEN", 400)])
        back.sell()
        fields: dict[str, dict[str, str]] = {
            "itineraries": {**shop.asked, "return_date": back.day.isoformat()},
            "calendar": {
                "origin": shop.origin,
                "destination": shop.destination,
                "month": shop.day.strftime("%Y-%m"),
            },
            "layovers": {"airport": "DEN", "date": shop.day.isoformat()},
        }
        response = ask(admin_client, enterprise, kind, plan="on", **fields[kind])
        assert response.status_code == 200
        tried = response.context["tried"]
        assert tried.answer["results"] or kind == "layovers"
        assert len(tried.plans) == (2 if kind == "itineraries" else 1)
        assert all("Execution Time" in plan.text for plan in tried.plans)
    finally:
        back.close()


def test_playground__faulty__names_the_field_and_reads_nothing(
    admin_client: Client, enterprise: Enterprise, shop: Shop
) -> None:
    faulty = ask(admin_client, enterprise, **{**shop.asked, "layover": "long"})
    assert faulty.context["form"].errors["layover"]
    unknown = admin_client.post(
        PLAYGROUND, {"enterprise": "nobody-here", "reason": "a support case", **shop.asked}
    )
    assert unknown.context["form"].errors["enterprise"] == ["There is no such enterprise."]
    silent = ask(admin_client, enterprise, **{**shop.asked, "reason": ""})
    assert silent.context["form"].errors["reason"]
    for response in (faulty, unknown, silent):
        assert response.status_code == 200
        assert response.context["tried"] is None
    assert not readings(enterprise)


def test_playground__too_slow__says_so_and_keeps_the_trace(
    admin_client: Client, enterprise: Enterprise, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = configs.get

    def hurried(key: str, *args: Any) -> Any:
        return 0.001 if key == "flight.search_timeout" else usual(key, *args)

    monkeypatch.setattr(configs, "get", hurried)
    for connection in connections.all():
        # A plan that is not kept yet takes longer than a millisecond to make.
        connection.close()
    response = ask(admin_client, enterprise, **shop.asked)
    assert response.status_code == 200
    assert response.context["tried"] is None
    assert "took longer" in response.content.decode()
    assert len(readings(enterprise)) == 1


def test_playground__permission__is_its_own(enterprise: Enterprise, shop: Shop) -> None:
    stranger = operator_with("view_flight")
    assert stranger.get(PLAYGROUND).status_code == 403
    assert ask(stranger, enterprise, **shop.asked).status_code == 403
    assert not readings(enterprise)
    allowed = operator_with("view_searchplayground")
    assert ask(allowed, enterprise, **shop.asked).status_code == 200
    assert len(readings(enterprise)) == 1


def test_plans__a_failing_query__leaves_nothing_prepared(
    enterprise: Enterprise, shop: Shop
) -> None:
    bad = {**search_record(FlightSearch(shop.origin, shop.destination, shop.day))}
    bad["page_size"] = -5
    with snapshot_scope(enterprise.ref, timeout_seconds=10) as fetch:
        with pytest.raises(Exception, match="LIMIT must not be negative"):
            plans.explained(fetch, "slice_offers", {"asked": bad})
        assert fetch("select count(*) from pg_prepared_statements", {}) == [(0,)]


@pytest.mark.parametrize("sort", ["usable", "price"])
def test_plans__of_each_branch__are_of_the_one_that_runs(
    enterprise: Enterprise, shop: Shop, sort: str
) -> None:
    search = LayoverSearch("DEN", shop.day, sort=sort)
    with snapshot_scope(enterprise.ref, timeout_seconds=10) as fetch:
        (plan,) = plans.explained(
            fetch, "search_layovers", layover_arguments(enterprise.ref, search)
        )
    assert ("usable_minutes desc" in plan.statement) == (sort == "usable")
    assert "into" not in plan.statement.split()


@pytest.mark.parametrize(
    ("asked", "statements"),
    [
        ({"sort": "price"}, ["arms.offer"]),
        ({"sort": "duration"}, ["o.duration_minutes"]),
        ({"sort": "price", "explain": True}, ["min(o.price_minor)", "explained_offer"]),
        ({"sort": "score"}, ["min(o.price_minor)", "components_of("]),
    ],
)
def test_plans__of_the_search__are_of_the_statements_that_run(
    enterprise: Enterprise, shop: Shop, asked: dict[str, Any], statements: list[str]
) -> None:
    shop.sell([("DEN", 400)])
    search = FlightSearch(shop.origin, shop.destination, shop.day, **asked)
    with snapshot_scope(enterprise.ref, timeout_seconds=10) as fetch:
        found = plans.explained(
            fetch, "search_flights", {"asked": asked_record(enterprise.ref, search)}
        )
    assert len(found) == len(statements)
    for plan, words in zip(found, statements, strict=True):
        assert words in plan.statement
        assert "rows=1.00" in plan.text


def test_routes__list__links_to_the_offers_behind_each_number(
    admin_client: Client, counted: Shop
) -> None:
    query = {"origin_airport": counted.origin.lower(), "day": counted.day.isoformat()}
    page = admin_client.get(ROUTES, query).content.decode()
    link = (
        f"/admin/flights/flight/?origin_airport={counted.origin}"
        f"&amp;destination_airport={counted.destination}&amp;day={counted.day}"
    )
    assert link in page
    assert ">6</a>" in page
    assert "90.00 USD" in page
    assert "DEN 5" in page
    offers = admin_client.get(link.replace("&amp;", "&"))
    assert len(offers.context["cl"].result_list) == 6
    with operator_scope():
        route = RouteDay.objects.get(origin_airport=counted.origin)
    assert "Counted at" in admin_client.get(f"{ROUTES}{route.pk}/change/").content.decode()
    other_day = {**query, "day": (counted.day + timedelta(days=1)).isoformat()}
    assert link not in admin_client.get(ROUTES, other_day).content.decode()


def test_popular_routes__list__has_the_counted_figures(admin_client: Client, counted: Shop) -> None:
    response = admin_client.get(POPULAR, {"origin_airport": counted.origin})
    page = response.content.decode()
    assert f"{counted.origin} → {counted.destination}" in page
    assert "100.00 USD" in page
    assert f"/admin/flights/routeday/?origin_airport={counted.origin}" in page


def test_popular_routes__count_now__needs_its_permission(
    monkeypatch: pytest.MonkeyPatch, admin_client: Client
) -> None:
    queued: list[str] = []
    monkeypatch.setattr("apps.flights.admin.searching.enqueue", queued.append)
    viewer = operator_with("view_popularlayoverroute")
    assert viewer.post(f"{POPULAR}refresh/", {"_form_submitted": "True"}).status_code == 403
    assert queued == []
    admin_client.post(f"{POPULAR}refresh/", {"_form_submitted": "True"})
    assert queued == ["apps.flights.tasks.refresh_popular_routes"]


def test_partitions__list_and_page__tell_sizes_bounds_and_indexes(admin_client: Client) -> None:
    page = admin_client.get(PARTITIONS, {"parent": "flights"}).content.decode()
    month = timezone.now().strftime("flights_y%Ym%m")
    assert month in page
    assert "flight_layovers_y" not in page
    one = admin_client.get(f"{PARTITIONS}{month}/change/").content.decode()
    assert "FOR VALUES FROM" in one
    assert "CREATE INDEX" in one
    assert "partition-indexes" in one
    everything = admin_client.get(PARTITIONS).content.decode()
    assert "enterprise_flights_h0" in everything


def test_operator__who_made_it__is_in_the_trail(enterprise: Enterprise, shop: Shop) -> None:
    user: User = factories.make_operator()
    ask(factories.make_admin_client(user), enterprise, **shop.asked)
    (event,) = readings(enterprise)
    assert event.user_id == user.pk


def test_search_support__as_seeded__may_do_all_of_this(
    enterprise: Enterprise, counted: Shop
) -> None:
    user = factories.make_operator(superuser=False)
    with operator_scope():
        user.groups.add(Group.objects.get(name="Search support"))
    client = factories.make_admin_client(user)
    for page in (PLAYGROUND, ROUTES, POPULAR, PARTITIONS):
        assert client.get(page).status_code == 200
    assert ask(client, enterprise, **counted.asked).context["tried"] is not None
    assert client.get("/admin/tenants/apikey/").status_code == 403
