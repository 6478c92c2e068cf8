"""Whose pages a host shows: its enterprise's, and never the platform's or somebody else's."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings as live_settings
from django.test import Client
from django.urls import get_resolver

from apps.flags.models import FeatureFlag
from apps.flags.operations import kill_flag, revive_flag
from apps.storefront.operations import add_domain
from apps.storefront.sites import FLAG, sites
from apps.tenants.models import Domain, Enterprise
from apps.tenants.operations import (
    change_enterprise,
    resume_enterprise,
    suspend_enterprise,
)
from layoverhq.errors import Conflict, InvalidInput
from layoverhq.tenancy import operator_scope
from tests.flights.factories import Shop
from tests.kernel.test_snapshot import until
from tests.storefront.factories import give_host, open_site, site_at, switch, visitor
from tests.tenants import factories as tenants

# A page that says nothing of anybody.
PLAIN = "There is no page here"
ROUTES = (
    "/admin/",
    "/admin/login/",
    "/admin/tenants/enterprise/",
    "/api/v1/flights/search",
    "/api/v1/enterprise",
    "/api/docs",
    "/api/schema",
    "/ofrep/v1/evaluate/flags",
    "/healthz",
    "/readyz",
    "/static/admin/css/base.css",
    "/static/layoverhq/favicon.svg",
)


def assert_plain(response: Any, *names: str) -> None:
    assert response.status_code == 404
    text = response.content.decode()
    assert PLAIN in text
    assert response["Cache-Control"] == "no-store"
    assert not [name for name in names if name in text]


def test_flag__that_opens_storefronts__is_the_guides():
    assert FLAG == "white_label_v2"


def test_home__on_ones_own_host__is_branded(enterprise: Enterprise, site: Client):
    response = site.get("/")
    assert response.status_code == 200
    assert enterprise.name in response.content.decode()


@pytest.mark.parametrize("path", ROUTES)
def test_platform__on_an_enterprises_host__is_not_served(path: str, host: str, site: Client):
    response = site.get(path)
    assert response.status_code == 404
    text = response.content.decode()
    assert "This page is not here" in text
    assert "Unfold" not in text
    assert "Content-Security-Policy" in response.headers


def test_api__with_a_working_key_on_an_enterprises_host__is_not_served(
    enterprise: Enterprise, host: str, shop: Shop
):
    issued = tenants.make_key(enterprise)
    tenants.await_key(issued.token)
    offer = shop.sell(enterprise=enterprise)
    client = visitor(host, Authorization=f"Bearer {issued.token}")
    response = client.get("/api/v1/flights/search", shop.asked)
    assert response.status_code == 404
    assert str(offer.pk) not in response.content.decode()


def test_admin__with_an_operators_session_on_an_enterprises_host__knows_nobody(host: str):
    operator = tenants.make_operator()
    client = tenants.make_admin_client(operator)
    assert client.get("/admin/").status_code == 200
    response = client.get("/admin/", headers={"Host": host})
    assert response.status_code == 404
    assert operator.email not in response.content.decode()
    assert not response.cookies
    # And the session is as good as before where it belongs.
    assert client.get("/admin/").status_code == 200


def test_storefront__any_page__sets_no_cookie(host: str, shop: Shop):
    client = visitor(host)
    for path in ("/", f"/search?origin={shop.origin}", "/layover", "/nowhere", "/robots.txt"):
        response = client.get(path, headers={"Cookie": "layoverhq_session=x; csrftoken=y"})
        assert not response.cookies, path
        assert "Cookie" not in response.get("Vary", ""), path


@pytest.mark.parametrize(
    "spelling", ["{host}:8000", "{upper}", "{host}.", "{upper}.:443", "{host}:"]
)
def test_host__another_spelling__is_the_same_site(spelling: str, enterprise: Enterprise, host: str):
    given = spelling.format(host=host, upper=host.upper())
    response = visitor(given).get("/")
    if spelling == "{host}:":
        # No port after the colon: some hand it on so, and it names the host all the same.
        assert response.status_code in (200, 400)
        return
    assert response.status_code == 200
    assert enterprise.name in response.content.decode()


@pytest.mark.parametrize(
    "given",
    [
        "{host}@evil.example",
        "evil.example@{host}",
        "{host},evil.example",
        "evil.example, {host}",
        "{host}/../admin",
        "{host}\\@evil.example",
        "{host}%00",
        "{host} evil.example",
        "http://{host}/",
        "evil.{host}",
        "{host}.evil.example",
        "[{host}]",
        "::1%{host}",
    ],
)
def test_host__forged__shows_nobodys_pages(given: str, enterprise: Enterprise, host: str):
    forged = given.format(host=host)
    response = visitor(forged).get("/")
    assert response.status_code == 400, forged
    assert enterprise.name not in response.content.decode()


@pytest.mark.parametrize("header", ["X-Forwarded-Host", "X-Host", "X-Original-Host", "Forwarded"])
def test_host__in_another_header__is_not_believed(
    header: str, enterprise: Enterprise, host: str, other_enterprise: Enterprise
):
    theirs = open_site(other_enterprise)
    value = f"host={theirs}" if header == "Forwarded" else theirs
    text = visitor(host).get("/", headers={header: value}).content.decode()
    assert enterprise.name in text
    assert other_enterprise.name not in text


def test_host__with_a_context_in_headers__shows_its_own(
    enterprise: Enterprise, host: str, other_enterprise: Enterprise
):
    headers = {"X-Enterprise-Id": str(other_enterprise.pk), "X-Tenant": other_enterprise.slug}
    text = visitor(host).get("/", headers=headers).content.decode()
    assert enterprise.name in text
    assert other_enterprise.name not in text


def test_host__of_nobody__is_refused_as_ever():
    for path in ("/", "/search", "/admin/", "/api/v1/enterprise"):
        response = visitor(f"{tenants.unique('nobody')}.localhost").get(path)
        assert response.status_code == 400, path
        assert response.json()["code"] == "bad_request"


def test_host__of_an_enterprise_without_the_flag__is_a_plain_page(enterprise: Enterprise):
    host = give_host(enterprise)
    for path in ("/", "/search", "/admin/", "/theme/x.css"):
        assert_plain(visitor(host).get(path), enterprise.name, enterprise.slug)


def test_host__of_a_suspended_enterprise__is_a_plain_page(enterprise: Enterprise, host: str):
    with operator_scope():
        suspend_enterprise(enterprise=enterprise)
    until(lambda: not site_at(host).is_open)
    assert_plain(visitor(host).get("/"), enterprise.name)
    assert_plain(visitor(host).get("/admin/"), enterprise.name)
    with operator_scope():
        resume_enterprise(enterprise=enterprise)
    until(lambda: site_at(host).is_open)
    assert visitor(host).get("/").status_code == 200


def test_host__switched_off__closes_within_a_notification(enterprise: Enterprise, host: str):
    switch(enterprise, on=False)
    until(lambda: not site_at(host).is_open)
    assert_plain(visitor(host).get("/"), enterprise.name)


def test_host__taken_away__is_nobodys(enterprise: Enterprise, host: str):
    with operator_scope():
        Domain.objects.filter(domain=host).delete()
    until(lambda: host not in sites.get())
    assert visitor(host).get("/").status_code == 400


def test_host__renamed_enterprise__shows_the_new_name(enterprise: Enterprise, host: str):
    renamed = tenants.unique("Renamed")
    with operator_scope():
        change_enterprise(
            enterprise=enterprise, name=renamed, subscription_plan=enterprise.subscription_plan
        )
    until(lambda: site_at(host).enterprise_name == renamed)
    assert renamed in visitor(host).get("/").content.decode()


def test_platforms_host__given_to_an_enterprise__stays_the_platforms(enterprise: Enterprise):
    switch(enterprise, on=True)
    with operator_scope():
        # As no page and no operation would.
        domain = Domain.objects.create(tenant=enterprise, domain="testserver", is_primary=True)
    try:
        until(lambda: "testserver" in sites.get())
        assert Client().get("/healthz").json() == {"status": "ok"}
        assert Client().get("/admin/login/?next=/admin/").status_code == 200
    finally:
        with operator_scope():
            domain.delete()


def test_add_domain__the_platforms__is_refused(enterprise: Enterprise, settings: Any):
    settings.ALLOWED_HOSTS = [".Layover.example", "testserver"]
    with operator_scope(), pytest.raises(InvalidInput, match="platform's own"):
        add_domain(enterprise=enterprise, host="Layover.Example.")
    assert not Domain.objects.using("operator").filter(tenant=enterprise).exists()


def test_add_domain__anothers__is_refused(host: str, other_enterprise: Enterprise):
    with operator_scope(), pytest.raises(Conflict, match="belongs to"):
        add_domain(enterprise=other_enterprise, host=host.upper())


def test_admin__domain_that_is_the_platforms__is_refused(
    enterprise: Enterprise, admin_client: Client
):
    url = f"/admin/tenants/enterprise/{enterprise.pk}/change/"
    live = live_settings.ALLOWED_HOSTS
    assert "testserver" in live
    live.append("platform.example.com")
    try:
        response = admin_client.post(
            url,
            {
                "name": enterprise.name,
                "subscription_plan": enterprise.subscription_plan,
                "domains-TOTAL_FORMS": "1",
                "domains-INITIAL_FORMS": "0",
                "domains-0-domain": "platform.example.com",
                "domains-0-is_primary": "on",
            },
        )
    finally:
        live.remove("platform.example.com")
    assert "the platform" in response.content.decode()
    with operator_scope():
        assert not Domain.objects.filter(domain="platform.example.com").exists()


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
def test_storefront__writing_method__is_405(method: str, site: Client):
    response = getattr(site, method)("/")
    assert response.status_code == 405
    assert response["Allow"] == "GET, HEAD"
    assert "can only be read" in response.content.decode()


def test_head__any_page__has_the_headers(site: Client):
    response = site.head("/")
    assert response.status_code == 200
    assert "Content-Security-Policy" in response.headers


def test_platforms_routes__none__is_the_storefronts():
    names = {pattern.name for pattern in get_resolver().url_patterns if hasattr(pattern, "name")}
    assert not [name for name in names if name and name.startswith("storefront")]


def test_kill__of_the_flag__closes_every_storefront(host: str):
    with operator_scope():
        flag = FeatureFlag.objects.get(name=FLAG)
        kill_flag(flag=flag, reason="as the test wants it")
    try:
        until(lambda: not site_at(host).is_open)
        assert_plain(visitor(host).get("/"))
    finally:
        with operator_scope():
            revive_flag(flag=flag)
    until(lambda: site_at(host).is_open)
