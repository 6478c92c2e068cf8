"""What travellers read: the form, what was found, what is wrong, a layover."""

from __future__ import annotations

import html
import json
import re
from datetime import date, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from django_redis.exceptions import ConnectionInterrupted

from apps.configs.runtime import override_config
from apps.flights.models import Flight
from apps.storefront import limits, queries, views
from apps.storefront.places import places
from apps.tenants.models import Enterprise
from layoverhq.errors import QueryTimeout
from layoverhq.tenancy import operator_scope
from tests.flights.factories import Shop
from tests.storefront.factories import open_site, visitor

HTMX = {"HX-Request": "true"}


def text_of(response: Any, status: int = 200) -> str:
    assert response.status_code == status, response.content[:2000]
    return html.unescape(response.content.decode())


def asked(shop: Shop, **more: str) -> dict[str, str]:
    return {
        "origin": shop.origin,
        "destination": shop.destination,
        "departure_date": shop.day.isoformat(),
        "sort": "price",
        **more,
    }


def prices(text: str) -> list[str]:
    return re.findall(r'<p class="price">([^<]+)</p>', text)


def href(text: str, words: str) -> str:
    """Return where the link with these words leads."""
    found = [
        (target, inner)
        for target, inner in re.findall(r'<a[^>]* href="([^"]*)"[^>]*>(.*?)</a>', text, re.DOTALL)
        if words in inner
    ]
    assert found, f"no link says {words}"
    return found[0][0]


# --- the form


def test_home__any__has_a_labelled_field_for_each_question(site: Client):
    text = text_of(site.get("/"))
    for name in ("origin", "destination", "departure_date", "stay", "via", "max_price"):
        assert f'<label for="{name}"' in text
        assert f'id="{name}"' in text
    assert 'role="search"' in text
    assert '<html lang="en">' in text
    assert '<main id="main"' in text


def test_search__nothing_asked__leads_home(site: Client):
    response = site.get("/search?utm_source=mail")
    assert response.status_code == 302
    assert response["Location"] == "/"


def test_search__parameters_of_a_campaign__are_left_alone(site: Client, shop: Shop):
    shop.sell(price_minor=12_300)
    text = text_of(site.get("/search", asked(shop, utm_source="mail", fbclid="x")))
    assert prices(text) == ["$123"]


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"origin": ""}, "origin", "Say where you start from."),
        ({"destination": "Nowhereville"}, "destination", "No airport of that name is known."),
        ({"departure_date": ""}, "departure_date", "Choose the day you leave."),
        ({"departure_date": "2020-02-30"}, "departure_date", "Give a day, such as"),
        ({"departure_date": "2020-02-03"}, "departure_date", "This day is over"),
        ({"departure_date": "2099-01-01"}, "departure_date", "a year ahead at most"),
        ({"max_price": "cheap"}, "max_price", "Give an amount"),
        ({"max_price": "-1"}, "max_price", "Give an amount"),
        ({"stay": "forever"}, "stay", "Choose one of the lengths."),
        ({"sort": "beauty"}, "sort", "Choose one of the orders."),
        ({"via": "Atlantis"}, "via", "No airport of that name is known."),
        ({"cursor": "garbage"}, "cursor", "This list has changed"),
    ],
)
def test_search__faulty_field__is_told_at_the_field_and_above(
    change: dict[str, str], field: str, words: str, site: Client, shop: Shop
):
    offer = shop.sell()
    response = site.get("/search", {**asked(shop), **change})
    text = text_of(response, 400)
    assert response["Cache-Control"] == "no-store"
    summary = re.search(r'<div class="faults".*?</div>', text, re.DOTALL)
    assert summary
    assert words in summary[0]
    assert "One thing is missing or unclear" in summary[0]
    if field not in ("sort", "cursor"):
        assert f'aria-describedby="{field}-fault"' in text or f" {field}-fault" in text
        assert f'id="{field}-fault"' in text
    assert str(offer.pk) not in text


def test_search__same_place_twice__is_told(site: Client, shop: Shop):
    text = text_of(site.get("/search", asked(shop, destination=shop.origin)), 400)
    assert "That is where you start from." in text


def test_search__city_with_several_airports__offers_each(site: Client, shop: Shop):
    text = text_of(site.get("/search", asked(shop, origin="london")), 400)
    assert "Several airports fit." in text
    offered = re.findall(r'<button class="chip" type="submit" name="origin" value="([^"]+)"', text)
    assert "London (LHR)" in offered
    assert "London (LGW)" in offered
    # What is chosen comes after what was typed, and counts.
    again = site.get(
        f"/search?origin=london&origin=London%20(LHR)&destination={shop.destination}"
        f"&departure_date={shop.day}"
    )
    assert "London" in text_of(again)


def test_search__several_airports_of_one_town__the_served_is_meant(site: Client, monkeypatch: Any):
    monkeypatch.setattr(views, "served_airports", queries.ServedAirports())
    opened = Shop("LHR", "JFK", day=date.today() + timedelta(days=4))
    opened.sell(price_minor=9_900)
    try:
        text = text_of(site.get("/search", asked(opened, origin="london", destination="jfk")))
        assert prices(text) == ["$99"]
        assert 'value="London (LHR)"' in text
    finally:
        opened.close()


@pytest.mark.parametrize("spelling", ["{code}", "{lower}", " {label} ", "{label}"])
def test_search__airport_however_it_is_written__is_understood(
    spelling: str, site: Client, shop: Shop
):
    shop.sell(price_minor=45_600)
    place = places.get().by_code[shop.origin]
    typed = spelling.format(code=place.iata, lower=place.iata.lower(), label=place.label)
    text = text_of(site.get("/search", asked(shop, origin=typed)))
    assert prices(text) == ["$456"]


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "'; drop table flights; --",
        "{{ brand }}{% now 'Y' %}",
        "A" * 5_000,
        "\x00\x1b[31m",
        "%ff%fe",
    ],
)
@pytest.mark.parametrize("field", ["origin", "via", "max_price", "departure_date", "cursor"])
def test_search__hostile_text__is_only_text(hostile: str, field: str, site: Client, shop: Shop):
    response = site.get("/search", {**asked(shop), field: hostile})
    assert response.status_code == 400
    raw = response.content.decode()
    assert "<script>alert" not in raw
    assert "<img src=x" not in raw
    assert "A" * 200 not in raw
    assert "\x1b" not in raw


def test_search__too_many_parameters__is_refused_without_a_trace(site: Client):
    query = "&".join(f"x{number}=1" for number in range(2_000))
    text = text_of(site.get(f"/search?{query}"), 400)
    assert "This address cannot be read" in text
    assert "Traceback" not in text


# --- what was found


def test_results__offer_with_a_layover__tells_all_of_it(site: Client, shop: Shop):
    shop.sell([("DEN", 680)], price_minor=21_450)
    text = text_of(site.get("/search", asked(shop)))
    assert prices(text) == ["$214.50"]
    assert "11 h 20 min in Denver" in text
    assert "1 layover" in text
    bars = re.findall(r'<rect class="(flight|layover)" x="([\d.]+)" y="\d+" width="([\d.]+)"', text)
    # Two hours, eleven hours and twenty minutes, two hours: to scale.
    whole = 120 + 680 + 120
    assert [(kind, float(x), float(width)) for kind, x, width in bars] == [
        ("flight", 0.0, round(1000 * 120 / whole, 1)),
        ("flight", round(1000 * 800 / whole, 1), round(1000 * 120 / whole, 1)),
        ("layover", round(1000 * 120 / whole, 1), round(1000 * 680 / whole, 1)),
    ]


def test_results__modelled_offer__says_so_in_plain_words(site: Client, shop: Shop):
    shop.sell(modelled=True)
    text = text_of(site.get("/search", asked(shop)))
    assert "Sample data, partly estimated" in text
    assert "Arrival times, the date, the fare and the airline of this journey are estimated" in text
    shop.close()
    shop.sell()
    assert "Sample data" not in text_of(site.get("/search", asked(shop)))


def test_results__what_makes_a_connection_hard__is_a_badge(site: Client, shop: Shop):
    offer = shop.sell([("EWR", 300)])
    trouble = {
        "next_airport": "JFK",
        "self_transfer": True,
        "bag_recheck": True,
        "overnight": True,
    }
    with operator_scope():
        Flight.objects.filter(departure_day=shop.day, pk=offer.pk).update(
            layovers=[{**offer.layovers[0], **trouble}]
        )
    text = text_of(site.get("/search", asked(shop)))
    for words in (
        "Change of airport, EWR to JFK",
        "Separate tickets: you connect at your own risk",
        "Collect your bags on the way",
        "A night in Newark",
    ):
        assert words in text


def test_results__stay_and_price__narrow_them(site: Client, shop: Shop):
    shop.sell(price_minor=10_000)
    shop.sell([("DEN", 240)], price_minor=20_000)
    shop.sell([("DEN", 600)], price_minor=30_000)
    shop.sell([("ORD", 700)], price_minor=40_000)
    assert prices(text_of(site.get("/search", asked(shop)))) == ["$100", "$200", "$300", "$400"]
    city = text_of(site.get("/search", asked(shop, stay="city")))
    assert prices(city) == ["$300", "$400"]
    assert prices(text_of(site.get("/search", asked(shop, stay="city", via="ORD")))) == ["$400"]
    assert prices(text_of(site.get("/search", asked(shop, max_price="$200")))) == ["$100", "$200"]
    assert prices(text_of(site.get("/search", asked(shop, sort="duration"))))[0] == "$100"


def test_results__many__are_walked_by_links_without_repeating(site: Client, shop: Shop):
    for number in range(23):
        shop.sell(price_minor=10_000 + 100 * number)
    seen, url, pages = [], "/search?" + "&".join(f"{k}={v}" for k, v in asked(shop).items()), 0
    while url:
        text = text_of(site.get(url))
        seen += prices(text)
        pages += 1
        more = "Show more journeys" in text
        url = href(text, "Show more journeys") if more else ""
    assert pages == 3
    assert seen == [f"${100 + number}" for number in range(23)]


def test_results__more_for_htmx__is_only_what_is_new(site: Client, shop: Shop):
    for number in range(12):
        shop.sell(price_minor=10_000 + 100 * number)
    text = text_of(site.get("/search", asked(shop)))
    response = site.get(href(text, "Show more journeys"), headers=HTMX)
    part = text_of(response)
    assert prices(part) == ["$110", "$111"]
    assert "<html" not in part
    assert "<main" not in part
    assert part.count("data-focus") == 1
    assert "That is all of them." in part


def test_results__for_htmx__are_the_main_part_with_the_address_to_show(site: Client, shop: Shop):
    shop.sell()
    response = site.get("/search", asked(shop, stay="city", sort="price", via=""), headers=HTMX)
    part = text_of(response)
    assert part.startswith('<main id="main"')
    assert "<html" not in part
    assert response["HX-Push-Url"] == (
        f"/search?origin={shop.origin}&destination={shop.destination}"
        f"&departure_date={shop.day}&stay=city&sort=price"
    )
    # The same address asked for by a browser is a whole page.
    assert "<html" in text_of(site.get(response["HX-Push-Url"]))


def test_results__history_of_htmx__is_a_whole_page(site: Client, shop: Shop):
    headers = {**HTMX, "HX-History-Restore-Request": "true"}
    assert "<html" in text_of(site.get("/search", asked(shop), headers=headers))


def test_results__whole_and_part__are_kept_apart_by_caches(site: Client, shop: Shop):
    response = site.get("/search", asked(shop))
    assert response["Cache-Control"] == "public, max-age=30"
    assert "HX-Request" in response["Vary"]


def test_results__none__say_what_to_give_up_and_what_it_would_find(site: Client, shop: Shop):
    shop.sell([("DEN", 600)], price_minor=30_000)
    shop.sell([("DEN", 700)], price_minor=31_000)
    shop.sell([("ORD", 600)], price_minor=9_000)
    narrow = asked(shop, stay="city", via="DEN", max_price="100")
    text = text_of(site.get("/search", narrow))
    assert "No journey fits all of that" in text
    assert re.findall(r"any price <b>(\d+)</b>", text) == ["2"]
    assert re.findall(r"a layover anywhere <b>(\d+)</b>", text) == ["1"]
    assert prices(text_of(site.get(href(text, "any price")))) == ["$300", "$310"]
    assert prices(text_of(site.get(href(text, "a layover anywhere")))) == ["$90"]
    assert "a layover of any length" not in text


def test_results__each_misses_several_wishes__all_can_be_given_up(site: Client, shop: Shop):
    shop.sell([("DEN", 600)], price_minor=30_000)
    text = text_of(site.get("/search", asked(shop, via="ORD", max_price="100")))
    assert prices(text_of(site.get(href(text, "Show them all")))) == ["$300"]


def test_results__nothing_that_day__name_the_days_nearby(site: Client, shop: Shop):
    shop.sell(price_minor=77_700)
    day_before = (shop.day - timedelta(days=1)).isoformat()
    text = text_of(site.get("/search", asked(shop, departure_date=day_before)))
    assert "Something does on:" in text
    other = f"{shop.day:%a} {shop.day.day} {shop.day:%B}"
    assert prices(text_of(site.get(href(text, other)))) == ["$777"]


def test_results__nothing_flies__suggest_another_airport(site: Client, shop: Shop):
    text = text_of(site.get("/search", asked(shop)))
    assert "Nothing flies between these places around this day." in text


def test_results__time_in_town__is_asked_of_the_search(site: Client, shop: Shop):
    shop.sell([("DEN", 600)], price_minor=30_000, ground=[(300, 60, False)])
    shop.sell([("DEN", 610)], price_minor=40_000, ground=[(300, 250, False)])
    shop.sell([("DEN", 620)], price_minor=50_000, ground=[(60, 60, False)])
    assert prices(text_of(site.get("/search", asked(shop, town="4h")))) == ["$300", "$400"]
    assert prices(text_of(site.get("/search", asked(shop, town="4h-day")))) == ["$400"]


def test_results__usual_order__is_by_the_layovers_worth(site: Client, shop: Shop):
    shop.sell([("DEN", 130)], price_minor=30_000, ground=[(0, 0, False)])
    shop.sell([("DEN", 700)], price_minor=30_100, ground=[(420, 400, False)])
    query = {name: value for name, value in asked(shop).items() if name != "sort"}
    text = text_of(site.get("/search", query))
    assert prices(text) == ["$301", "$300"]
    scores = [int(score) for score in re.findall(r"Layover</span> <b>(\d+)</b>", text)]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 2


# --- whose offers


def test_results__private_offers__are_seen_at_their_enterprises_host_only(
    enterprise: Enterprise, site: Client, other_enterprise: Enterprise, shop: Shop
):
    other = visitor(open_site(other_enterprise))
    shop.sell(price_minor=50_000)
    shop.sell(price_minor=11_100, enterprise=enterprise, negotiated=True)
    shop.sell(price_minor=22_200, enterprise=enterprise)
    shop.sell(price_minor=33_300, enterprise=other_enterprise, negotiated=True)
    mine, theirs = (text_of(who.get("/search", asked(shop))) for who in (site, other))
    assert prices(mine) == ["$111", "$222", "$500"]
    assert prices(theirs) == ["$333", "$500"]
    assert mine.count("Our own fare") == 2


def test_results__cursor_of_anothers_host__shows_only_ones_own(
    site: Client, other_enterprise: Enterprise, shop: Shop
):
    other = visitor(open_site(other_enterprise))
    for number in range(11):
        shop.sell(price_minor=20_000 + 100 * number)
    shop.sell(price_minor=100, enterprise=other_enterprise, negotiated=True)
    shop.sell(price_minor=29_900, enterprise=other_enterprise, negotiated=True)
    theirs = text_of(other.get("/search", asked(shop)))
    mine = text_of(site.get(href(theirs, "Show more journeys")))
    assert prices(mine) == ["$209", "$210"]


# --- suggestions


def suggested(client: Client, typed: str, field: str = "origin") -> list[str]:
    response = client.get(f"/airports/{field}", {field: typed})
    return re.findall(r'data-value="([^"]+)"', text_of(response))


def test_suggestions__code__comes_first(site: Client):
    assert suggested(site, "ist")[0] == "Istanbul (IST)"
    assert suggested(site, "JFK")[0] == "New York (JFK)"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("zur", "Zurich (ZRH)"),
        ("Zür", "Zurich (ZRH)"),
        ("sao paulo", "Sao Paulo (GRU)"),
        ("istanb", "Istanbul (IST)"),
        ("heathrow", "London (LHR)"),
    ],
)
def test_suggestions__town_or_name__with_or_without_accents(
    typed: str, expected: str, site: Client
):
    assert expected in suggested(site, typed)


def test_suggestions__served_airports__come_first(site: Client, shop: Shop, monkeypatch: Any):
    served = queries.ServedAirports()
    monkeypatch.setattr(views, "served_airports", served)
    sfo = Shop("SFO", "JFK", day=date.today() + timedelta(days=3))
    sfo.sell()
    try:
        assert suggested(site, "san fra")[0] == "San Francisco (SFO)"
        assert suggested(site, "san")[:2] == ["San Diego (SAN)", "San Francisco (SFO)"]
    finally:
        sfo.close()


def test_suggestions__database_away__are_there_all_the_same(site: Client, monkeypatch: Any):
    def away(*args: Any, **options: Any) -> Any:
        raise OperationalError("connection refused")

    monkeypatch.setattr(queries, "fetch_in_scope", away)
    monkeypatch.setattr(views, "served_airports", queries.ServedAirports())
    assert "Istanbul (IST)" in suggested(site, "istanb")


def test_suggestions__nothing_fits__say_so(site: Client):
    text = text_of(site.get("/airports/via", {"via": "qqqq<b>"}))
    assert "No airport fits “qqqq<b>”." in text
    assert "<b>" not in site.get("/airports/via", {"via": "qqqq<b>"}).content.decode()


def test_suggestions__nothing_typed__are_none(site: Client):
    assert text_of(site.get("/airports/origin")).strip() == ""


def test_suggestions__field_that_there_is_not__is_404(site: Client):
    assert site.get("/airports/password").status_code == 404


# --- bounds


def test_limit__too_many_pages__asks_to_wait(site: Client):
    with override_config({"storefront.requests_per_minute": 10}):
        statuses = [site.get("/").status_code for _ in range(25)]
        refused = site.get("/")
    # A minute may turn in between: then both minutes have ten.
    assert statuses.count(200) in (10, 20)
    assert statuses.count(200) + statuses.count(429) == 25
    if refused.status_code == 429:
        assert "A little too fast" in text_of(refused, 429)
        assert 1 <= int(refused["Retry-After"]) <= 60
        assert refused["Cache-Control"] == "no-store"


def test_limit__another_address_or_site__is_not_touched(host: str, other_enterprise: Enterprise):
    other = open_site(other_enterprise)
    with override_config({"storefront.requests_per_minute": 10}):
        for _ in range(31):
            last = visitor(host).get("/", REMOTE_ADDR="203.0.113.7")
        assert last.status_code == 429
        assert visitor(host).get("/", REMOTE_ADDR="203.0.113.8").status_code == 200
        assert visitor(other).get("/", REMOTE_ADDR="203.0.113.7").status_code == 200


def test_limit__addresses_of_one_ipv6_network__count_together(host: str):
    with override_config({"storefront.requests_per_minute": 10}):
        statuses = [
            visitor(host).get("/", REMOTE_ADDR=f"2001:db8:1:2::{number:x}").status_code
            for number in range(31)
        ]
        assert statuses[-1] == 429
        assert visitor(host).get("/", REMOTE_ADDR="2001:db8:1:3::1").status_code == 200


def test_limit__files_of_the_page__are_not_counted(site: Client):
    url = re.search(r'href="(/assets/[^"]+\.css)"', text_of(site.get("/")))
    assert url
    with override_config({"storefront.requests_per_minute": 10}):
        assert {site.get(url[1]).status_code for _ in range(40)} == {200}


def test_limit__cache_away__refuses_nobody_and_asks_it_once(site: Client, monkeypatch: Any):
    asked_for = []

    def away(*args: Any, **options: Any) -> Any:
        asked_for.append(args)
        raise ConnectionInterrupted(connection=None)

    monkeypatch.setattr(limits.cache, "add", away)
    monkeypatch.setattr(limits.limiter, "_rests_until", 0.0)
    with override_config({"storefront.requests_per_minute": 10}):
        assert {site.get("/").status_code for _ in range(30)} == {200}
    assert len(asked_for) == 1
    monkeypatch.setattr(limits.limiter, "_rests_until", 0.0)


def test_limit__key_in_the_cache__tells_no_address():
    assert "203" not in limits._mark("acme.localhost", "203.0.113.7")


# --- faults


def test_fault__database_away__is_a_branded_503(
    enterprise: Enterprise, site: Client, shop: Shop, monkeypatch: Any
):
    def away(*args: Any, **options: Any) -> Any:
        raise OperationalError('connection to server at "db.internal", port 5432 failed')

    monkeypatch.setattr(views, "search_flights", away)
    response = site.get("/search", asked(shop))
    text = text_of(response, 503)
    assert "We will be right back" in text
    assert enterprise.name in text
    assert "db.internal" not in text
    assert response["Retry-After"] == "5"
    assert response["Cache-Control"] == "no-store"
    # What stands on the page stays there, and a sentence tells.
    part = site.get("/search", asked(shop), headers=HTMX)
    assert text_of(part, 503).startswith("We will be right back. ")
    assert part["Content-Type"] == "text/plain; charset=utf-8"
    assert (part["HX-Reswap"], part["HX-Push-Url"]) == ("none", "false")
    assert part["Retry-After"] == "5"


def test_fault__search_takes_too_long__is_a_503(site: Client, shop: Shop, monkeypatch: Any):
    def slow(*args: Any, **options: Any) -> Any:
        raise QueryTimeout("The query took longer than 30 s.")

    monkeypatch.setattr(views, "search_flights", slow)
    assert "We will be right back" in text_of(site.get("/search", asked(shop)), 503)


def test_fault__of_ours__is_a_branded_500_without_its_cause(
    enterprise: Enterprise, site: Client, shop: Shop, monkeypatch: Any
):
    def broken(*args: Any, **options: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(views, "search_flights", broken)
    text = text_of(site.get("/search", asked(shop)), 500)
    assert "Something went wrong" in text
    assert enterprise.name in text
    assert "secret" not in text
    assert "Traceback" not in text


def test_fault__even_the_brand__is_a_plain_page(site: Client, monkeypatch: Any):
    monkeypatch.setattr(
        "apps.storefront.visiting.brand_of", lambda *args: json.loads("not a brand")
    )
    text = text_of(site.get("/"), 500)
    assert "Something went wrong" in text
    assert "Traceback" not in text


def test_fault__no_such_page__is_branded(enterprise: Enterprise, site: Client):
    text = text_of(site.get("/nowhere"), 404)
    assert "This page is not here" in text
    assert enterprise.name in text


# --- a layover


def layover_query(**changes: str) -> dict[str, str]:
    day = timezone.now().date() + timedelta(days=5)
    usual = {
        "airport": "IST",
        "arrival": f"{day}T09:00+03:00",
        "departure": f"{day}T21:00+03:00",
        "from": "JFK",
        "to": "SIN",
    }
    return {name: value for name, value in {**usual, **changes}.items() if value}


def test_layover__from_a_result__is_a_link_with_the_way_back(site: Client, shop: Shop):
    shop.sell([("DEN", 680)])
    text = text_of(site.get("/search", asked(shop, stay="city")))
    link = href(text, "11 h 20 min in Denver")
    page = text_of(site.get(link))
    assert "11 h 20 min in Denver" in page
    back = href(page, "Back to the journeys")
    assert parse_qs(urlsplit(back).query) == {
        "origin": [shop.origin],
        "destination": [shop.destination],
        "departure_date": [shop.day.isoformat()],
        "stay": ["city"],
        "sort": ["price"],
    }
    assert prices(text_of(site.get(back))) == ["$300"]


@pytest.mark.parametrize(
    "changes",
    [
        {"airport": ""},
        {"airport": "QQQ"},
        {"arrival": ""},
        {"arrival": "yesterday"},
        {"departure": "2026-13-01T00:00"},
        {"departure": "2020-01-01T00:00+00:00"},
        {"departure": "2099-01-01T00:00+00:00"},
        {"arrival": "0001-01-01T00:00+14:00"},
        {"arrival": "9999-12-31T23:59-14:00"},
    ],
)
def test_layover__address_that_describes_none__is_404(changes: dict[str, str], site: Client):
    text = text_of(site.get("/layover", layover_query(**changes)), 404)
    assert "This page is not here" in text


@pytest.mark.parametrize(
    "search",
    [
        "//evil.example/?origin=SFO",
        "https://evil.example/",
        "javascript:alert(1)",
        "origin=SFO&next=//evil.example",
        "\x00" * 10,
        "&".join(["origin=a"] * 2_000),
    ],
)
def test_layover__forged_way_back__leads_to_ones_own_search_or_nowhere(search: str, site: Client):
    text = text_of(site.get("/layover", layover_query(search=search)))
    assert "evil.example" not in text
    assert "javascript:" not in text
    for back in re.findall(r'href="([^"]+)">Back to the journeys', text):
        assert back.startswith("/search?origin=")


def test_layover__plus_signs_unescaped_on_the_way__are_understood(site: Client):
    query = layover_query()
    raw = "&".join(f"{name}={value}" for name, value in query.items())
    assert "12 h in Istanbul" in text_of(site.get(f"/layover?{raw}"))
