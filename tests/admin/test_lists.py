"""Lists that are never counted: offers and the audit log, page by page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from itertools import chain
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.flights.models import EnterpriseFlight, Flight, Offer
from apps.tenants.models import Enterprise
from apps.tenants.operations import change_enterprise
from layoverhq.tenancy import operator_scope
from tests.flights.factories import Shop
from tests.tenants import factories

FLIGHTS = "/admin/flights/flight/"
AUDIT = "/admin/audit/auditevent/"
Sell = Callable[..., Offer]


def today() -> date:
    return timezone.now().date()


@pytest.fixture
def sell() -> Iterator[Sell]:
    """Put offers up, by default tomorrow's from JFK over DEN to LAX; they are gone afterwards."""
    shops: list[Shop] = []

    def sell_one(
        enterprise: Enterprise, *, days: int = 1, route: str = "JFK LAX", negotiated: bool = False
    ) -> Offer:
        shops.append(Shop(*route.split(), day=today() + timedelta(days=days)))
        return shops[-1].sell(
            [("DEN", 120)],
            enterprise=enterprise,
            negotiated=negotiated,
            price_minor=12_345,
            modelled=True,
        )

    yield sell_one
    for shop in shops:
        shop.close()


def walk(client: Client, url: str, rel: str) -> list[list[Any]]:
    """Return the keys of every page along the links."""
    pages = []
    while url:
        response = client.get(url)
        assert response.status_code == 200
        pages.append([row.pk for row in response.context["cl"].result_list])
        found = re.search(rf'href="([^"]+)" rel="{rel}"', response.content.decode())
        path = response.request["PATH_INFO"]
        url = path + found[1].replace("&amp;", "&") if found else ""
    return pages


@pytest.fixture
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for model in (Flight, AuditEvent):
        monkeypatch.setattr(admin.site._registry[model], "list_per_page", 2)


@pytest.mark.usefixtures("_small_pages")
def test_flights__five_on_pages_of_two__are_walked_both_ways_without_a_count(
    admin_client: Client, enterprise: Enterprise, sell: Sell
) -> None:
    made = [sell(enterprise) for _ in range(4)]
    made.append(sell(enterprise, days=3))
    url = f"{FLIGHTS}?enterprise={enterprise.slug}"
    connection = connections["operator"]
    connection.force_debug_cursor = True
    connection.queries_log.clear()
    try:
        pages = walk(admin_client, url, "next")
        statements = [query["sql"] for query in connection.queries if '"flights"' in query["sql"]]
    finally:
        connection.force_debug_cursor = False
        connection.queries_log.clear()

    assert [len(page) for page in pages] == [2, 2, 1]
    assert [*chain(*pages)] == [offer.pk for offer in made]
    assert statements
    assert not [sql for sql in statements if "COUNT(" in sql.upper()]
    assert not [sql for sql in statements if "OFFSET" in sql.upper()]
    last = admin_client.get(url)
    for _ in range(2):
        last = admin_client.get(FLIGHTS + last.context["cl"].next_url)
    back = walk(admin_client, FLIGHTS + last.context["cl"].previous_url, "prev")
    assert [pages[1], pages[0]] == back


def test_flights__default_window__leaves_out_the_past_and_the_far(
    admin_client: Client, enterprise: Enterprise, sell: Sell
) -> None:
    near = sell(enterprise)
    far = sell(enterprise, days=20)
    url = f"{FLIGHTS}?enterprise={enterprise.slug}"

    default = admin_client.get(url).context["cl"].result_list
    on_the_day = admin_client.get(f"{url}&day={far.departure_day}").context["cl"].result_list

    assert [offer.pk for offer in default] == [near.pk]
    assert [offer.pk for offer in on_the_day] == [far.pk]


def test_flights__searched_by_route__shows_only_that(
    admin_client: Client, enterprise: Enterprise, sell: Sell
) -> None:
    sell(enterprise)
    wanted = sell(enterprise, route="BOS SEA")

    response = admin_client.get(f"{FLIGHTS}?enterprise={enterprise.slug}&q=bos+sea")

    assert [offer.pk for offer in response.context["cl"].result_list] == [wanted.pk]


@pytest.mark.parametrize(
    "query",
    ["day=yesterday", "p=nonsense", "p=WyJhZnRlciIsIDFd", "q=%00", "q=x", "enterprise=%00", "all="],
)
def test_flights__bad_input__is_never_a_fault(admin_client: Client, query: str) -> None:
    assert admin_client.get(f"{FLIGHTS}?{query}", follow=True).status_code == 200


def test_flight_page__modelled__says_what_is_and_draws_the_layover(
    admin_client: Client, enterprise: Enterprise, sell: Sell
) -> None:
    offer = sell(enterprise)

    content = admin_client.get(
        reverse("admin:flights_flight_change", args=[offer.pk])
    ).content.decode()

    assert "modelled: arrival time, date, fare, carrier" in content
    assert "in DEN" in content
    assert "123.45" in content


@pytest.mark.parametrize("model", [Flight, EnterpriseFlight, AuditEvent])
@pytest.mark.parametrize("name", ["add", "change", "delete"])
def test_read_only__superuser__is_refused(
    admin_client: Client, enterprise: Enterprise, sell: Sell, model: Any, name: str
) -> None:
    options = model._meta
    if model is AuditEvent:
        with operator_scope():
            pk = AuditEvent.objects.about("enterprises", enterprise.pk)[0].pk
    else:
        pk = sell(enterprise, negotiated=model is EnterpriseFlight).pk
    arguments = [] if name == "add" else [pk]
    url = reverse(f"admin:{options.app_label}_{options.model_name}_{name}", args=arguments)

    response = admin_client.post(url, {"post": "yes"}, follow=True)

    assert response.status_code == 403
    with operator_scope():
        assert model.objects.filter(pk=pk).exists()


@pytest.mark.usefixtures("_small_pages")
def test_audit__events_of_one_enterprise__are_walked_newest_first(
    admin_client: Client, enterprise: Enterprise
) -> None:
    with operator_scope():
        for number in range(4):
            change_enterprise(
                enterprise=enterprise, name=f"Name {number}", subscription_plan="free"
            )

    pages = walk(admin_client, f"{AUDIT}?enterprise={enterprise.pk}", "next")

    with operator_scope():
        events = AuditEvent.objects.filter(enterprise_id=enterprise.pk).order_by("-at", "-id")
        assert [*chain(*pages)] == [event.pk for event in events]
    assert len(pages) == 3


def test_audit__filtered_by_email_of_the_actor__finds_the_change(
    enterprise: Enterprise,
) -> None:
    operator = factories.make_operator()
    client = factories.make_admin_client(operator)
    client.post(
        "/admin/tenants/enterprise/add/",
        {"name": "Initech", "slug": factories.unique("initech"), "subscription_plan": "free"},
    )

    response = client.get(f"{AUDIT}?user={operator.email.upper()}&table=enterprises")

    (event,) = response.context["cl"].result_list
    assert event.user_id == operator.pk
    assert operator.email in response.content.decode()


@pytest.mark.parametrize(
    "query", ["enterprise=x", "user=x", "user=%00@", "row=%00", "since=x", "table=x", "q=%00"]
)
def test_audit__bad_input__is_never_a_fault(admin_client: Client, query: str) -> None:
    assert admin_client.get(f"{AUDIT}?{query}", follow=True).status_code == 200


def test_audit_page__change__shows_both_versions_and_leads_to_the_object(
    admin_client: Client, enterprise: Enterprise
) -> None:
    with operator_scope():
        change_enterprise(enterprise=enterprise, name="Renamed", subscription_plan="free")
        event = AuditEvent.objects.about("enterprises", enterprise.pk).get(operation="UPDATE")

    content = admin_client.get(
        reverse("admin:audit_auditevent_change", args=[event.pk])
    ).content.decode()

    assert enterprise.name in content
    assert "Renamed" in content
    assert reverse("admin:tenants_enterprise_change", args=[enterprise.pk]) in content


def test_audit__operator_with_the_view_permission__sees_no_way_to_change() -> None:
    operator = factories.make_operator(superuser=False)
    with operator_scope():
        operator.user_permissions.set(Permission.objects.filter(codename="view_auditevent"))
    client = factories.make_admin_client(operator)

    content = client.get(AUDIT).content.decode()

    assert "Audit log" in content
    assert "API keys" not in content
