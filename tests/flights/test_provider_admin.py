"""Providers in the admin: what an operator sees and does without a shell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.configs.runtime import override_config
from apps.flights.providers import operations, pulling
from apps.flights.providers.models import FlightProvider, ProviderFetch, ProviderRoute
from apps.flights.providers.queries import circuit_breaker, troubled_providers
from apps.flights.providers.tasks import pull_due_offers, purge_provider_fetches
from apps.tenants.models import Enterprise
from layoverhq.tenancy import operator_scope
from tests.flights.shop_fronts import Journeys, ShopFront, says
from tests.tenants import factories as tenants

PROVIDERS = "/admin/flights/flightprovider/"
PLAN = "/admin/flights/providerroute/"
FETCHES = "/admin/flights/providerfetch/"
REJECTS = "/admin/flights/providerreject/"


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(
        operations.current_app,
        "send_task",
        lambda name, kwargs, **options: messages.append({"name": name, **kwargs}),
    )
    return messages


@pytest.fixture
def front() -> Iterator[ShopFront]:
    with closing(ShopFront()) as opened:
        yield opened


@pytest.fixture
def provider(front: ShopFront) -> Iterator[FlightProvider]:
    name = tenants.unique("admin-duffel")
    with override_config({"provider.duffel.token": "t", "provider.attempts": 1}):
        with operator_scope():
            made = FlightProvider.objects.create(name=name, kind="duffel", base_url=front.url)
        yield made
        with operator_scope():
            made.delete()


@pytest.fixture
def route(provider: FlightProvider) -> ProviderRoute:
    with operator_scope():
        return operations.save_route(
            route=ProviderRoute(
                provider=provider, origin="SFO", destination="JFK", days_ahead=2, every_minutes=60
            ),
            actor=None,
        )


def page(client: Client, provider: FlightProvider) -> str:
    return client.get(f"{PROVIDERS}{provider.pk}/change/").content.decode()


def in_dialog(client: Client, url: str, **fields: str) -> Any:
    """Post a dialog's form as the page does."""
    return client.post(url, {**fields, "_form_submitted": "True"}, headers={"HX-Request": "true"})


def reasons(provider: FlightProvider) -> list[str | None]:
    with operator_scope():
        events = AuditEvent.objects.about("flight_providers", provider.pk).order_by("at", "id")
        return [event.reason for event in events]


def fresh(provider: FlightProvider) -> FlightProvider:
    with operator_scope():
        return FlightProvider.objects.get(pk=provider.pk)


def pulled(provider: FlightProvider) -> None:
    with operator_scope():
        pulling.pull_provider(provider_id=provider.pk)


def test_list__seeded_providers__say_that_credentials_are_missing(admin_client: Client) -> None:
    content = admin_client.get(PROVIDERS).content.decode()
    for name, key in (("amadeus", "client_id"), ("duffel", "token"), ("kiwi", "api_key")):
        assert f"provider.{name}.{key}" in content
    assert content.count("no credentials") >= 3
    for address in (PROVIDERS, PLAN, FETCHES, REJECTS):
        assert f'href="{address}"' in content


def test_add__settings__are_checked_and_kept(admin_client: Client) -> None:
    name = tenants.unique("kiwi-de")
    given = {
        "name": name,
        "kind": "kiwi",
        "base_url": "http://api.example.com",
        "priority": "5",
        "quota_per_minute": "10",
        "quota_per_day": "",
        "market": "de",
        "currency": "usd",
    }
    response = admin_client.post(f"{PROVIDERS}add/", given)
    assert response.status_code == 200
    assert "Use https: credentials are sent there." in response.content.decode()
    response = admin_client.post(f"{PROVIDERS}add/", {**given, "base_url": "https://a.example/"})
    assert response.status_code == 302
    with operator_scope():
        made = FlightProvider.objects.get(name=name)
        assert (made.base_url, made.market, made.currency) == ("https://a.example", "DE", "USD")
        assert (made.quota_per_minute, made.quota_per_day) == (10, None)
    response = admin_client.post(
        f"{PROVIDERS}{made.pk}/change/",
        {"base_url": "https://b.example", "priority": "7", "currency": "EUR", "name": "other"},
    )
    assert response.status_code == 302
    changed = fresh(made)
    assert (changed.name, changed.base_url, changed.priority) == (name, "https://b.example", 7)
    again = admin_client.post(f"{PROVIDERS}add/", {**given, "base_url": "https://a.example"})
    assert "already exists" in again.content.decode()
    assert admin_client.post(f"{PROVIDERS}{made.pk}/delete/", {"post": "yes"}).status_code == 403
    with operator_scope():
        made.delete()


def test_pause_and_resume__with_reasons__are_kept_in_the_trail(
    admin_client: Client, provider: FlightProvider
) -> None:
    url = f"{PROVIDERS}{provider.pk}/change/"
    assert "Resume…" not in page(admin_client, provider)
    refused = in_dialog(admin_client, action_url(admin_client, provider, "pause"), reason="")
    assert "required" in refused.content.decode()
    assert fresh(provider).pause_reason == ""
    response = in_dialog(
        admin_client,
        action_url(admin_client, provider, "pause"),
        reason="They bill us twice",
        until="2100-01-01T08:00",
    )
    assert response["HX-Redirect"].endswith(url)
    paused = fresh(provider)
    assert (paused.pause_reason, paused.paused_until.isoformat()) == (
        "They bill us twice",
        "2100-01-01T08:00:00+00:00",
    )
    content = page(admin_client, provider)
    assert "Paused until 2100-01-01 08:00 UTC: They bill us twice" in content
    assert "Pause…" not in content
    in_dialog(admin_client, action_url(admin_client, provider, "resume"), reason="Settled")
    assert fresh(provider).pause_reason == ""
    assert reasons(provider)[-2:] == ["They bill us twice", "Settled"]


def action_url(client: Client, provider: FlightProvider, name: str) -> str:
    found = re.search(rf'"({PROVIDERS}[^"]*/{name}/?)"', page(client, provider))
    assert found, name
    return found[1]


def test_fetch_now__route_and_day__is_queued_and_followed(
    admin_client: Client,
    provider: FlightProvider,
    front: ShopFront,
    sent: list[dict[str, Any]],
) -> None:
    journeys = Journeys(timezone.now().date() + timedelta(days=3))
    front.put_up(
        says(journeys.answer("duffel", journeys.duffel(currency="XAU"), journeys.duffel()))
    )
    url = action_url(admin_client, provider, "fetch")
    response = in_dialog(
        admin_client, url, origin="sfo", destination="jfk", day=journeys.day.isoformat()
    )
    with operator_scope():
        fetch = ProviderFetch.objects.get(provider=provider)
    assert response["HX-Redirect"] == f"{FETCHES}{fetch.pk}/change/"
    assert sent == [{"name": operations.PULL_TASK, "provider_id": str(provider.pk)}]
    waiting = admin_client.get(f"{FETCHES}{fetch.pk}/change/").content.decode()
    assert f'hx-get="{FETCHES}{fetch.pk}/change/"' in waiting
    pulled(provider)
    follows = {"HX-Request": "true"}
    answer = admin_client.get(f"{FETCHES}{fetch.pk}/change/", headers=follows)
    assert answer["HX-Refresh"] == "true"
    done = admin_client.get(f"{FETCHES}{fetch.pk}/change/").content.decode()
    assert "Of this route and day 1 offer stands as of then: 1 new" in done
    assert f'hx-get="{FETCHES}{fetch.pk}/change/"' not in done
    assert "unknown_currency" in done
    listed = admin_client.get(f"{FETCHES}?provider={provider.name}&origin=sfo").content.decode()
    assert f"{FETCHES}{fetch.pk}/change/" in listed
    rejects = admin_client.get(f"{REJECTS}?provider={provider.name}").content.decode()
    assert "unknown_currency" in rejects
    assert f"{FETCHES}{fetch.pk}/change/" in rejects
    for refused in ("add/", f"{fetch.pk}/delete/"):
        assert admin_client.post(FETCHES + refused, {"post": "yes"}).status_code == 403
    shown = page(admin_client, provider)
    assert "1 fetch was done, 0 failed" in shown
    assert "healthy" in shown


def test_fetch_now__nonsense_or_paused__is_refused_and_nothing_queued(
    admin_client: Client, provider: FlightProvider, sent: list[dict[str, Any]]
) -> None:
    url = action_url(admin_client, provider, "fetch")
    tomorrow = (timezone.now().date() + timedelta(days=1)).isoformat()
    in_dialog(admin_client, url, origin="QQQ", destination="JFK", day=tomorrow)
    assert "We know no such airport" in page(admin_client, provider)
    in_dialog(admin_client, url, origin="SFO", destination="JFK", day="2020-01-01")
    assert "From today to 330 days ahead." in page(admin_client, provider)
    with operator_scope():
        operations.pause_provider(provider=provider, reason="night", until=None, now=timezone.now())
    in_dialog(admin_client, url, origin="SFO", destination="JFK", day=tomorrow)
    assert "Paused until resumed: night" in page(admin_client, provider)
    assert sent == []
    with operator_scope():
        assert not ProviderFetch.objects.filter(provider=provider).exists()


def test_failing_provider__is_told_on_every_page_and_asked_again_by_hand(
    admin_client: Client, provider: FlightProvider, route: ProviderRoute, front: ShopFront
) -> None:
    front.put_up(says({"oops": "down for maintenance"}, 503))
    with override_config({"provider.circuit_failures": 1}):
        pulled(provider)
        content = page(admin_client, provider)
        assert "open circuit" in content
        assert "Left alone until" in content
        assert "down for maintenance" in content
        assert re.search(r'cause=server_error">server_error</a>: 1', content)
        with operator_scope():
            assert provider in troubled_providers(timezone.now())
        failed = admin_client.get(f"{FETCHES}?provider={provider.name}&cause=server_error")
        assert "server_error" in failed.content.decode()
        in_dialog(
            admin_client,
            action_url(admin_client, provider, "close-circuit"),
            reason="They say it is back",
        )
        assert circuit_breaker(provider).look()[0].failures == 0
        assert "degraded" in page(admin_client, provider)


def test_plan__added_changed_left_out_and_fetched(
    admin_client: Client,
    provider: FlightProvider,
    enterprise: Enterprise,
    sent: list[dict[str, Any]],
) -> None:
    given = {
        "provider": str(provider.pk),
        "origin": "sfo",
        "destination": "SFO",
        "enterprise": str(enterprise.pk),
        "days_ahead": "3",
        "every_minutes": "5",
        "is_active": "on",
    }
    response = admin_client.post(f"{PLAN}add/", given)
    content = response.content.decode()
    assert "A journey ends elsewhere" in content
    assert "15 to 10,080 minutes." in content
    good = {**given, "destination": "jfk", "every_minutes": "60"}
    assert admin_client.post(f"{PLAN}add/", good).status_code == 302
    with operator_scope():
        route = ProviderRoute.objects.get(provider=provider)
        assert (route.origin, route.destination, route.enterprise_id) == (
            "SFO",
            "JFK",
            enterprise.pk,
        )
    assert "The plan has this route" in admin_client.post(f"{PLAN}add/", good).content.decode()
    listed = admin_client.get(PLAN, {"enterprise": enterprise.slug}).content.decode()
    assert "0 of 3" in listed

    chosen = {"action": "leave_out", "_selected_action": str(route.pk)}
    asked = admin_client.post(PLAN, chosen).content.decode()
    assert "They are fetched no more" in asked
    admin_client.post(
        PLAN, {**chosen, "confirmed": "1", "reason": "Too dear", "_form_submitted": "True"}
    )
    with operator_scope():
        route.refresh_from_db()
        assert not route.is_active
        events = AuditEvent.objects.about("provider_routes", route.pk).order_by("-at", "-id")
        assert events[0].reason == "Too dear"
        assert events[0].enterprise_id == enterprise.pk

    content = admin_client.get(f"{PLAN}{route.pk}/change/").content.decode()
    found = re.search(rf'"({PLAN}[^"]*fetch/?)"', content)
    assert found
    day = timezone.now().date() + timedelta(days=1)
    in_dialog(admin_client, found[1], day=day.isoformat())
    with operator_scope():
        fetch = ProviderFetch.objects.get(provider=provider)
        assert (fetch.enterprise_id, fetch.day, fetch.status) == (enterprise.pk, day, "queued")
    assert sent[-1]["provider_id"] == str(provider.pk)
    admin_client.post(f"{PLAN}{route.pk}/delete/", {"post": "yes"})
    with operator_scope():
        assert not ProviderRoute.objects.filter(pk=route.pk).exists()
        assert ProviderFetch.objects.filter(pk=fetch.pk).exists()


def test_permissions__viewers__see_and_may_do_nothing(
    provider: FlightProvider, route: ProviderRoute, sent: list[dict[str, Any]]
) -> None:
    operator = tenants.make_operator(superuser=False)
    with operator_scope():
        operator.groups.set(Group.objects.filter(name="Provider viewers"))
    client = tenants.make_admin_client(operator)
    content = page(client, provider)
    assert provider.name in content
    for word in ("Pause…", "Fetch now…", "Ask again now…"):
        assert word not in content
    superuser = tenants.make_admin_client()
    tomorrow = (timezone.now().date() + timedelta(days=1)).isoformat()
    pause, fetch = (action_url(superuser, provider, name) for name in ("pause", "fetch"))
    assert in_dialog(client, pause, reason="because").status_code == 403
    answer = in_dialog(client, fetch, origin="SFO", destination="JFK", day=tomorrow)
    assert answer.status_code == 403
    assert client.post(f"{PLAN}{route.pk}/change/", {"days_ahead": "9"}).status_code == 403
    assert fresh(provider).pause_reason == ""
    assert sent == []
    with operator_scope():
        operator.groups.set(Group.objects.filter(name="Provider operators"))
    client = tenants.make_admin_client(operator)
    in_dialog(client, pause, reason="because")
    assert fresh(provider).pause_reason == "because"


@pytest.mark.parametrize("path", [FETCHES, REJECTS, PLAN, PROVIDERS])
@pytest.mark.parametrize("query", ["provider=%00", "p=nonsense", "origin=%00", "cause=x", "q=%00"])
def test_lists__bad_input__is_never_a_fault(admin_client: Client, path: str, query: str) -> None:
    assert admin_client.get(f"{path}?{query}", follow=True).status_code == 200


def test_task__every_minute__sends_providers_with_something_to_do(
    provider: FlightProvider, route: ProviderRoute, front: ShopFront, sent: list[dict[str, Any]]
) -> None:
    front.put_up(says({"data": {"offers": []}}))
    with operator_scope():
        idle = FlightProvider.objects.create(
            name=tenants.unique("idle"), kind="duffel", base_url=front.url
        )
        failing = FlightProvider.objects.create(
            name=tenants.unique("failing"),
            kind="duffel",
            base_url=front.url,
            priority=1,
            consecutive_failures=1,
        )
        operations.save_route(
            route=ProviderRoute(provider=failing, origin="SFO", destination="JFK"), actor=None
        )
        FlightProvider.objects.filter(pk=provider.pk).update(
            pause_reason="over", paused_until=timezone.now() - timedelta(seconds=1)
        )
    pull_due_offers()
    pulls = [each["provider_id"] for each in sent if each["name"] == operations.PULL_TASK]
    assert pulls.index(str(provider.pk)) < pulls.index(str(failing.pk))
    assert str(idle.pk) not in pulls
    assert fresh(provider).pause_reason == ""
    pulled(provider)
    sent.clear()
    pull_due_offers()
    assert str(provider.pk) not in [each["provider_id"] for each in sent]
    with operator_scope():
        idle.delete()
        failing.delete()
    purge_provider_fetches()
    with operator_scope():
        assert ProviderFetch.objects.filter(provider=provider).count() == 2
