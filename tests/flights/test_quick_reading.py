"""The quick way of reading a line says what the strict one does, of good lines and of bad."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.flights.offers import ndjson
from apps.flights.offers.journeys import Journeys
from apps.flights.offers.ndjson import _parsed, offer_of, read_offer
from apps.flights.offers.normalised import Moment, NormalisedOffer, Refused, _standing, moment
from tests.flights.test_offers import FIRST, NOW, SECOND, ZONES


def strictly(line: bytes) -> NormalisedOffer | tuple[str, str, str]:
    try:
        return offer_of(_parsed(line), zones=ZONES, now=NOW)
    except Refused as refusal:
        return (refusal.reason, refusal.field, refusal.detail)


def quickly(line: bytes) -> NormalisedOffer | tuple[str, str, str]:
    try:
        return read_offer(line, zones=ZONES, now=NOW)
    except Refused as refusal:
        return (refusal.reason, refusal.field, refusal.detail)


GOOD = json.dumps({"price": "412.50", "currency": "USD", "segments": [FIRST, SECOND]})

texts = st.one_of(
    st.sampled_from(
        [
            "", "USD", "EUR", "1", "412.50", "-1.00", "1e3", "SFO", "JFK", "LHR", "QQQ", "UA",
            "U\tA",
            "2026-12-15T06:00", "2026-12-15T06:00-08:00", "2026-W51-2T06:00", "2027-03-14T02:30",
            "2026-12-15T06:00:30", "20261215T0600",
            "٢٠٢٦-12-15T06:00", "economy", ":", '":', "é",
        ]
    ),
    st.text(max_size=6),
)  # fmt: skip
values = st.one_of(
    texts,
    st.none(),
    st.booleans(),
    st.integers(-(10**25), 10**25),
    st.floats(),
    st.lists(texts, max_size=2),
    st.dictionaries(texts, texts, max_size=2),
)
names = st.one_of(
    st.sampled_from(
        [
            "price", "currency", "provider", "carrier", "expires_at", "origin", "destination",
            "departs_at", "arrives_at", "cabin", "self_transfer", "bag_recheck", "fare_basis",
            "flight_number", "origin_terminal",
        ]
    ),
    texts,
)  # fmt: skip


@st.composite
def documents(draw: Any) -> bytes:
    """Offers with some members changed, as JSON that is written in many ways."""
    segments: list[Any] = [dict(FIRST), dict(SECOND)]
    for segment in segments:
        segment.update(draw(st.dictionaries(names, values, max_size=2)))
    whole = {"price": "412.50", "currency": "USD", "segments": segments}
    whole.update(draw(st.dictionaries(names, values, max_size=2)))
    text = json.dumps(
        whole,
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")])),
    )
    return text.encode("utf-8", "surrogatepass")


@settings(max_examples=1_500, deadline=None)
@given(documents())
def test_reading__any_document__is_what_the_strict_parser_says(line):
    assert quickly(line) == strictly(line)


@settings(max_examples=1_500, deadline=None)
@given(
    st.integers(0, len(GOOD)),
    st.integers(0, 12),
    st.one_of(
        st.binary(max_size=4),
        st.sampled_from(
            [
                b'"price":"1",', b'"price" : "1",', b"NaN", b"\\u0041", b"\0", b"\t", b"{}",
                b"[[",
                b":",
                b'"',
                b'"carrier":"UA",', b'"carrier" :null,', b"\xef\xbb\xbf", b"1e999", b"true",
            ]
        ),
    ),
)  # fmt: skip
def test_reading__any_damage__is_what_the_strict_parser_says(at, cut, put):
    line = GOOD.encode()
    damaged = line[:at] + put + line[at + cut :]
    assert quickly(damaged) == strictly(damaged)


@pytest.mark.parametrize(
    "line",
    [
        GOOD.replace('"price": ', '"price": "1.00", "price": '),
        GOOD.replace('"price": ', '"price":"1.00","price" :'),
        GOOD.replace('"carrier": "UA"', '"carrier": "UA", "carrier" : "BA"'),
        GOOD.replace('"carrier": "UA"', '"carrier": "UA", "cabin": null, "cabin": null'),
        GOOD.replace('"412.50"', "NaN"),
        GOOD + "x",
    ],
)
def test_reading__name_that_stands_twice__is_refused(line):
    outcome = quickly(line.encode())
    assert isinstance(outcome, tuple)
    assert outcome[0] == "not_json"


@pytest.mark.parametrize(
    "line",
    [
        GOOD,
        GOOD.replace('"carrier": "UA"', '"carrier": "UA", "cabin": null, "bag_recheck": null'),
        GOOD.replace('"price": ', '"provider": null, "expires_at": null, "price": '),
    ],
)
def test_reading__usual_line__needs_no_strict_parser(line, monkeypatch):
    expected = strictly(line.encode())
    monkeypatch.delattr(ndjson, "_parsed")
    assert isinstance(expected, NormalisedOffer)
    assert quickly(line.encode()) == expected


PLACES = {name: name for name in sorted(available_timezones())}
MINUTES = st.integers(0, 3 * 365 * 24 * 60).map(
    lambda minute: datetime(2025, 6, 1) + timedelta(minutes=minute)
)


def by_the_clock(naive: datetime, zone: str) -> datetime | str:
    standing = sorted(_standing(naive, ZoneInfo(zone)))
    if len(standing) == 1:
        return standing[0]
    return "ambiguous_time" if standing else "nonexistent_time"


@settings(max_examples=3_000, deadline=None)
@given(st.sampled_from(list(PLACES)), MINUTES)
def test_moment__any_zone_and_minute__is_what_its_clock_shows(zone, naive):
    expected = by_the_clock(naive, zone)
    try:
        read: Moment | str = moment(naive.isoformat(timespec="minutes"), zone, PLACES, "at")
    except Refused as refusal:
        read = refusal.reason
    if isinstance(read, Moment):
        assert read.at == expected
        assert read.local.replace(tzinfo=None) == naive
        assert read.text == read.local.isoformat(timespec="minutes")
        assert read.offset * 60 == read.local.utcoffset().total_seconds()
    else:
        assert read == expected


@pytest.mark.parametrize("zone", ["America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"])
def test_moment__days_of_a_change__are_read_minute_by_minute(zone):
    changes = [
        day
        for day in (datetime(2026, 1, 1) + timedelta(days=shift) for shift in range(730))
        if day.replace(tzinfo=ZoneInfo(zone)).utcoffset()
        != (day + timedelta(days=1)).replace(tzinfo=ZoneInfo(zone)).utcoffset()
    ]
    assert len(changes) >= 4
    for day in changes:
        for minute in range(0, 1440, 5):
            naive = day + timedelta(minutes=minute)
            try:
                at: datetime | str = moment(
                    naive.isoformat(timespec="minutes"), zone, {zone: zone}, "at"
                ).at
            except Refused as refusal:
                at = refusal.reason
            assert at == by_the_clock(naive, zone)


DIGESTS = st.one_of(
    st.integers(0, 20).map(lambda number: number.to_bytes(16, "big")),
    # Alike in their first half.
    st.integers(0, 5).map(lambda number: b"\1" * 8 + number.to_bytes(8, "big")),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.lists(DIGESTS, max_size=12), max_size=8))
def test_journeys__in_any_pieces__the_first_line_counts(pieces):
    journeys, first, line = Journeys(), {}, 0
    for digests in pieces:
        lines = list(range(line + 1, line + 1 + len(digests)))
        expected = {}
        for position, (digest, number) in enumerate(zip(digests, lines, strict=True)):
            if first.setdefault(digest, number) != number:
                expected[position] = first[digest]
        assert journeys.repeated(digests, lines) == expected
        line += len(digests)


def test_reading__now__is_in_the_future_of_nothing():
    # The strategies above build on it.
    assert isinstance(quickly(GOOD.encode()), NormalisedOffer)
    assert datetime(2026, 11, 25, 12, tzinfo=UTC) == NOW
