"""The analysis over HTTP: who may ask, what is answered, what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.utils import timezone

from apps.configs.runtime import override_config
from apps.flights.airports import airports
from apps.layovers.models import LayoverAnalysis
from apps.tenants.models import Enterprise, Scope
from layoverhq.errors import PROBLEM_CONTENT_TYPE
from layoverhq.tenancy import operator_scope
from tests.layovers.factories import ANALYSIS, add_experience, own_airport, question
from tests.tenants import factories as tenants

DOMESTIC = {"from": "SFO", "to": "BOS"}


def analysed(client: Client, asked: dict[str, str]) -> dict[str, Any]:
    response = client.get(ANALYSIS, asked)
    assert response.status_code == 200, response.content
    found: dict[str, Any] = response.json()
    return found


def refusals(client: Client, asked: dict[str, str] | str) -> dict[str, str]:
    """Return the code of each field that was refused."""
    response = client.get(
        ANALYSIS, QUERY_STRING=asked if isinstance(asked, str) else urlencode(asked)
    )
    assert response.status_code == 400, response.content
    assert response["Content-Type"] == PROBLEM_CONTENT_TYPE
    return {error["field"]: error["code"] for error in response.json()["errors"]}


# What is answered


def test_analysis__nine_hours_in_chicago__is_a_plan_within_its_hours(api: Client) -> None:
    found = analysed(api, question("ORD", **DOMESTIC))

    assert (found["airport"]["city"], found["mode"], found["minutes"]) == ("Chicago", "city", 540)
    parts = found["usable"]["parts"]
    # a domestic traveller's halves of 45 and 90, and 50 each way
    assert (parts["exit_minutes"], parts["transfer_minutes"], parts["buffer_minutes"]) == (
        22,
        50,
        45,
    )
    assert found["usable"]["minutes"] == 540 - 22 - 45 - 2 * 50
    assert found["usable"]["in_city_from"][11:16] == "10:12"
    stops = found["plan"]["stops"]
    assert stops
    assert all(stop["is_indicative"] and stop["source"] for stop in stops)
    assert "10:12" < stops[0]["begins"][11:] < stops[-1]["ends"][11:] < "16:26"
    assert found["plan"]["back_at_airport"][11:] <= "17:15"
    assert "Indicative" in found["plan"]["note"]
    assert found["visa"]["requirement"] == "no_border"
    assert found["bags"]["advice"] == "checked_through"
    assert found["connection"]["basis"] == "airport"
    assert found["feasible"] is True
    assert sum(part["points"] for part in found["components"]) == pytest.approx(
        found["score"], abs=0.6
    )


def test_analysis__two_hours__scores_the_wait(api: Client) -> None:
    found = analysed(api, question("ORD", hours=2, **DOMESTIC))
    assert found["mode"] == "airport"
    assert [part["name"] for part in found["components"]] == [
        "airport_comfort",
        "safety",
        "premium",
    ]
    assert found["plan"]["stops"] == []
    # two hours by day are no burden
    assert found["components"][0]["value"] == 1.0


def test_analysis__by_night__has_no_usable_minutes(api: Client) -> None:
    found = analysed(api, question("ORD", hour=22, hours=8, **DOMESTIC))
    assert (found["usable"]["minutes"], found["mode"]) == (0, "airport")
    assert found["usable"]["overnight"] is True
    assert found["components"][0]["value"] < 0.5


def test_analysis__too_short__is_infeasible_and_says_why(api: Client) -> None:
    found = analysed(api, question("ORD", hours=0.5, **DOMESTIC))
    assert (found["feasible"], found["score"]) == (False, 0)
    assert [each["code"] for each in found["obstacles"]] == ["minimum_connection"]
    assert found["connection"]["share_on_time"] is None


@pytest.mark.parametrize(
    ("passport", "more", "status", "feasible", "mode"),
    [
        ("US", {}, "own_country", True, "city"),
        ("DE", {}, "authorisation", True, "city"),
        ("IN", {}, "required", False, "airport"),
        ("IN", {"visa_held": "true"}, "required", True, "city"),
        ("KZ", {}, "unknown", True, "city"),
    ],
)
def test_analysis__over_a_border__asks_for_the_passport(
    api: Client, passport: str, more: dict[str, str], status: str, feasible: bool, mode: str
) -> None:
    asked = question("JFK", hours=12, passport=passport, **{"from": "LHR", "to": "BOS"}, **more)
    found = analysed(api, asked)
    assert (found["visa"]["requirement"], found["feasible"], found["mode"]) == (
        status,
        feasible,
        mode,
    )
    assert found["bags"]["advice"] == "claim_and_recheck"
    assert "embassy" in found["visa"]["advice"]
    assert ("visa_unknown" in found["doubts"]) == (status == "unknown")


def test_analysis__required_visa_elsewhere__leaves_the_airport(api: Client) -> None:
    asked = question("FRA", hours=12, passport="IN", **{"from": "DEL", "to": "JFK"})
    found = analysed(api, asked)
    assert (found["visa"]["requirement"], found["visa"]["without_visa"]) == ("required", "airside")
    assert (found["feasible"], found["mode"], found["plan"]["stops"]) == (True, "airport", [])


def test_analysis__within_schengen__crosses_no_border(api: Client) -> None:
    found = analysed(api, question("FRA", hours=12, passport="IN", **{"from": "MAD", "to": "ARN"}))
    assert found["visa"]["requirement"] == "no_border"


def test_analysis__premium__counts_against_the_score(api: Client) -> None:
    asked = question("ORD", **DOMESTIC)
    cheap = analysed(api, {**asked, "price": "200", "best_price": "200"})
    dear = analysed(api, {**asked, "price": "300.50", "best_price": "200"})
    assert dear["premium"] == {"extra_price": "100.50", "extra_minutes": None}
    assert cheap["score"] > dear["score"]
    assert "premium_missing" not in cheap["doubts"]


def test_analysis__less_known__is_less_sure(api: Client) -> None:
    whole = analysed(api, question("ORD", **DOMESTIC))
    anonymous = analysed(api, question("ORD"))
    unseen = analysed(api, question(own_airport(), **DOMESTIC))
    assert {"origin_missing", "destination_missing", "passport_missing"} <= {*anonymous["doubts"]}
    assert anonymous["confidence"] < whole["confidence"]
    assert {"experiences_missing", "ground_times_assumed"} <= {*unseen["doubts"]}
    assert unseen["confidence"] < whole["confidence"]


def test_analysis__experience_deactivated__is_in_no_plan(api: Client) -> None:
    place = own_airport()
    add_experience(place, name="Only this", opening_hours="24h")
    add_experience(place, name="Not this", opening_hours="24h", is_active=False, rating_tenths=50)
    stops = analysed(api, question(place, **DOMESTIC))["plan"]["stops"]
    assert [stop["name"] for stop in stops] == ["Only this"]
    assert stops[0]["rating"] == 4.5


def test_analysis__weights_of_ones_own__hold_for_the_tenant_alone(
    api: Client, enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    asked = question("ORD", hours=5, **DOMESTIC)
    with override_config(
        {"algorithm.city_weight": 0, "algorithm.experience_weight": 0}, tenant=enterprise.ref
    ):
        mine = analysed(api, asked)
        theirs = analysed(tenants.make_client(other_enterprise), asked)
    weights = {part["name"]: part["weight"] for part in mine["components"]}
    assert weights["city"] == weights["experience"] == 0
    assert weights["safety"] == 1
    assert {part["name"]: part["weight"] for part in theirs["components"]}["city"] > 0
    assert mine["score"] == 99


# Who may ask, and what is refused


def test_analysis__no_key_or_no_scope__is_refused(client: Client, enterprise: Enterprise) -> None:
    asked = question("ORD", days=11)
    assert client.get(ANALYSIS, asked).status_code == 401
    weak = tenants.make_client(enterprise, [Scope.FLIGHTS_READ])
    response = weak.get(ANALYSIS, asked)
    assert (response.status_code, response.json()["code"]) == (403, "scope_missing")
    with operator_scope():
        arrivals = LayoverAnalysis.objects.values_list("request__arrival", flat=True)
        assert not [text for text in arrivals if text.startswith(asked["arrival"])]


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ({"airport": "QQQ"}, {"airport": "unknown_airport"}),
        ({"airport": "ord"}, {"airport": "invalid"}),
        (
            {"airport": "QQQ", "arrival": "x"},
            {"airport": "unknown_airport", "arrival": "invalid_time"},
        ),
        ({"arrival": "2026-02-30T10:00"}, {"arrival": "invalid_time"}),
        ({"arrival": "2026-12-01"}, {"arrival": "invalid_time"}),
        ({"arrival": "2026-12-01T10:00:30"}, {"arrival": "invalid_time"}),
        ({"from": "ORD"}, {"from": "same_airport"}),
        ({"to": "Q"}, {"to": "invalid"}),
        ({"passport": "de"}, {"passport": "unknown_country"}),
        ({"passport": "UK"}, {"passport": "unknown_country"}),
        ({"passport": "DEU"}, {"passport": "unknown_country"}),
        ({"visa_held": "yes"}, {"visa_held": "invalid"}),
        ({"price": "-1", "best_price": "1"}, {"price": "invalid"}),
        ({"price": "1"}, {"best_price": "required"}),
        ({"best_duration": "5h"}, {"duration": "required"}),
        ({"duration": "5 hours", "best_duration": "5h"}, {"duration": "invalid"}),
        ({"nonsense": "1"}, {"nonsense": "unknown"}),
    ],
)
def test_analysis__faulty_field__is_named(
    api: Client, faults: dict[str, str], expected: dict[str, str]
) -> None:
    assert refusals(api, {**question("ORD"), **faults}) == expected


def test_analysis__nothing_given__names_all_that_is_needed(api: Client) -> None:
    assert refusals(api, {}) == dict.fromkeys(("airport", "arrival", "departure"), "required")


@pytest.mark.parametrize(
    ("hours", "days", "expected"),
    [
        (-1, 3, {"departure": "departure_before_arrival"}),
        (0, 3, {"departure": "departure_before_arrival"}),
        (241, 3, {"departure": "layover_too_long"}),
        (5, -2, {"departure": "past"}),
        (5, 367, {"arrival": "too_far"}),
    ],
)
def test_analysis__times_that_cannot_be__are_named(
    api: Client, hours: float, days: int, expected: dict[str, str]
) -> None:
    assert refusals(api, question("ORD", hours=hours, days=days)) == expected


def test_analysis__ten_days_to_the_minute__is_analysed(api: Client) -> None:
    found = analysed(api, question("ORD", hours=240, **DOMESTIC))
    assert found["minutes"] == 14_400
    assert len(found["plan"]["stops"]) == 4


@pytest.mark.parametrize(
    ("arrival", "departure", "expected"),
    [
        # Chicago's clocks skip from 02:00 to 03:00 on 14 March 2027, and show 01:00 to 02:00 twice
        # on 7 November 2027.
        ("2027-03-14T02:30", "2027-03-14T12:00", {"arrival": "nonexistent_time"}),
        ("2027-03-13T18:00", "2027-03-14T02:30", {"departure": "nonexistent_time"}),
        ("2027-11-07T01:30", "2027-11-07T12:00", {"arrival": "ambiguous_time"}),
        ("2027-11-07T01:30-04:00", "2027-11-07T12:00", {"arrival": "offset_mismatch"}),
    ],
)
def test_analysis__when_clocks_change__a_time_that_is_not_one_is_named(
    api: Client,
    monkeypatch: pytest.MonkeyPatch,
    arrival: str,
    departure: str,
    expected: dict[str, str],
) -> None:
    now = timezone.now().replace(year=2027, month=3, day=1)
    monkeypatch.setattr("apps.layovers.api.views.timezone.now", lambda: now)
    asked = {"airport": "ORD", "arrival": arrival, "departure": departure}
    assert refusals(api, asked) == expected


def test_analysis__when_clocks_change__counts_the_hours_that_pass(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = timezone.now().replace(year=2027, month=3, day=1)
    monkeypatch.setattr("apps.layovers.api.views.timezone.now", lambda: now)
    asked = {"airport": "ORD", "departure": "2027-11-07T12:00", **DOMESTIC}
    early = analysed(api, {**asked, "arrival": "2027-11-07T01:30-05:00"})
    late = analysed(api, {**asked, "arrival": "2027-11-07T01:30-06:00"})
    assert (early["minutes"], late["minutes"]) == (690, 630)


def test_analysis__clocks_put_forward_before_the_flight__is_back_in_time(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In Chile clocks skip from midnight to one o'clock: half past one comes an hour earlier.
    now = timezone.now().replace(year=2027, month=8, day=1)
    monkeypatch.setattr("apps.layovers.api.views.timezone.now", lambda: now)
    early = add_experience("CCP", opening_hours="daily 16:00-18:00", rating_tenths=31)
    add_experience("CCP", opening_hours="daily 21:00-22:00", rating_tenths=50)
    times = {"arrival": "2027-09-04T14:00", "departure": "2027-09-05T01:30"}
    found = analysed(api, {"airport": "CCP", **times, "from": "MIA", "to": "MIA"})
    (stop,) = found["plan"]["stops"]
    assert stop["id"] == str(early.pk)
    # Two hours before the flight, whose clock shows 22:30 for the last time.
    assert found["usable"]["in_city_until"] == "2027-09-04T21:45-04:00"


@pytest.mark.parametrize(
    "tail", ["&arrival=2026-12-01T10:00", "&to=%00", "&to=%ff", "&passport=" + "D" * 5_000]
)
def test_analysis__hostile_query__is_400(api: Client, tail: str) -> None:
    asked = urlencode(question("ORD")) + tail
    assert set(refusals(api, asked)) <= {"arrival", "to", "passport"}


def test_analysis__inactive_airport__is_unknown(api: Client) -> None:
    gone = sorted({"ZZZ", "QQQ"} - airports.get().keys())
    assert refusals(api, {**question("ORD"), "airport": gone[0]}) == {"airport": "unknown_airport"}


def test_analysis__soon_over__is_still_analysed(api: Client) -> None:
    asked = question("ORD", days=0, hour=0, hours=47)
    assert analysed(api, asked)["minutes"] == timedelta(hours=47) // timedelta(minutes=1)
