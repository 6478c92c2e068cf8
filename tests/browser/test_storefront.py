"""A traveller's visit, in a real browser: at desk and phone width, with and without scripts."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect, sync_playwright

from apps.tenants.models import Enterprise
from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.flights.factories import Shop
from tests.storefront.factories import give_host, picture, switch
from tests.storefront.test_brand import brand
from tests.tenants.factories import make_enterprise, unique

pytestmark = pytest.mark.browser

# A route that tests of the search do not take.
ORIGIN, HUB, DESTINATION = "ANC", "YYC", "BNA"


@dataclass(frozen=True)
class Storefront:
    """An open storefront: its enterprise, its address, and the day on which it has flights."""

    enterprise: Enterprise
    url: str
    shop: Shop

    @property
    def results(self) -> str:
        return (
            f"{self.url}/search?origin={ORIGIN}&destination={DESTINATION}"
            f"&departure_date={self.shop.day}"
        )


@pytest.fixture
def storefront(server: str) -> Iterator[Storefront]:
    """Open a storefront with thirteen journeys; before the browser, whose loop forbids that."""
    enterprise = make_enterprise(name=unique("Wanderlust"))
    host = give_host(enterprise)
    switch(enterprise, on=True)
    brand(enterprise, uploaded=picture(), primary_color="#ffe600", accent_color="#7a1fd1")
    shop = Shop(ORIGIN, DESTINATION, day=timezone.now().date() + timedelta(days=20))
    for number in range(12):
        shop.sell(
            [(HUB, 480 + 20 * number)],
            price_minor=20_000 + 1_000 * number,
            departure_minute=360,
            ground=[(200 + 10 * number, 150, False)],
            modelled=number % 2 == 0,
        )
    shop.sell(price_minor=60_000)
    url = f"http://{host}:{urlsplit(server).port}"
    await_open(url)
    yield Storefront(enterprise, url, shop)
    shop.close()


def await_open(url: str) -> None:
    """Wait until the server knows of the new storefront."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    deadline = time.monotonic() + 15
    while True:
        # Names below localhost are for browsers: not every resolver knows them.
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/", headers={"Host": f"{host}:{port}"})
        status = connection.getresponse().status
        connection.close()
        if status == 200:
            return
        assert time.monotonic() < deadline, status
        time.sleep(0.05)


@pytest.fixture
def watched(page: Page) -> Iterator[list[str]]:
    """Note every address that the page asks, and let no error in its console pass."""
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda message: errors.append(message.text) if message.type == "error" else None,
    )
    yield asked
    # A refused form is an answer with a status of its own, which the console tells.
    assert [error for error in errors if " 400 " not in error] == []


def choose(page: Page, field: str, typed: str, label: str) -> None:
    """Type into a field and take the suggestion by the keyboard."""
    page.fill(f"#{field}", "")
    page.type(f"#{field}", typed)
    expect(page.locator(f"#{field}-options [role=option]").first).to_be_visible()
    assert page.get_attribute(f"#{field}", "aria-expanded") == "true"
    page.keyboard.press("ArrowDown")
    marked = page.get_attribute(f"#{field}", "aria-activedescendant")
    assert page.get_attribute(f"#{marked}", "aria-selected") == "true"
    page.keyboard.press("Enter")
    expect(page.locator(f"#{field}")).to_have_value(label)
    expect(page.locator(f"#{field}-options")).to_be_hidden()


def open_form(page: Page) -> None:
    """Open the form above the results, which is closed on a phone."""
    summary = page.get_by_text("Change the search")
    if summary.is_visible():
        summary.click()
    expect(page.locator("#origin")).to_be_visible()


def test_walk__search_results_layover_and_back(
    storefront: Storefront, page: Page, watched: list[str]
) -> None:
    page.goto(storefront.url)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    choose(page, "origin", "anchor", f"Anchorage ({ORIGIN})")
    choose(page, "destination", "bna", f"Nashville ({DESTINATION})")
    page.fill("#departure_date", storefront.shop.day.isoformat())
    page.get_by_role("button", name="Search flights").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Anchorage to Nashville")
    expect(page.locator("article.journey")).to_have_count(10)
    assert f"departure_date={storefront.shop.day}" in page.url

    # Sorting stays where it is, and the address can be shared.
    page.select_option("#sort", "price")
    page.wait_for_url(re.compile("sort=price"))
    expect(page.locator(".price").first).to_have_text("$200")
    assert page.evaluate("document.activeElement.id") == "sort"
    expect(page.locator("#status")).to_contain_text("10 journeys shown")

    page.get_by_role("link", name="Show more journeys").click()
    expect(page.locator("article.journey")).to_have_count(13)
    expect(page.locator("#status")).to_have_text("3 more journeys")
    focused = (
        "document.activeElement.closest('article') === document.querySelectorAll('article')[10]"
    )
    assert page.evaluate(focused)

    page.locator("a.stop").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("8 h in Calgary")
    expect(page.get_by_role("heading", name="Where the time goes")).to_be_visible()
    page.select_option("#passport", "DE")
    page.wait_for_url(re.compile("passport=DE"))
    expect(page.locator("#passport")).to_have_value("DE")

    page.get_by_role("link", name="Back to the journeys").click()
    expect(page.locator(".price").first).to_have_text("$200")
    assert {urlsplit(url).netloc for url in watched} == {urlsplit(storefront.url).netloc}


def test_history__back_and_forward__show_what_was_there(
    storefront: Storefront, page: Page, watched: list[str]
) -> None:
    page.goto(storefront.results)
    page.select_option("#sort", "price")
    page.wait_for_url(re.compile("sort=price"))
    page.locator("a.stop").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("in Calgary")
    page.go_back()
    expect(page.locator(".price").first).to_have_text("$200")
    expect(page.locator("header.bar")).to_be_visible()
    page.go_back()
    page.wait_for_url(lambda url: "sort" not in url)
    expect(page.locator("article.journey")).to_have_count(10)
    expect(page.locator("#sort")).to_have_value("score")
    page.go_forward()
    expect(page.locator("#sort")).to_have_value("price")
    expect(page.locator("header.bar")).to_be_visible()


def test_form__faulty__leads_to_its_faults_by_keyboard(
    storefront: Storefront, page: Page, watched: list[str]
) -> None:
    page.goto(storefront.results)
    open_form(page)
    page.fill("#destination", "springfield")
    page.fill("#max_price", "cheap")
    page.locator("#max_price").press("Enter")
    faults = page.locator("#faults")
    expect(faults).to_be_focused()
    expect(faults).to_contain_text("2 things are missing or unclear")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#max_price")).to_be_focused()
    assert page.get_attribute("#max_price", "aria-invalid") == "true"
    page.fill("#max_price", "")
    page.get_by_role("button", name=re.compile("SGF")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Anchorage to Springfield")


def test_form__enter_while_airports_are_offered__asks_for_what_was_typed(
    storefront: Storefront, page: Page, watched: list[str]
) -> None:
    page.goto(storefront.results.replace(f"destination={DESTINATION}", "destination=springfield"))
    expect(page.get_by_role("button", name=re.compile("SGF"))).to_be_visible()
    page.fill("#destination", DESTINATION)
    page.locator("#max_price").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Anchorage to Nashville")


def test_return__there_and_back__and_in_history(
    storefront: Storefront, page: Page, watched: list[str]
) -> None:
    page.goto(storefront.results)
    open_form(page)
    home = storefront.shop.day + timedelta(days=4)
    page.fill("#return_date", home.isoformat())
    page.select_option("#flexible_days", "1")
    page.locator("#go").click()
    page.wait_for_url(re.compile("return_date="))
    ways = page.get_by_role("navigation", name="There and back")
    expect(ways.get_by_role("link", name="There")).to_have_attribute("aria-current", "page")
    expect(ways).to_contain_text("from $200")
    ways.get_by_role("link", name="Back").click()
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("Nashville to Anchorage")
    expect(page.locator(".nothing")).to_contain_text("Nothing flies between these places")
    open_form(page)
    page.locator("#go").click()
    expect(heading).to_have_text("Anchorage to Nashville")
    # The strip begins with the day that was asked for in its middle.
    day = page.locator(".days [aria-current]")
    expect(day).to_be_in_viewport()
    day.click()
    page.wait_for_url(lambda url: "flexible_days" not in url)
    expect(page.locator("article.journey")).to_have_count(10)
    page.go_back()
    page.go_back()
    expect(heading).to_have_text("Nashville to Anchorage")
    expect(page.locator("#flexible_days")).to_have_value("1")


def test_form__on_a_phone__is_closed_over_results_and_open_over_faults(
    storefront: Storefront, page: Page, watched: list[str]
) -> None:
    is_phone = page.viewport_size is not None and page.viewport_size["width"] < 640
    page.goto(storefront.results)
    expect(page.locator("#origin")).to_be_visible(visible=not is_phone)
    expect(page.locator("article.journey").first).to_be_in_viewport()
    page.select_option("#sort", "price")
    page.wait_for_url(re.compile("sort=price"))
    expect(page.locator("#origin")).to_be_visible(visible=not is_phone)
    page.goto(f"{storefront.results}&max_price=x")
    expect(page.locator("#max_price")).to_be_visible()


def test_keyboard__alone__is_enough(storefront: Storefront, page: Page, watched: list[str]) -> None:
    page.goto(storefront.url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    expect(page.locator(".skip")).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "origin"
    page.keyboard.type(ORIGIN)
    expect(page.locator("#origin-options [role=option]").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#origin-options")).to_be_hidden()
    page.keyboard.press("Tab")
    page.keyboard.type(DESTINATION)
    page.locator("#departure_date").focus()
    page.fill("#departure_date", storefront.shop.day.isoformat())
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Anchorage to Nashville")
    details = page.locator(".journey summary").first
    details.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".steps").first).to_be_visible()


def test_network__away__is_told_and_loses_nothing(storefront: Storefront, page: Page) -> None:
    page.goto(storefront.results)
    page.context.set_offline(True)
    page.get_by_role("link", name="Show more journeys").click()
    expect(page.get_by_role("alert")).to_contain_text("The network cannot be reached")
    expect(page.locator("article.journey")).to_have_count(10)
    page.context.set_offline(False)
    page.get_by_role("link", name="Show more journeys").click()
    expect(page.locator("article.journey")).to_have_count(13)


def test_problem__of_a_part__is_told_and_loses_nothing(storefront: Storefront, page: Page) -> None:
    page.goto(storefront.results)
    open_form(page)
    # As the storefront itself answers whoever asks too often.
    page.route(
        re.compile("/airports/|/search"),
        lambda route: route.fulfill(
            status=429,
            content_type="text/plain; charset=utf-8",
            headers={"HX-Reswap": "none", "HX-Push-Url": "false"},
            body="A little too fast. Try again in a minute.",
        ),
    )
    address = page.url
    for ask in (
        lambda: page.type("#via", "den"),
        lambda: page.get_by_role("link", name="Show more journeys").click(),
        lambda: page.locator("#go").click(),
    ):
        page.evaluate("document.getElementById('notice').hidden = true")
        ask()
        expect(page.get_by_role("alert")).to_contain_text("A little too fast.")
        expect(page.locator("article.journey")).to_have_count(10)
        expect(page.locator("#via-options")).to_be_hidden()
        assert page.url == address


def test_layover__cards__keep_their_distance(storefront: Storefront, page: Page) -> None:
    page.goto(storefront.results)
    page.locator("a.stop").first.click()
    expect(page.get_by_role("heading", name=re.compile("^Why "))).to_be_visible()
    boxes = page.locator("section.card").evaluate_all(
        "cards => cards.map(each => { const box = each.getBoundingClientRect();"
        " return [box.left, box.right, box.top, box.bottom]; })"
    )
    for left, right, top, bottom in boxes:
        below = [b for b in boxes if b[2] >= bottom - 1 and b[0] < right and b[1] > left]
        assert all(other[2] - bottom >= 15 for other in below), (left, right, top, bottom)


@pytest.fixture
def plain_page(storefront: Storefront) -> Iterator[Page]:
    """A page of a browser without scripts."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = browser.new_context(
            java_script_enabled=False, viewport={"width": 1000, "height": 800}
        )
        context.set_default_timeout(15_000)
        yield context.new_page()
        browser.close()


def test_scripts__off__everything_works(storefront: Storefront, plain_page: Page) -> None:
    page = plain_page
    page.goto(storefront.url)
    page.fill("#origin", ORIGIN.lower())
    page.fill("#destination", "Springfield")
    page.fill("#departure_date", storefront.shop.day.isoformat())
    page.get_by_role("button", name="Search flights").click()
    expect(page.locator("#faults")).to_contain_text("Several airports fit.")
    page.fill("#destination", f"nashville ({DESTINATION})")
    page.get_by_role("button", name="Search flights").click()
    expect(page.locator("article.journey")).to_have_count(10)
    page.select_option("#sort", "price")
    page.get_by_role("button", name="Sort").click()
    expect(page.locator(".price").first).to_have_text("$200")
    page.get_by_role("link", name="Show more journeys").click()
    expect(page.locator("article.journey")).to_have_count(3)
    page.get_by_role("link", name="back to the first journeys").click()
    page.locator("a.stop").first.click()
    page.select_option("#passport", "DE")
    page.get_by_role("button", name="Look up").click()
    assert "passport=DE" in page.url
    page.get_by_role("link", name="Back to the journeys").click()
    expect(page.locator("article.journey")).to_have_count(10)


# What a checker of accessibility asks of a page; each answer is what breaks the rule.
CHECKS = {
    "fields without a name": """
        Array.from(document.querySelectorAll('input:not([type=hidden]), select'))
            .filter(field => !field.labels.length || !field.labels[0].textContent.trim())
            .map(field => field.id)""",
    "links and buttons without a name": """
        Array.from(document.querySelectorAll('a[href], button, summary'))
            .filter(each => !(each.textContent.trim() || each.getAttribute('aria-label')
                || each.querySelector('img[alt]:not([alt=""])')))
            .map(each => each.outerHTML)""",
    "images without a text": """
        Array.from(document.querySelectorAll('img:not([alt]), svg:not([aria-hidden]):not([role])'))
            .map(each => each.outerHTML)""",
    "ids that stand twice": """
        Array.from(document.querySelectorAll('[id]')).map(each => each.id)
            .filter((id, at, all) => all.indexOf(id) !== at)""",
    "references to nothing": """
        Array.from(document.querySelectorAll('*'))
            .flatMap(each => ['aria-describedby', 'aria-labelledby', 'aria-controls']
                .flatMap(name => (each.getAttribute(name) || '').split(' ').filter(Boolean)))
            .filter(id => !document.getElementById(id))""",
    "landmarks that are missing": """
        ['header', 'main', 'footer'].filter(name => document.querySelectorAll(name).length !== 1
            && !(name === 'header' && document.querySelectorAll('body > header').length === 1))""",
    "first headings": """
        document.querySelectorAll('h1').length === 1 ? [] : ['h1: '
            + document.querySelectorAll('h1').length]""",
    "headings that leave out a level": """
        Array.from(document.querySelectorAll('main h1, main h2, main h3'))
            .map(each => +each.tagName[1])
            .filter((level, at, all) => at && level > all[at - 1] + 1)""",
    "things that are wider than the page": """
        document.documentElement.scrollWidth > window.innerWidth
            ? ['page: ' + document.documentElement.scrollWidth] : []""",
    "small targets": """
        Array.from(document.querySelectorAll('button, select, input, .chip, .stop'))
            .filter(each => each.offsetParent && (each.offsetHeight < 24 || each.offsetWidth < 24))
            .map(each => each.outerHTML)""",
}
CONTRAST = """() => {
    const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
    const linear = share => share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) =>
        0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const ground = element => {
        for (let each = element; each; each = each.parentElement) {
            const style = getComputedStyle(each);
            // Of a gradient the check cannot say what is behind a letter: its colours are tints
            // that the palette's own test covers.
            if (style.backgroundImage !== 'none') return null;
            const colour = parse(style.backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const faults = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let seen = 0;
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.textContent.trim() || !element.offsetParent) continue;
        if (element.closest('.unseen, svg, noscript, script, option')) continue;
        const behind = ground(element);
        if (!behind) continue;
        const style = getComputedStyle(element);
        const [a, b] = [luminance(parse(style.color)), luminance(behind)];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const size = parseFloat(style.fontSize);
        const large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
        seen += 1;
        if (ratio < (large ? 3 : 4.5) - 0.01) {
            faults.push(ratio.toFixed(2) + ' ' + walker.currentNode.textContent.trim());
        }
    }
    return {seen, faults};
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility__every_page__keeps_the_rules(
    scheme: str, storefront: Storefront, page: Page
) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    pages = {
        "home": storefront.url,
        "results": storefront.results,
        "nothing": f"{storefront.results}&max_price=1",
        "faults": f"{storefront.url}/search?origin=springfield&max_price=x",
        "missing": f"{storefront.url}/nowhere",
        "return": f"{storefront.results}&return_date={storefront.shop.day}&flexible_days=3",
    }
    found: dict[str, object] = {}

    def check(name: str) -> None:
        for rule, script in CHECKS.items():
            if broken := page.evaluate(script):
                found[f"{name}: {rule}"] = broken
        contrast = page.evaluate(CONTRAST)
        assert contrast["seen"] > 3
        if contrast["faults"]:
            found[f"{name}: contrast"] = contrast["faults"]

    for name, url in pages.items():
        page.goto(url)
        check(name)
    page.goto(storefront.results)
    page.locator(".journey summary").first.click()
    check("details")
    page.locator("a.stop").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("in Calgary")
    check("layover")
    assert found == {}


def test_language_and_title__every_page__are_told(storefront: Storefront, page: Page) -> None:
    titles = set()
    for url in (storefront.url, storefront.results, f"{storefront.url}/nowhere"):
        page.goto(url)
        assert page.get_attribute("html", "lang") == "en"
        assert storefront.enterprise.name in page.title()
        titles.add(page.title())
    assert len(titles) == 3


def test_motion__not_wanted__there_is_none(storefront: Storefront, page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.goto(storefront.url)
    moving = "Array.from(document.querySelectorAll('*')).filter(each => {"
    moving += "const style = getComputedStyle(each); return style.animationName !== 'none'"
    moving += " || parseFloat(style.transitionDuration) > 0}).length"
    assert page.evaluate(moving) == 0


def test_logo__of_the_brand__is_shown_in_the_bar(storefront: Storefront, page: Page) -> None:
    page.goto(storefront.url)
    logo = page.locator(".brand img")
    expect(logo).to_have_attribute("alt", f"{storefront.enterprise.name}, home")
    assert page.evaluate("document.querySelector('.brand img').naturalWidth") == 120
    button = "getComputedStyle(document.getElementById('go')).backgroundColor"
    assert page.evaluate(button) == "rgb(255, 230, 0)"


def test_csp__script_that_somebody_slipped_in__does_not_run(
    storefront: Storefront, page: Page
) -> None:
    page.goto(storefront.url)
    page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.slipped = 1';"
        " document.body.append(s); const i = document.createElement('img');"
        " i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i); }"
    )
    assert page.evaluate("window.slipped") is None
