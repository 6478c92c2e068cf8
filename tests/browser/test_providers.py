"""A provider at three in the morning, in a real browser: fetched, failing, paused, resumed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone
from playwright.sync_api import Page, expect

from apps.configs.operations import Proposal
from apps.flights.providers import operations, pulling
from apps.flights.providers.models import FlightProvider, ProviderRoute
from apps.tenants.models import Enterprise, User
from layoverhq.tenancy import operator_scope
from tests.browser.test_operator import ask_for, assert_fits, log_in
from tests.configs.factories import publish
from tests.flights.shop_fronts import Journeys, ShopFront, says
from tests.tenants import factories

pytestmark = pytest.mark.browser


@pytest.fixture
def front() -> Iterator[ShopFront]:
    with closing(ShopFront()) as opened:
        yield opened


@pytest.fixture
def provider(front: ShopFront, account: User) -> Iterator[FlightProvider]:
    with operator_scope():
        made = FlightProvider.objects.create(
            name=factories.unique("browser"), kind="duffel", base_url=front.url, quota_per_day=100
        )
    yield made
    with operator_scope():
        made.delete()


@pytest.fixture
def route(provider: FlightProvider, enterprise: Enterprise) -> ProviderRoute:
    """A route of one enterprise, which has a token of its own."""
    with operator_scope():
        publish(Proposal("provider.duffel.token", "its-own", enterprise))
        return operations.save_route(
            route=ProviderRoute(
                provider=provider,
                enterprise=enterprise,
                origin="SFO",
                destination="JFK",
                days_ahead=3,
                every_minutes=60,
            ),
            actor=None,
        )


def work(provider: FlightProvider) -> None:
    """Let a worker take its turn: in a thread, as the browser's loop forbids Django's calls."""

    def turn() -> None:
        with operator_scope():
            pulling.pull_provider(provider_id=provider.pk)
            connections["operator"].close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(turn).result(timeout=60)


def test_provider__fetched_failing_paused_and_resumed__tells_each(
    route: ProviderRoute,
    provider: FlightProvider,
    front: ShopFront,
    page: Page,
    server: str,
    account: User,
) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    journeys = Journeys(timezone.now().date() + timedelta(days=2))
    front.put_up(
        says(journeys.answer("duffel", journeys.duffel(currency="XAU"), journeys.duffel())),
        says({"oops": "down for maintenance"}, 400),
    )
    log_in(page, server, account)
    for path in ("flightprovider", "providerroute", "providerfetch", "providerreject"):
        page.goto(f"{server}/admin/flights/{path}/")
        assert_fits(page)

    page.goto(f"{server}/admin/flights/providerroute/{route.pk}/change/")
    assert_fits(page)
    ask_for(page, "Fetch now")
    page.fill("[role=dialog] [name=day], dialog [name=day], form [name=day]", str(journeys.day))
    page.get_by_role("button", name="Fetch", exact=True).click()
    expect(page).to_have_url(re.compile("/providerfetch/"))
    expect(page.locator("#progress")).to_contain_text("Queued")
    work(provider)
    expect(page.locator("#progress")).to_contain_text("1 new")
    expect(page.locator("body")).to_contain_text("Rejected offers")
    assert_fits(page)

    address = f"{server}/admin/flights/flightprovider/{provider.pk}/change/"
    page.goto(address)
    expect(page.locator("#summary")).to_contain_text("refused: It answered 400")
    assert_fits(page)
    for tab in ("plan", "fetches", "success", "history"):
        page.goto(f"{address}#dataset-{tab}")
        assert_fits(page)
    page.goto(address)
    ask_for(page, "Pause")
    page.fill("[name=reason]", "They answer nonsense tonight")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator("#summary")).to_contain_text("Paused until resumed: They answer nonsense")
    ask_for(page, "Resume")
    page.fill("[name=reason]", "They say it is mended")
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.locator("#summary")).not_to_contain_text("Paused")
    assert errors == []
