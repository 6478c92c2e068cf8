"""An experiment from draft to winner: an operator in a browser, a tenant over HTTP."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from django.core.cache import cache
from playwright.sync_api import Locator, Page, expect

from apps.flags.models import FeatureFlag
from apps.tenants.models import User
from tests.browser.test_operator import ask_for, assert_fits, await_status, log_in
from tests.flags.experimenting import make_weighed_flag
from tests.isolation import roles
from tests.kernel.test_snapshot import until
from tests.tenants import factories
from tests.tenants.factories import unique

pytestmark = pytest.mark.browser

UNITS = 400


@pytest.fixture
def flag() -> FeatureFlag:
    return make_weighed_flag(tenant_visible=True)


@pytest.fixture
def token() -> str:
    return factories.make_key(factories.make_enterprise()).token


def track(server: str, token: str, entries: list[dict[str, Any]]) -> None:
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{server}/api/v1/events/track",
        data=json.dumps({"events": entries}).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - likewise
        assert json.load(answer) == {"accepted": len(entries)}


def opened(page: Page, action: str) -> Locator:
    """Open the dialog of an action, with the reason given."""
    ask_for(page, action)
    dialog = page.locator("#modal-content")
    dialog.locator("textarea").fill("Because of a test")
    return dialog


def test_experiment__drafted_run_and_shipped__by_hand(
    # Made before the browser starts, whose loop forbids Django's database calls.
    flag: FeatureFlag,
    token: str,
    page: Page,
    server: str,
    account: User,
) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    log_in(page, server, account)
    name = unique("Cheaper first")
    page.goto(f"{server}/admin/flags/experiment/add/")
    assert_fits(page)
    page.fill("[name=name]", name)
    page.fill("[name=hypothesis]", "b makes more travellers book.")
    page.select_option("[name=compared]", label=f"{flag.name}: against a")
    page.fill("[name=goal_0_event]", "booked")
    page.click("button[name=_continue]")
    expect(page.locator("[name=goal_0_event]")).to_have_value("booked")
    address = page.url
    opened(page, "Start…").get_by_role("button", name="Start").click()
    expect(page.locator("body")).to_contain_text(f"Started “{name}”")
    expect(page.locator("body")).to_contain_text("No unit has met a variant yet.")

    await_status(server, token, 200)
    units = [f"traveller {number}" for number in range(UNITS)]
    met = [{"type": "exposure", "flag": flag.name, "context": {"user": unit}} for unit in units]

    def noted() -> bool:
        """Return whether the server knows that the experiment runs."""
        track(server, token, met[:1])
        with roles.connect_as_superuser() as connection:
            return connection.execute(
                "select exists (select from flag_exposures where experiment_id = %s)",
                [address.split("/")[-3]],
            ).fetchone() == (True,)

    until(noted)
    track(server, token, met)
    track(server, token, [{"event": "booked", "user": unit} for unit in units[::3]])
    cache.clear()
    page.goto(address)
    assert_fits(page)
    expect(page.locator("body")).not_to_contain_text("Not enough data")
    expect(page.locator("body")).to_contain_text("undecided")
    rows = page.locator("tbody tr", has=page.locator("td", has_text="%")).all_inner_texts()
    assert sum(int(row.split()[1]) for row in rows[:2]) == UNITS

    dialog = opened(page, "Ship a winner…")
    dialog.get_by_label("b", exact=True).check()
    dialog.get_by_role("button", name="Ship").click()
    expect(page.locator("body")).to_contain_text(f"Shipped b, the winner of “{name}”")
    expect(page.locator("body")).to_contain_text("b, by version 2 of the flag: active")
    assert_fits(page)
    assert not errors
