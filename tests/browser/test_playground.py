"""The search playground in a real browser: a search as an enterprise has it, and its plan."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from apps.tenants.models import Enterprise, User
from tests.browser.test_operator import assert_fits, log_in
from tests.flights.factories import Shop
from tests.tenants import factories

pytestmark = pytest.mark.browser


@pytest.fixture
def sold(account: User) -> Iterator[tuple[Enterprise, Shop]]:
    """An enterprise with an offer of its own beside a shared one; made before the browser."""
    enterprise, shop = factories.make_enterprise(), Shop()
    shop.sell([("DEN", 600)], price_minor=45_000)
    shop.sell([("ORD", 500)], price_minor=30_000, enterprise=enterprise, negotiated=True)
    yield enterprise, shop
    shop.close()


def test_operator__searches_as_an_enterprise__and_reads_the_plan(
    server: str, sold: tuple[Enterprise, Shop], page: Page, account: User
) -> None:
    enterprise, shop = sold
    log_in(page, server, account)
    page.goto(f"{server}/admin/flights/searchplayground/")
    assert_fits(page)
    page.get_by_label("Enterprise").fill(enterprise.slug)
    page.get_by_label("Reason").fill("a support case")
    page.get_by_label("origin", exact=True).fill(shop.origin)
    page.get_by_label("destination", exact=True).fill(shop.destination)
    page.get_by_label("departure_date", exact=True).fill(shop.day.isoformat())
    page.get_by_label("layover", exact=True).fill("8h..20h")
    page.get_by_label("Show the plan").check(force=True)
    page.get_by_role("button", name="Search", exact=True).click()

    expect(page.locator("#results tbody tr")).to_have_count(2)
    expect(page.locator("#results tbody tr").first).to_contain_text("300.00 USD")
    expect(page.locator("#results tbody tr").first).to_contain_text("private")
    expect(page.locator("pre.plan")).to_contain_text("Execution Time")
    assert_fits(page)
