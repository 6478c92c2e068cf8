"""An operator's first day, in a real browser."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from urllib.error import HTTPError

import pytest
from playwright.sync_api import Page, expect

from apps.tenants.models import User
from tests.tenants.factories import PASSWORD, unique

PAGES = [
    "",
    "tenants/enterprise/",
    "tenants/enterprise/onboard_many/",
    "tenants/apikey/",
    "tenants/user/",
    "tenants/user/add/",
    "storefront/storefront/",
    "flights/flight/",
    "flights/enterpriseflight/",
    "flights/airport/",
    "flights/minimumconnectiontime/",
    "flights/composedday/",
    "flights/composedroute/",
    "flights/inventoryload/",
    "configs/configkey/",
    "configs/configkey/add/",
    "configs/configkey/secret-keys/",
    "configs/configkey/layover.min_5Fduration/change/",
    "configs/configkey/layover.min_5Fduration/value/",
    "configs/configkey/layover.min_5Fduration/override/",
    "configs/configchangeset/?stage=all",
    "configs/configchangeset/add/",
    "configs/systemconfig/",
    "configs/configcategory/",
    "flags/featureflag/?state=all",
    "flags/featureflag/add/",
    "flags/featureflag/stale/",
    "flags/flagversion/?status=all",
    "flags/flagsegment/add/",
    "flags/flagnamespace/add/",
    "flags/experiment/",
    "flags/experiment/add/",
    "django_celery_beat/periodictask/",
    "django_celery_beat/crontabschedule/add/",
    "audit/auditevent/?since=ever",
    "auth/group/add/",
    "password_change/",
    "nowhere/",
]

pytestmark = pytest.mark.browser


def call(server: str, token: str) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{server}/api/v1/enterprise", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - likewise
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def await_status(server: str, token: str, status: int) -> dict[str, object]:
    deadline = time.monotonic() + 15
    while True:
        answer, document = call(server, token)
        if answer == status:
            return document
        assert time.monotonic() < deadline, f"{answer}: {document}"


def log_in(page: Page, server: str, account: User) -> None:
    page.goto(f"{server}/admin/login/")
    page.fill("[name=username]", account.email)
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")
    expect(page).to_have_url(f"{server}/admin/")


def ask_for(page: Page, action: str) -> None:
    """Open the dialog of an action of the page's object."""
    button = page.locator("a", has_text=action)
    # A phone has them in a menu; which of both there is shows once the page stands.
    menu = page.locator("a", has_text="more_horiz")
    expect(button.or_(menu).locator("visible=true").first).to_be_visible()
    if not button.is_visible():
        menu.first.click()
    button.click()


def assert_fits(page: Page) -> None:
    wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(wider), f"{page.url} is wider than the window"


def test_operator__onboards_issues_and_suspends__key_works_then_is_refused(
    page: Page, server: str, account: User
) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    slug = unique("browser")
    log_in(page, server, account)
    expect(page.locator("body")).to_contain_text("Test")
    assert_fits(page)

    page.goto(f"{server}/admin/tenants/enterprise/add/")
    page.fill("[name=name]", slug.title())
    page.fill("[name=slug]", slug)
    page.click("button[name=_continue]")
    expect(page.locator("body")).to_contain_text(f"{slug.title()}")
    enterprise_url = page.url
    assert re.search(r"/enterprise/[0-9a-f-]{36}/change/", enterprise_url)
    assert_fits(page)

    page.goto(f"{server}/admin/tenants/apikey/add/")
    page.click(".select2-selection")
    page.fill(".select2-search__field", slug)
    page.locator(".select2-results__option", has_text=slug.title()).click()
    page.fill("[name=name]", "From the browser")
    page.click("button[name=_save]")
    token = page.locator("#token").inner_text()
    assert token in page.locator("#curl").inner_text()
    assert token not in page.url
    assert_fits(page)
    assert await_status(server, token, 200)["slug"] == slug

    page.goto(enterprise_url)
    ask_for(page, "Suspend…")
    dialog = page.locator("#modal-content")
    expect(dialog).to_contain_text("refused with 403 at once")
    dialog.locator("textarea").fill("Tried in a browser")
    dialog.get_by_role("button", name="Suspend").click()
    expect(page.locator("body")).to_contain_text(f"Suspended “{slug.title()}”.")
    assert await_status(server, token, 403)["code"] == "enterprise_suspended"

    page.goto(f"{enterprise_url}#dataset-history")
    page.reload()
    history = page.locator("#dataset-history-group")
    expect(history).to_be_visible()
    expect(history).to_contain_text("Tried in a browser")
    assert_fits(page)
    assert not errors


def test_operator__changes_a_value__is_told_while_typing_and_sees_it_hold(
    page: Page, server: str, account: User
) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    log_in(page, server, account)
    url = f"{server}/admin/configs/configkey/stream.heartbeat/"
    page.goto(f"{url}value/")
    seconds = "40" if "40" not in page.locator("main, body").first.inner_text() else "41"
    page.fill("[name=value]", "999")
    expect(page.locator("#value-check")).to_contain_text("At most 300.")
    page.fill("[name=value]", seconds)
    expect(page.locator("#value-check")).to_contain_text("This can be its value.")
    page.fill("[name=reason]", "Tried in a browser")
    assert_fits(page)
    page.get_by_role("button", name="Publish now").click()
    expect(page.locator("body")).to_contain_text(f"is now {seconds} seconds, version")
    expect(page.locator("#value-now")).to_have_text(seconds)
    assert_fits(page)

    page.goto(f"{url}value/")
    page.fill("[name=value]", "42")
    page.fill("[name=reason]", "To be published later")
    page.get_by_role("button", name="Save as draft").click()
    expect(page.locator("body")).to_contain_text("Drafted")
    ask_for(page, "Publish…")
    dialog = page.locator("#modal-content")
    expect(dialog).to_contain_text("hold at once")
    dialog.locator("textarea").fill("Now")
    dialog.get_by_role("button", name="Publish").click()
    expect(page.locator("body")).to_contain_text("Published “stream.heartbeat to 42 seconds”.")
    assert_fits(page)
    assert not errors


def test_pages__desk_and_phone__fit_the_window_without_script_errors(
    page: Page, server: str, account: User
) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(f"{page.url}: {error}"))
    log_in(page, server, account)

    for path in PAGES:
        page.goto(f"{server}/admin/{path}")
        expect(page.locator("body")).to_contain_text("Test")
        assert_fits(page)

    assert not errors
