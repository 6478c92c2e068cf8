"""Flexible days, there and back, and the traveller's currency."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.utils import timezone

from apps.flights.rates import Rate, rates
from apps.storefront import day_prices, journeys
from layoverhq.errors import QueryTimeout
from tests.flights.factories import Shop
from tests.storefront.test_layovers import page as layover_page
from tests.storefront.test_pages import HTMX, asked, href, prices, text_of

# What one euro is worth in these tests.
PER_EURO = {"USD": "1.25", "JPY": "160", "CHF": "0.95", "GBP": "0.85"}


def days_of(text: str) -> dict[str, str]:
    """Return the strip's days with their prices."""
    found = re.search(r'<nav class="days".*?</nav>', text, re.DOTALL)
    assert found, "no day prices"
    return dict(re.findall(r"<span>(\w+ \d+ \w+)</span> <b[^>]*>([^<]+)</b>", found[0]))


def ways_of(text: str) -> list[tuple[str, str, str]]:
    """Return each way's label, price, and whether it is the page."""
    found = re.search(r'<nav class="ways".*?</nav>', text, re.DOTALL)
    assert found, "no ways"
    return re.findall(
        r'<a href="[^"]*"( aria-current="page")?><span>(\w+)</span> <b>[^<]+</b>'
        r" <span>([^<]+)</span>",
        found[0],
    )


def short(day: date) -> str:
    return f"{day:%a} {day.day} {day:%b}"


@pytest.fixture
def later(shop: Shop) -> Iterator[Shop]:
    """The same route two days later."""
    opened = Shop(shop.origin, shop.destination, day=shop.day + timedelta(days=2))
    yield opened
    opened.close()


@pytest.fixture
def back(shop: Shop) -> Iterator[Shop]:
    """The way back, five days later."""
    opened = Shop(shop.destination, shop.origin, day=shop.day + timedelta(days=5))
    yield opened
    opened.close()


def know_rates(monkeypatch: pytest.MonkeyPatch, *, days_old: int) -> None:
    day = timezone.now().date() - timedelta(days=days_old)
    known = {code: Rate(Decimal(amount), day) for code, amount in PER_EURO.items()}
    monkeypatch.setattr(rates, "get", lambda: known)


@pytest.fixture
def fresh_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exchange rates of today."""
    know_rates(monkeypatch, days_old=0)


# --- flexible days


def test_days__around__have_the_lowest_price_that_fits_and_lead_there(
    site: Client, shop: Shop, later: Shop
):
    shop.sell(price_minor=30_000)
    shop.sell([("DEN", 600)], price_minor=40_000)
    later.sell(price_minor=20_000)
    later.sell([("DEN", 600)], price_minor=25_000)
    text = text_of(site.get("/search", asked(shop)))
    strip = days_of(text)
    assert list(strip) == [short(shop.day + timedelta(days=shift)) for shift in range(-3, 4)]
    assert {day: price for day, price in strip.items() if price != "–"} == {
        short(shop.day): "$300",
        short(later.day): "$200",
    }
    narrow = text_of(site.get("/search", asked(shop, stay="city")))
    assert days_of(narrow)[short(later.day)] == "$250"
    assert prices(text_of(site.get(href(narrow, short(later.day))))) == ["$250"]


def test_days__flexible__are_one_list_and_each_journey_tells_its_day(
    site: Client, shop: Shop, later: Shop
):
    shop.sell(price_minor=30_000)
    later.sell(price_minor=20_000)
    text = text_of(site.get("/search", asked(shop, flexible_days="2")))
    assert prices(text) == ["$200", "$300"]
    assert re.findall(r"<b>([^<]+)</b> · 2 h in all", text) == [short(later.day), short(shop.day)]
    assert f"{shop.day:%a} {shop.day.day} {shop.day:%B}, ± 2 days" in text
    assert text.count('<li class="asked">') == 5
    assert prices(text_of(site.get("/search", asked(shop, flexible_days="1")))) == ["$300"]
    # A day of the strip is that day alone.
    assert prices(text_of(site.get(href(text, short(later.day))))) == ["$200"]


def test_days__that_are_over__are_left_out(site: Client):
    # On a clock that is UTC all the year.
    today = Shop("KEF", "SCL", day=timezone.now().date() + timedelta(days=1))
    try:
        today.sell(price_minor=10_000)
        strip = days_of(text_of(site.get("/search", asked(today))))
    finally:
        today.close()
    assert list(strip)[-1] == short(today.day + timedelta(days=3))
    assert len(strip) == 5


def test_days__that_take_too_long__are_missed_and_the_list_is_there(
    site: Client, shop: Shop, monkeypatch: Any
):
    def slow(*args: Any, **options: Any) -> Any:
        raise QueryTimeout("The query took longer than 30 s.")

    monkeypatch.setattr(day_prices, "price_calendar", slow)
    shop.sell(price_minor=30_000)
    text = text_of(site.get("/search", asked(shop)))
    assert prices(text) == ["$300"]
    assert "The prices of the days around cannot be had at the moment." in text


def test_days__of_the_next_page__are_not_asked_for(site: Client, shop: Shop, monkeypatch: Any):
    for number in range(11):
        shop.sell(price_minor=10_000 + number)
    more = href(text_of(site.get("/search", asked(shop))), "Show more journeys")
    monkeypatch.delattr(day_prices, "price_calendar")
    assert len(prices(text_of(site.get(more, headers=HTMX)))) == 1
    assert '<nav class="days"' not in text_of(site.get(more))


# --- there and back


def test_ways__each__is_a_search_and_their_lowest_prices_add_up(
    site: Client, shop: Shop, back: Shop
):
    shop.sell([("DEN", 600)], price_minor=30_000)
    shop.sell(price_minor=45_000)
    back.sell(price_minor=21_050)
    back.sell([("ORD", 600)], price_minor=50_000)
    there = text_of(site.get("/search", asked(shop, return_date=back.day.isoformat())))
    assert prices(there) == ["$300", "$450"]
    assert ways_of(there) == [
        (' aria-current="page"', "There", "from $300"),
        ("", "Back", "from $210.50"),
    ]
    assert "Both ways together from <b>$510.50</b>" in there
    link = href(there, "Back")
    homewards = text_of(site.get(link))
    assert prices(homewards) == ["$210.50", "$500"]
    assert [current for current, _, _ in ways_of(homewards)] == ["", ' aria-current="page"']
    assert days_of(homewards)[short(back.day)] == "$210.50"
    # The form stays what was typed, and who sorts stays on the way back.
    assert f'value="{shop.day}"' in homewards
    assert '<input type="hidden" name="way" value="back">' in homewards
    assert 'name="way" value="">Search flights' in homewards
    assert prices(text_of(site.get(f"{link}&way="))) == ["$300", "$450"]


def test_ways__layover_of_the_way_back__leads_back_to_it(site: Client, shop: Shop, back: Shop):
    back.sell([("DEN", 600)], price_minor=30_000)
    query = asked(shop, return_date=back.day.isoformat(), way="back", stay="city")
    text = text_of(site.get("/search", query))
    told = text_of(site.get(href(text, "10 h in Denver")))
    link = href(told, "Back to the journeys")
    assert parse_qs(urlsplit(link).query)["way"] == ["back"]
    assert prices(text_of(site.get(link))) == ["$300"]


def test_ways__one_that_nothing_fits__says_so_and_adds_nothing_up(
    site: Client, shop: Shop, back: Shop
):
    shop.sell(price_minor=30_000)
    text = text_of(site.get("/search", asked(shop, return_date=back.day.isoformat())))
    assert [price for _, _, price in ways_of(text)] == ["from $300", "nothing fits"]
    assert "together" not in text


def test_ways__day_before_the_way_there__is_no_link(site: Client, shop: Shop, later: Shop):
    home = Shop(shop.destination, shop.origin, day=shop.day)
    early = Shop(shop.destination, shop.origin, day=shop.day - timedelta(days=1))
    try:
        home.sell(price_minor=10_000)
        early.sell(price_minor=9_000)
        query = asked(shop, return_date=shop.day.isoformat(), way="back")
        text = text_of(site.get("/search", query))
    finally:
        home.close()
        early.close()
    assert days_of(text)[short(early.day)] == "$90"
    with pytest.raises(AssertionError, match="no link"):
        href(text, short(early.day))


def test_ways__next_page__is_of_the_way_that_is_shown(site: Client, shop: Shop, back: Shop):
    for number in range(12):
        back.sell(price_minor=10_000 + 100 * number)
    query = asked(shop, return_date=back.day.isoformat(), way="back")
    text = text_of(site.get("/search", query))
    assert prices(text_of(site.get(href(text, "Show more journeys")))) == ["$110", "$111"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"return_date": "soon"}, "Back on: Give a day, such as"),
        ({"return_date": "2020-02-03"}, "Back on: This day is over"),
        ({"return_date": "2099-01-01"}, "Back on: Flights can be searched for a year"),
        ({"return_date": "{before}"}, "Back on: This is before the day you leave."),
        ({"return_date": "{after}", "way": "up"}, "Way: Choose the way there or the way back."),
        ({"return_date": "{after}", "cursor": "x"}, "List: This list has changed"),
        ({"return_date": "{after}", "way": "back", "cursor": "x"}, "List: This list has changed"),
        ({"return_date": "{after}", "max_price": "x"}, "Price up to: Give an amount"),
        ({"flexible_days": "4"}, "Flexible: Choose one of the numbers of days."),
    ],
)
def test_ways__faulty_field__is_told_once(
    change: dict[str, str], words: str, site: Client, shop: Shop
):
    days = {
        "before": shop.day - timedelta(days=1),
        "after": shop.day + timedelta(days=1),
    }
    given = {name: value.format(**days) for name, value in change.items()}
    text = text_of(site.get("/search", asked(shop, **given)), 400)
    assert words in text
    assert "One thing is missing or unclear" in text


def test_ways__way_back_without_a_day__is_the_way_there(site: Client, shop: Shop):
    shop.sell(price_minor=30_000)
    assert prices(text_of(site.get("/search", asked(shop, way="back")))) == ["$300"]


# --- currency


@pytest.mark.parametrize(
    ("currency", "expected", "between", "more"),
    [
        ("EUR", ["€240", "€400"], "300.50", "€160"),
        ("JPY", ["38,400 JPY", "64,000 JPY"], "40000", "25,600 JPY"),
        ("CHF", ["228 CHF", "380 CHF"], "300", "152 CHF"),
    ],
)
def test_currency__of_the_traveller__is_that_of_every_price(
    currency: str,
    expected: list[str],
    between: str,
    more: str,
    site: Client,
    shop: Shop,
    fresh_rates: None,
):
    shop.sell(price_minor=30_000)
    shop.sell([("DEN", 600)], price_minor=50_000)
    text = text_of(site.get("/search", asked(shop, currency=currency)))
    assert prices(text) == expected
    assert days_of(text)[short(shop.day)] == expected[0]
    assert f"<option selected>{currency}</option>" in text
    cheap = text_of(site.get("/search", asked(shop, currency=currency, max_price=between)))
    assert prices(cheap) == expected[:1]
    # What the journey costs more is of the same currency.
    told = text_of(site.get(href(text, "10 h in Denver")))
    assert f"The journey costs {more} more than the cheapest that way." in told


def test_currency__choices__are_those_that_have_a_rate(site: Client, fresh_rates: None):
    assert choices_of(text_of(site.get("/"))) == ["CHF", "EUR", "GBP", "JPY", "USD"]


def choices_of(text: str) -> list[str]:
    select = re.search(r'<select id="currency".*?</select>', text, re.DOTALL)
    assert select
    return re.findall(r"<option[^>]*>(\w+)</option>", select[0])


def test_currency__lower_case_and_its_sign__are_understood(
    site: Client, shop: Shop, fresh_rates: None
):
    shop.sell(price_minor=30_000)
    query = asked(shop, currency="eur", max_price="€ 240")
    assert prices(text_of(site.get("/search", query))) == ["€240"]


def test_currency__rate_too_old__is_a_sentence_and_not_offered(
    site: Client, shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    know_rates(monkeypatch, days_old=400)
    shop.sell(price_minor=30_000)
    text = text_of(site.get("/search", asked(shop, currency="GBP")), 400)
    assert "Currency: Our exchange rate of this currency is too old." in text
    assert 'aria-describedby="currency-fault"' in text
    assert choices_of(text) == ["USD"]
    assert prices(text_of(site.get("/search", asked(shop)))) == ["$300"]


@pytest.mark.parametrize("currency", ["XYZ", "<b>", "dollars"])
def test_currency__that_has_no_rate__is_a_sentence(
    currency: str, site: Client, shop: Shop, fresh_rates: None
):
    text = text_of(site.get("/search", asked(shop, currency=currency)), 400)
    assert "Currency: We have no exchange rate of this currency." in text
    assert "<B>" not in text


def test_currency__nonsense_in_a_layovers_address__is_the_usual(site: Client):
    text = layover_page(site, price="500.00", best_price="430.00", currency="<script>")
    assert "The journey costs $70 more than the cheapest that way." in text
    yen = layover_page(site, price="50000", best_price="43000", currency="JPY")
    assert "The journey costs 7,000 JPY more than the cheapest that way." in yen


def test_amount__in_an_address__has_the_decimals_of_its_currency():
    assert [journeys._amount(1234567, code) for code in ("USD", "JPY", "KWD")] == [
        "12345.67",
        "1234567",
        "1234.567",
    ]
