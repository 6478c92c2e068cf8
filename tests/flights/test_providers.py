"""Offers as Amadeus, Duffel and Kiwi document them: the same journey is read alike of each.

The fixtures are written by hand after the providers' documented formats; they are no recordings.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from apps.flights.offers.normalised import NormalisedOffer, Refused
from apps.flights.offers.providers import FORMATS, read_provider_offer

ZONES = {"SFO": "America/Los_Angeles", "JFK": "America/New_York", "LHR": "Europe/London"}
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)

AMADEUS: dict[str, Any] = {
    "type": "flight-offer",
    "id": "1",
    "source": "GDS",
    "lastTicketingDate": "2026-11-26",
    "itineraries": [
        {
            "duration": "PT20H",
            "segments": [
                {
                    "id": "11",
                    "departure": {"iataCode": "SFO", "terminal": "3", "at": "2026-12-15T06:00:00"},
                    "arrival": {"iataCode": "JFK", "terminal": "7", "at": "2026-12-15T14:30:00"},
                    "carrierCode": "UA",
                    "number": "100",
                    "numberOfStops": 0,
                },
                {
                    "id": "12",
                    "departure": {"iataCode": "JFK", "terminal": "8", "at": "2026-12-15T22:00:00"},
                    "arrival": {"iataCode": "LHR", "at": "2026-12-16T10:00:00"},
                    "carrierCode": "BA",
                    "number": "112",
                    "numberOfStops": 0,
                },
            ],
        }
    ],
    "price": {"currency": "USD", "total": "412.50", "base": "350.00", "grandTotal": "412.50"},
    "validatingAirlineCodes": ["UA"],
    "travelerPricings": [
        {
            "travelerId": "1",
            "fareDetailsBySegment": [
                {"segmentId": "11", "cabin": "ECONOMY", "fareBasis": "KLX0"},
                {"segmentId": "12", "cabin": "PREMIUM_ECONOMY", "fareBasis": "WLX0"},
            ],
        }
    ],
}

DUFFEL: dict[str, Any] = {
    "id": "off_00009htYpSCXrwaB9DnUm0",
    "total_amount": "412.50",
    "total_currency": "USD",
    "expires_at": "2026-11-25T13:00:00Z",
    "owner": {"iata_code": "UA", "name": "United Airlines"},
    "slices": [
        {
            "segments": [
                {
                    "origin": {"iata_code": "SFO"},
                    "destination": {"iata_code": "JFK"},
                    "departing_at": "2026-12-15T06:00:00",
                    "arriving_at": "2026-12-15T14:30:00",
                    "origin_terminal": "3",
                    "destination_terminal": "7",
                    "marketing_carrier": {"iata_code": "UA"},
                    "marketing_carrier_flight_number": "100",
                    "passengers": [{"cabin_class": "economy", "fare_basis_code": "KLX0"}],
                },
                {
                    "origin": {"iata_code": "JFK"},
                    "destination": {"iata_code": "LHR"},
                    "departing_at": "2026-12-15T22:00:00",
                    "arriving_at": "2026-12-16T10:00:00",
                    "origin_terminal": "8",
                    "destination_terminal": None,
                    "marketing_carrier": {"iata_code": "BA"},
                    "marketing_carrier_flight_number": "112",
                    "passengers": [{"cabin_class": "premium_economy", "fare_basis_code": "WLX0"}],
                },
            ]
        }
    ],
}

KIWI: dict[str, Any] = {
    "id": "0f3d00d84f7c0000",
    "price": 412.5,
    "currency": "USD",
    "route": [
        {
            "flyFrom": "SFO",
            "flyTo": "JFK",
            "local_departure": "2026-12-15T06:00:00.000Z",
            "utc_departure": "2026-12-15T14:00:00.000Z",
            "local_arrival": "2026-12-15T14:30:00.000Z",
            "utc_arrival": "2026-12-15T19:30:00.000Z",
            "airline": "UA",
            "flight_no": 100,
            "fare_category": "M",
            "fare_basis": "KLX0",
            "return": 0,
            "vi_connection": False,
            "bags_recheck_required": False,
        },
        {
            "flyFrom": "JFK",
            "flyTo": "LHR",
            "local_departure": "2026-12-15T22:00:00.000Z",
            "utc_departure": "2026-12-16T03:00:00.000Z",
            "local_arrival": "2026-12-16T10:00:00.000Z",
            "utc_arrival": "2026-12-16T10:00:00.000Z",
            "airline": "BA",
            "flight_no": 112,
            "fare_category": "W",
            "fare_basis": "WLX0",
            "return": 0,
            "vi_connection": True,
            "bags_recheck_required": True,
        },
    ],
}

OFFERS = {"amadeus": AMADEUS, "duffel": DUFFEL, "kiwi": KIWI}


def read(provider: str, offer: Any) -> NormalisedOffer:
    return read_provider_offer(provider, offer, zones=ZONES, now=NOW)


def refusal(provider: str, offer: Any) -> str:
    with pytest.raises(Refused) as caught:
        read(provider, offer)
    return caught.value.reason


@pytest.mark.parametrize("provider", sorted(FORMATS))
def test_offer__of_each_provider__is_read_alike(provider):
    offer = read(provider, OFFERS[provider])
    assert (offer.provider, offer.carrier) == (provider, "UA")
    assert (offer.fare_minor, offer.fare_currency) == (41_250, "USD")
    assert [segment.departure.at for segment in offer.segments] == [
        datetime(2026, 12, 15, 14, 0, tzinfo=UTC),
        datetime(2026, 12, 16, 3, 0, tzinfo=UTC),
    ]
    assert offer.arrival.text == "2026-12-16T10:00+00:00"
    assert [segment.flight_number for segment in offer.segments] == ["UA 100", "BA 112"]
    assert [segment.cabin for segment in offer.segments] == ["economy", "premium_economy"]
    assert [segment.fare_basis for segment in offer.segments] == ["KLX0", "WLX0"]
    assert [(layover.airport, layover.minutes) for layover in offer.layovers] == [("JFK", 450)]


def test_amadeus__ticketing_deadline_and_id__make_no_difference():
    offer = read("amadeus", AMADEUS)
    assert offer.expires_at == offer.departure.at
    assert offer.layovers[0].terminal_change
    assert read("amadeus", {**AMADEUS, "id": "2"}).search_hash == offer.search_hash


def test_duffel__offer_that_ends__ends_then():
    assert read("duffel", DUFFEL).expires_at == datetime(2026, 11, 25, 13, 0, tzinfo=UTC)
    assert refusal("duffel", {**DUFFEL, "expires_at": "2026-11-25T11:00:00Z"}) == "expired"


def test_kiwi__virtual_interlining__is_a_self_transfer_with_bags():
    (layover,) = read("kiwi", KIWI).layovers
    assert (layover.self_transfer, layover.bag_recheck) == (True, True)
    assert not read("amadeus", AMADEUS).self_transfer


def test_kiwi__utc_that_is_another_time__is_refused():
    offer = copy.deepcopy(KIWI)
    offer["route"][0]["utc_departure"] = "2026-12-15T06:00:00.000Z"
    assert refusal("kiwi", offer) == "offset_mismatch"


def test_offer__there_and_back__is_refused():
    assert refusal("amadeus", {**AMADEUS, "itineraries": AMADEUS["itineraries"] * 2}) == (
        "several_journeys"
    )
    assert refusal("duffel", {**DUFFEL, "slices": DUFFEL["slices"] * 2}) == "several_journeys"
    offer = copy.deepcopy(KIWI)
    offer["route"][1]["return"] = 1
    assert refusal("kiwi", offer) == "several_journeys"


@pytest.mark.parametrize("provider", sorted(FORMATS))
@pytest.mark.parametrize("offer", [None, [], {}, "<html>Bad gateway</html>", 7])
def test_offer__of_another_shape__is_refused(provider, offer):
    assert refusal(provider, offer) == "unexpected_shape"


@pytest.mark.parametrize(
    ("provider", "member"),
    [
        ("amadeus", "price"),
        ("amadeus", "itineraries"),
        ("amadeus", "travelerPricings"),
        ("amadeus", "validatingAirlineCodes"),
        ("duffel", "owner"),
        ("duffel", "slices"),
        ("kiwi", "price"),
        ("kiwi", "route"),
    ],
)
def test_offer__without_a_member__is_refused(provider, member):
    assert refusal(provider, {**OFFERS[provider], member: None}) == "unexpected_shape"


@pytest.mark.parametrize(
    ("price", "reason"),
    [
        (True, "unexpected_shape"),
        ("412.50", "unexpected_shape"),
        (float("nan"), "invalid_price"),
        (1e30, "invalid_price"),
        (412.505, "price_precision"),
        (-1, "negative_price"),
    ],
)
def test_kiwi__unusable_price__is_refused(price, reason):
    assert refusal("kiwi", {**KIWI, "price": price}) == reason
