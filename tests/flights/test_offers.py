"""What is read of one line, and what is refused by name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from apps.flights.offers.currencies import fare_minor
from apps.flights.offers.ndjson import read_offer
from apps.flights.offers.normalised import MAXIMUM_SEGMENTS, NormalisedOffer, Refused, moment

ZONES = {
    "SFO": "America/Los_Angeles",
    "DEN": "America/Denver",
    "JFK": "America/New_York",
    "LGA": "America/New_York",
    "LHR": "Europe/London",
}
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def segment(origin: str, destination: str, departs: str, arrives: str, **more: Any) -> Any:
    return {
        "origin": origin,
        "destination": destination,
        "departs_at": departs,
        "arrives_at": arrives,
        "carrier": "UA",
        **more,
    }


FIRST = segment("SFO", "JFK", "2026-12-15T06:00", "2026-12-15T14:30", destination_terminal="7")
SECOND = segment("JFK", "LHR", "2026-12-15T22:00", "2026-12-16T10:00", origin_terminal="7")


def read(*segments: Any, **changes: Any) -> NormalisedOffer:
    document = {
        "price": "412.50",
        "currency": "USD",
        "segments": list(segments) or [FIRST, SECOND],
        **changes,
    }
    document = {name: value for name, value in document.items() if value is not None}
    return read_offer(json.dumps(document).encode(), zones=ZONES, now=NOW)


def refusal(*segments: Any, **changes: Any) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        read(*segments, **changes)
    return caught.value.reason, caught.value.field


def test_offer__read__has_local_times_zones_and_utc():
    offer = read()
    assert offer.departure.text == "2026-12-15T06:00-08:00"
    assert offer.departure.zone == "America/Los_Angeles"
    assert offer.departure.at == datetime(2026, 12, 15, 14, 0, tzinfo=UTC)
    assert offer.arrival.at == datetime(2026, 12, 16, 10, 0, tzinfo=UTC)
    assert (offer.departure_day.isoformat(), offer.departure_minute) == ("2026-12-15", 360)
    assert offer.duration_minutes == 20 * 60
    assert (offer.fare_minor, offer.fare_currency) == (41_250, "USD")
    assert (offer.provider, offer.carrier) == ("import", "UA")
    assert offer.expires_at == offer.departure.at


def test_layovers__of_consecutive_segments__are_derived_in_utc():
    (layover,) = read().layovers
    assert layover.document() == {"airport": "JFK", "minutes": 450}


def test_layovers__another_airport_or_terminal__are_flagged():
    (layover,) = read(FIRST, {**SECOND, "origin": "LGA"}).layovers
    assert layover.airport_change
    assert layover.document() == {"airport": "JFK", "minutes": 450, "next_airport": "LGA"}
    (layover,) = read(FIRST, {**SECOND, "origin_terminal": "4"}).layovers
    assert layover.document() == {"airport": "JFK", "minutes": 450, "terminal_change": True}


def test_self_transfer__unless_said_otherwise__means_that_bags_are_checked_in_again():
    offer = read(FIRST, {**SECOND, "self_transfer": True})
    assert offer.self_transfer
    assert offer.layovers[0].document()["bag_recheck"] is True
    through = read(FIRST, {**SECOND, "self_transfer": True, "bag_recheck": False})
    assert "bag_recheck" not in through.layovers[0].document()


def test_search_hash__another_price__is_the_same_offer():
    assert read().search_hash == read(price="99.00").search_hash


def test_search_hash__another_time_carrier_fare_or_provider__is_another_offer():
    others = [
        read(FIRST, {**SECOND, "departs_at": "2026-12-15T22:05"}),
        read(FIRST, {**SECOND, "carrier": "BA"}),
        read(FIRST, {**SECOND, "fare_basis": "YFLEX"}),
        read(FIRST, {**SECOND, "cabin": "business"}),
        read(carrier="BA"),
        read(provider="acme"),
    ]
    assert len({read().search_hash, *(offer.search_hash for offer in others)}) == 7


def test_search_hash__the_offset_written_out__is_the_same_offer():
    written = read({**FIRST, "departs_at": "2026-12-15T06:00-08:00"}, SECOND)
    assert written.search_hash == read().search_hash


def test_expiry__after_the_departure__ends_with_the_departure():
    assert read(expires_at="2027-01-01T00:00:00Z").expires_at == read().departure.at
    early = read(expires_at="2026-12-01T00:00:00+01:00")
    assert early.expires_at == datetime(2026, 11, 30, 23, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"price": None}, "missing", "price"),
        ({"price": 412.5}, "wrong_type", "price"),
        ({"price": "-1.00"}, "negative_price", "price"),
        ({"price": "1.005"}, "price_precision", "price"),
        ({"price": "1e3"}, "invalid_price", "price"),
        ({"price": "NaN"}, "invalid_price", "price"),
        ({"price": "999999999999.00"}, "price_too_large", "price"),
        ({"currency": "XXX"}, "unknown_currency", "currency"),
        ({"currency": "GEL"}, "no_rate", "currency"),
        ({"provider": "A b"}, "invalid_provider", "provider"),
        ({"carrier": "UAL"}, "invalid_carrier", "carrier"),
        ({"expires_at": "2026-12-01"}, "invalid_expiry", "expires_at"),
        ({"expires_at": "2026-11-25T11:00:00Z"}, "expired", "expires_at"),
        ({"segments": []}, "no_segments", "segments"),
        ({"segments": {}}, "missing", "segments"),
        ({"segments": [1]}, "wrong_type", "segments[0]"),
        ({"cheap": True}, "unknown_member", "cheap"),
    ],
)
def test_offer__unusable_member__is_refused_by_name(changes, reason, field):
    assert refusal(**changes) == (reason, field)


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"origin": "QQQ"}, "unknown_airport", "segments[0].origin"),
        ({"origin": "JFK"}, "goes_nowhere", "segments[0]"),
        ({"departs_at": "2026-12-15"}, "invalid_time", "segments[0].departs_at"),
        ({"departs_at": "2026-12-15T06:00:30"}, "invalid_time", "segments[0].departs_at"),
        ({"departs_at": "2026-12-15T06:00+01:00"}, "offset_mismatch", "segments[0].departs_at"),
        ({"departs_at": "0001-01-01T00:00"}, "segment_too_long", "segments[0]"),
        ({"arrives_at": "9999-12-31T23:59"}, "invalid_time", "segments[0].arrives_at"),
        ({"arrives_at": "2026-12-15T05:00"}, "arrival_before_departure", "segments[0].arrives_at"),
        ({"arrives_at": "2026-12-15T22:30"}, "overlapping_segments", "segments[1].departs_at"),
        ({"destination": "DEN"}, "broken_route", "segments[1].origin"),
        ({"carrier": None}, "missing", "segments[0].carrier"),
        ({"cabin": "sofa"}, "unknown_cabin", "segments[0].cabin"),
        ({"flight_number": "\x00"}, "invalid_text", "segments[0].flight_number"),
        ({"self_transfer": True}, "wrong_type", "segments[0].self_transfer"),
        ({"self_transfer": "no"}, "wrong_type", "segments[0].self_transfer"),
        ({"seat": "1A"}, "unknown_member", "segments[0].seat"),
    ],
)
def test_segment__unusable_member__is_refused_by_name(changes, reason, field):
    assert refusal({**FIRST, **changes}, SECOND) == (reason, field)


def test_journey__that_cannot_be_stored__is_refused_by_name():
    back = segment("LHR", "SFO", "2026-12-16T12:00", "2026-12-16T15:00")
    assert refusal(FIRST, SECOND, back) == ("goes_nowhere", "segments")
    hops = [SECOND] * (MAXIMUM_SEGMENTS + 1)
    assert refusal(*hops) == ("too_many_segments", "segments")
    late = segment("JFK", "LHR", "2026-12-28T22:00", "2026-12-29T10:00")
    assert refusal(FIRST, late) == ("journey_too_long", "segments")
    past = segment("JFK", "LHR", "2026-11-24T22:00", "2026-11-25T10:00")
    assert refusal(past) == ("departed", "segments[0].departs_at")
    far = segment("JFK", "LHR", "2027-11-27T22:00", "2027-11-28T10:00")
    assert refusal(far) == ("too_far", "segments[0].departs_at")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\xff{}", "not_utf8"),
        ('{"price": "é"}'.encode("latin-1"), "not_utf8"),
        ("{}".encode("utf-16"), "not_utf8"),
        (b"{", "not_json"),
        (b'{"price": NaN}', "not_json"),
        (b'{"price": "1", "price": "2"}', "not_json"),
        (b"[" * 10_000, "not_json"),
        (b"[]", "not_an_object"),
    ],
)
def test_line__that_is_no_object__is_refused_by_name(line, reason):
    with pytest.raises(Refused) as caught:
        read_offer(line, zones=ZONES, now=NOW)
    assert caught.value.reason == reason


def test_moment__clocks_that_change__are_told_apart():
    with pytest.raises(Refused) as caught:
        moment("2027-03-14T02:30", "JFK", ZONES, "at")
    assert caught.value.reason == "nonexistent_time"
    with pytest.raises(Refused) as caught:
        moment("2027-11-07T01:30", "JFK", ZONES, "at")
    assert caught.value.reason == "ambiguous_time"
    first = moment("2027-11-07T01:30-04:00", "JFK", ZONES, "at")
    second = moment("2027-11-07T01:30-05:00", "JFK", ZONES, "at")
    assert first.at == datetime(2027, 11, 7, 5, 30, tzinfo=UTC)
    assert second.at == datetime(2027, 11, 7, 6, 30, tzinfo=UTC)
    assert (first.text, second.text) == ("2027-11-07T01:30-04:00", "2027-11-07T01:30-05:00")


def test_fare__loadable_currency__is_exact():
    assert fare_minor("0.29", "USD") == 29
    assert fare_minor("1", "USD") == 100
    assert fare_minor("1.500", "USD") == 150
