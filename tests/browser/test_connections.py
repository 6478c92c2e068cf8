"""Minimum connection times and airports, as an operator works on them in a browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from apps.flights.connection_files import COLUMNS
from apps.tenants.models import User
from tests.browser.test_operator import assert_fits, log_in

pytestmark = pytest.mark.browser


def test_operator__imports_tries_and_deactivates__sees_what_holds(
    page: Page, server: str, account: User
) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(f"{page.url}: {error}"))
    log_in(page, server, account)
    times = f"{server}/admin/flights/minimumconnectiontime/"

    page.goto(f"{times}import/")
    page.get_by_label("List").fill(f"{','.join(COLUMNS)}\nKEF,II,,,,,42,browser")
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator("#plan")).to_contain_text(re.compile("1 would be added|0 would be added"))
    assert_fits(page)
    page.get_by_label("Reason").fill("the browser said so")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator("body")).to_contain_text(re.compile("Added 1|changed 1"))

    page.goto(f"{times}try/?airport=KEF&kind=II")
    expect(page.locator("#holds")).to_have_text("42 minutes")
    assert_fits(page)

    page.goto(f"{times}?airport=KEF")
    page.locator("input.action-select").first.check()
    page.locator("select[name=action]").select_option("deactivate_selected")
    page.get_by_role("button", name="Run").click()
    page.get_by_label("Reason").fill("no longer")
    page.get_by_role("button", name="Deactivate 1").click()
    expect(page.locator("body")).to_contain_text("Deactivated “KEF II”.")

    page.goto(f"{times}try/?airport=KEF&kind=II")
    expect(page.locator("#holds")).to_have_text("60 minutes")

    page.goto(f"{server}/admin/flights/airport/KEF/change/#dataset-connections")
    expect(page.locator("#dataset-connections-group")).to_contain_text("KEF II: 42 minutes")
    assert_fits(page)
    assert not errors
