"""The visa table: what it says is well-formed, what it does not say is unknown."""

from __future__ import annotations

import csv
from importlib import resources

import pytest

from apps.flights.ground import SCHENGEN
from apps.layovers.bags import ADVICES, ASK, RECHECK, THROUGH, bag_advice
from apps.layovers.visas import COUNTRIES, EUROPE, STATUSES, UNKNOWN, visa_hint

GROUPS = {"SCHENGEN", "EUROPE"}


def rows() -> list[dict[str, str]]:
    text = (resources.files("apps.layovers") / "data/visa_rules.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_table__every_line__names_countries_and_a_status() -> None:
    for row in rows():
        assert row["country"] in COUNTRIES | GROUPS, row
        assert {*row["passports"].split()} <= COUNTRIES | GROUPS, row
        assert row["status"] in STATUSES, row
        # Who needs something is told what is left without it, if only that it is not known.
        assert bool(row["without_visa"]) == (row["status"] != "free"), row


def test_table__no_passport__is_told_two_things_of_a_country() -> None:
    seen: dict[tuple[str, str], str] = {}
    members = {"SCHENGEN": SCHENGEN, "EUROPE": EUROPE}
    for row in rows():
        for country in members.get(row["country"], [row["country"]]):
            for named in row["passports"].split():
                for passport in members.get(named, [named]):
                    if country == passport:
                        continue
                    told = seen.setdefault((country, passport), row["status"])
                    assert told == row["status"], (country, passport)


@pytest.mark.parametrize("country", ["US", "DE", "SG", "BR"])
def test_hint__own_passport__needs_nothing(country: str) -> None:
    hint = visa_hint(country=country, passport=country, crosses_border=True)
    assert hint.status == "own_country"
    assert hint.enters_city(held=False)


def test_hint__not_in_the_table__is_never_guessed() -> None:
    for country, passport in (("ET", "US"), ("US", "RO"), ("KE", "FR"), ("CN", "DE")):
        hint = visa_hint(country=country, passport=passport, crosses_border=True)
        assert (hint.status, hint.is_known) == (UNKNOWN, False)
        assert "embassy" in hint.document()["advice"]


def test_hint__required__is_no_way_into_town_unless_it_is_held() -> None:
    hint = visa_hint(country="US", passport="IN", crosses_border=True)
    assert (hint.enters_city(held=False), hint.connects(held=False)) == (False, False)
    assert (hint.enters_city(held=True), hint.connects(held=True)) == (True, True)
    airside = visa_hint(country="DE", passport="IN", crosses_border=True)
    assert (airside.enters_city(held=False), airside.connects(held=False)) == (False, True)


@pytest.mark.parametrize(
    ("facts", "advice"),
    [
        ({"self_transfer": True}, RECHECK),
        ({"origin_country": None}, ASK),
        ({"country": "US", "origin_country": "FR"}, RECHECK),
        ({"country": "US", "origin": "DUB", "origin_country": "IE"}, THROUGH),
        ({"country": "CA", "origin_country": "FR", "destination_country": "CA"}, ASK),
        ({"country": "TR", "origin_country": "FR", "destination_country": "SG"}, THROUGH),
        ({"overnight": True}, ASK),
        ({}, THROUGH),
    ],
)
def test_bags__by_route__are_told(facts: dict[str, object], advice: str) -> None:
    usual = {
        "country": "US", "origin": "XXX", "origin_country": "US", "destination_country": "US",
        "self_transfer": False, "overnight": False,
    }  # fmt: skip
    found, detail = bag_advice(**{**usual, **facts})  # type: ignore[arg-type]
    assert found == advice
    assert found in ADVICES
    assert detail.endswith(".")
