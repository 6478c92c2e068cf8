"""The layover's page: every number on it is the analysis' own, in plain words."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from apps.configs.runtime import override_config
from apps.layovers.models import Experience
from apps.storefront import insight, views
from apps.storefront.insight import MAP_CENTRE, MAP_RADIUS, drawn
from apps.storefront.places import places
from apps.tenants.models import Enterprise
from layoverhq.tenancy import operator_scope
from tests.flights.factories import Shop

HTMX = {"HX-Request": "true"}


def query(**changes: str) -> dict[str, str]:
    """Describe twelve hours in Istanbul, on a Saturday to come."""
    today = timezone.now().date()
    day = today + timedelta(days=(5 - today.weekday()) % 7 + 7)
    usual = {
        "airport": "IST",
        "arrival": f"{day}T08:00+03:00",
        "departure": f"{day}T20:00+03:00",
        "from": "JFK",
        "to": "SIN",
    }
    return {name: value for name, value in {**usual, **changes}.items() if value}


def page(site: Client, **changes: str) -> str:
    response = site.get("/layover", query(**changes))
    assert response.status_code == 200, response.content[:1000]
    return html.unescape(response.content.decode())


def section(text: str, name: str) -> str:
    found = re.search(rf'<section[^>]* aria-labelledby="{name}">.*?</section>', text, re.DOTALL)
    assert found, f"no section {name}"
    return found[0]


def analysis(site: Client, monkeypatch: Any, **changes: Any) -> None:
    """Let the analysis be the real one with changes."""
    real = insight.analysed

    def changed(*args: Any, **options: Any) -> Any:
        document = real(*args, **options)
        assert document
        return {**document, **changes}

    monkeypatch.setattr(views, "analysed", changed)


def test_time__of_a_city_day__adds_up_to_the_layover(site: Client):
    text = section(page(site), "time")
    parts = re.findall(r'<rect class="(\w+)" x="([\d.]+)" y="4" width="([\d.]+)"', text)
    assert [kind for kind, _, _ in parts] == ["exit", "way", "town", "way", "buffer"]
    assert sum(float(width) for _, _, width in parts) == pytest.approx(1000, abs=0.5)
    minutes = [
        int(hours or 0) * 60 + int(rest or 0)
        for hours, rest in re.findall(r"<b>(?:(\d+) h)? ?(?:(\d+) min)?</b></li>", text)
    ]
    assert sum(minutes) == 12 * 60


def test_time__at_night__says_what_is_open_and_that_it_is_a_night(site: Client):
    given = query()
    day = given["arrival"][:10]
    text = section(page(site, arrival=f"{day}T01:00+03:00", departure=f"{day}T11:00+03:00"), "time")
    assert "while it is awake, from 8 to 22 o’clock" in text
    assert "You spend a night there." in text


def test_time__too_short__says_to_stay(site: Client):
    day = query()["arrival"][:10]
    text = page(site, departure=f"{day}T10:00+03:00")
    assert "There is not enough time to leave the airport" in section(text, "time")
    assert "Stay in the terminal" in section(text, "plan")


def test_plan__of_a_known_city__is_in_order_and_within_the_layover(site: Client):
    text = section(page(site), "plan")
    times = re.findall(r'<time datetime="([^"]+)">', text)
    assert len(times) >= 4
    assert times == sorted(times)
    with operator_scope():
        known = set(Experience.objects.filter(airport="IST").values_list("name", flat=True))
    named = re.findall(r"<div><b>([^<]+)</b>", text)
    assert named
    assert set(named) <= known
    assert "Indicative" in text


def test_map__sights__are_as_far_from_the_centre_as_they_are(site: Client):
    with operator_scope():
        sights = list(Experience.objects.active().filter(airport="IST", base="centre"))
    found = drawn(sights, [])
    assert found
    scales = []
    for spot in found.spots:
        (sight,) = (each for each in sights if each.name == spot.name)
        x, y = spot.x - MAP_CENTRE[0], spot.y - MAP_CENTRE[1]
        reach = (x * x + y * y) ** 0.5
        assert reach <= MAP_RADIUS + 0.2
        if sight.distance_metres:
            scales.append(reach / sight.distance_metres)
    assert max(scales) == pytest.approx(min(scales), rel=0.02)
    text = page(site)
    assert "Distances from the centre are to scale; directions are not." in section(text, "map")
    assert "http" not in re.sub(r"https?://www\.w3\.org/\S+", "", section(text, "map"))


def test_score__components__add_up(site: Client):
    text = page(site)
    why = section(text, "why")
    (score,) = re.findall(r"Why (\d+) of 100", why)
    points = [float(each) for each in re.findall(r"<b>([\d.]+) <span", why)]
    assert sum(points) == pytest.approx(int(score), abs=1)
    assert f"<b>{score}</b>" in text
    assert "your passport is not known" in why


def test_score__of_the_list__is_told_where_it_is_another(site: Client):
    why = section(page(site), "why")
    found = re.search(r"Why (\d+) of 100", why)
    assert found
    assert "in the list" not in why
    assert "in the list" not in section(page(site, listed=found[1]), "why")
    assert "The journey’s 3 in the list" in section(page(site, listed="3"), "why")
    assert "in the list" not in section(page(site, listed="101"), "why")


def test_premium__of_a_dearer_journey__is_told(site: Client):
    text = page(site, price="500.00", best_price="430.00", duration="1200", best_duration="900")
    assert "The journey costs $70 more than the cheapest that way." in section(text, "next")


@pytest.mark.parametrize("bad", ["-1", "1e9", "'", "9" * 20, "1,5"])
def test_premium__nonsense_in_the_address__is_left_out(bad: str, site: Client):
    assert "more than the cheapest" not in page(site, price=bad, best_price="430.00")


@pytest.mark.parametrize(
    ("passport", "words"),
    [
        ("US", "Enter without a visa."),
        ("TR", "Your own country."),
        ("de", "Enter without a visa."),
    ],
)
def test_passport__known__tells_the_rule(passport: str, words: str, site: Client):
    text = section(page(site, passport=passport), "entry")
    assert words in text
    assert f'<option value="{passport.upper()}" selected>' in text
    assert "Ask the embassy" in text


@pytest.mark.parametrize("passport", ["", "QQ", "<script>", "USA"])
def test_passport__none_or_nonsense__asks_for_one(passport: str, site: Client):
    text = page(site, passport=passport)
    assert "Choose your passport to see what it needs." in section(text, "entry")


def test_passport__chosen_without_scripts__keeps_the_rest_of_the_address(site: Client):
    text = section(page(site, search="origin=SFO", price="500", best_price="430"), "entry")
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', text))
    wanted = query(search="origin=SFO", price="500", best_price="430")
    assert hidden == wanted
    assert "<noscript><button" in text


def test_passport__chosen_with_htmx__is_the_main_part(site: Client):
    response = site.get("/layover", query(passport="US"), headers=HTMX)
    text = response.content.decode()
    assert text.startswith('<main id="main"')
    assert "Enter without a visa" in text
    assert "HX-Request" in response["Vary"]


def test_notes__hard_connection__are_told(site: Client):
    text = section(
        page(site, self_transfer="yes", bag_recheck="yes", terminal_change="yes"), "next"
    )
    assert "You change the terminal." in text
    assert "Separate tickets: if you miss it, nobody has to take you." in text
    assert "Collect your bags and check them in again." in text


def test_next__from_another_airport__is_told_and_nothing_is_worked_out(site: Client):
    text = page(site, onward="SAW", self_transfer="yes", bag_recheck="yes")
    told = section(text, "next")
    assert "and go on from" in told
    assert "(SAW)" in told
    assert "Separate tickets: if you miss it, nobody has to take you." in told
    assert "Collect your bags and check them in again." in told
    assert "of 100" not in text
    assert "to spend in town" not in text


def test_weather__hours__are_words_and_degrees(site: Client, monkeypatch: Any):
    hours = [
        {
            "hour": f"2026-12-05T{hour:02}:00+03:00",
            "temperature": 11.6,
            "precipitation": rain,
            "wind_kmh": 10,
            "cloud_percent": 50,
            "weather_code": code,
            "comfort": 60,
        }
        for hour, code, rain in ((9, 0, 0.0), (10, 61, 1.2), (11, 95, 0.0), (12, 3, 0.0))
    ]
    weather = {"state": "last_known", "source": "test", "comfort": 60, "hours": hours}
    analysis(site, monkeypatch, weather=weather)
    text = section(page(site), "sky")
    assert re.findall(r"<b>(-?\d+)°</b>", text) == ["12"] * 4
    for words in ("Clear", "Rain<br>1.2 mm", "Thunderstorm", "Overcast", "an older one"):
        assert words in text


@pytest.mark.parametrize("state", ["unavailable", "beyond_forecast", "off"])
def test_weather__not_known__says_why(state: str, site: Client, monkeypatch: Any):
    weather = {"state": state, "source": None, "comfort": None, "hours": []}
    analysis(site, monkeypatch, weather=weather)
    assert insight.WEATHER_STATES[state] in section(page(site), "sky")


def test_obstacle__too_short_a_change__is_said_first(site: Client):
    day = query()["arrival"][:10]
    text = page(site, departure=f"{day}T08:30+03:00")
    assert "This connection does not work" in section(text, "obstacles")


def test_layover__that_is_over__tells_its_time_alone(site: Client):
    text = page(site, arrival="2020-03-07T08:00+03:00", departure="2020-03-07T20:00+03:00")
    assert "12 h in Istanbul" in text
    assert "Nothing more to tell" in text
    assert "to spend in town" in section(text, "time")


def test_time__clocks_go_back__counts_the_hour_that_is_there_twice(site: Client):
    text = page(
        site,
        airport="JFK",
        arrival="2026-10-31T22:00-04:00",
        departure="2026-11-01T08:00-05:00",
        to="LHR",
        **{"from": "SFO"},
    )
    assert "11 h" in text
    assert "10 h" not in text


def test_score__weights__are_the_hosts_own_tenants(
    enterprise: Enterprise, site: Client, other_enterprise: Enterprise
):
    usual = section(page(site), "why")
    with override_config({"algorithm.safety_weight": 0}, tenant=other_enterprise):
        assert section(page(site), "why") == usual
    with override_config({"algorithm.safety_weight": 0}, tenant=enterprise):
        own = section(page(site), "why")
    assert re.search(r"A safe connection</span>.*?<b>0\.0 <span", own, re.DOTALL)


def test_layover__database_away__is_a_branded_503(site: Client, monkeypatch: Any):
    def away(*args: Any, **options: Any) -> Any:
        raise OperationalError("no route to db.internal")

    monkeypatch.setattr(views, "analysed", away)
    response = site.get("/layover", query())
    assert response.status_code == 503
    assert "db.internal" not in response.content.decode()


def test_layover__from_a_search__compares_with_the_best_of_the_route(site: Client, shop: Shop):
    shop.sell(price_minor=20_000)
    shop.sell([("DEN", 700)], price_minor=26_000)
    asked = {**shop.asked, "stay": "city"}
    text = html.unescape(site.get("/search", asked).content.decode())
    link = re.search(r'<a class="stop" href="([^"]+)"', text)
    assert link
    told = html.unescape(site.get(link[1]).content.decode())
    assert "The journey costs $60 more than the cheapest that way." in told


def test_places__of_every_sight__have_a_name():
    with operator_scope():
        codes = set(Experience.objects.values_list("airport_id", flat=True))
    assert not [code for code in codes if not places.get().by_code[code].town]
