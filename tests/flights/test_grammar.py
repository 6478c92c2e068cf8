"""The search's parameters: what they mean, and that every faulty one is named."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime
from urllib.parse import urlencode
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.flights.grammar import Bounds, FlightSearch, Position, parse_flight_search
from layoverhq.errors import InvalidInput

ZONES = {
    "SFO": "America/Los_Angeles",
    "JFK": "America/New_York",
    "DEN": "America/Denver",
    "ORD": "America/Chicago",
    "AKL": "Pacific/Auckland",
}
NOW = datetime(2026, 3, 10, 6, 30, tzinfo=UTC)
ASKED = {"origin": "SFO", "destination": "JFK", "departure_date": "2026-03-20"}
OFFER = UUID("01980000-0000-7000-8000-000000000001")


def parse(query: str) -> FlightSearch:
    return parse_flight_search(query, zones=ZONES, now=NOW)


def parsed(**more: str) -> FlightSearch:
    return parse(urlencode({**ASKED, **more}))


def refused(query: str) -> dict[str, str]:
    """Return the codes by field."""
    with pytest.raises(InvalidInput) as caught:
        parse(query)
    return {error.field: error.code for error in caught.value.errors}


def refused_with(**more: str) -> dict[str, str]:
    return refused(urlencode({**ASKED, **more}))


def test_search__only_what_is_required__has_defaults() -> None:
    assert parsed() == FlightSearch("SFO", "JFK", date(2026, 3, 20))
    assert (parsed().sort, parsed().limit) == ("price", 20)


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("8h..20h", Bounds(480, 1200)),
        ("..90m", Bounds(None, 90)),
        ("8h30m..", Bounds(510, None)),
        ("90..", Bounds(90, None)),
        ("0..0", Bounds(0, 0)),
        ("8h5m..8h05m", Bounds(485, 485)),
        ("999h..99999", Bounds(59940, 99999)),
    ],
)
def test_layover__range__is_in_minutes(text: str, bounds: Bounds[int]) -> None:
    assert parsed(layover=text).layover == bounds
    assert parsed(duration=text).duration == bounds


@pytest.mark.parametrize(
    "text",
    ["", "..", "8h", "8", "8h...9h", "8x..", "..8d", "-5..", "8h75m..", "1e3..", "..1.5h", " 8h..",
     "8h ..9h", "h..", "m..", "8hm..", "٣..", "..８h", "100000..", "1000h..", "8H.."],
)  # fmt: skip
def test_layover__not_a_range__is_refused(text: str) -> None:
    assert refused_with(layover=text) == {"layover": "invalid"}


@pytest.mark.parametrize(
    ("field", "text"),
    [("layover", "20h..8h"), ("price", "400..399.99"), ("depart", "22:00..05:00")],
)
def test_range__upside_down__is_refused(field: str, text: str) -> None:
    assert refused_with(**{field: text}) == {field: "upside_down"}


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("..400", Bounds(None, 40_000)),
        ("100.50..400", Bounds(10_050, 40_000)),
        ("0.1..", Bounds(10, None)),
        ("..9999999.99", Bounds(None, 999_999_999)),
    ],
)
def test_price__major_units__become_minor(text: str, bounds: Bounds[int]) -> None:
    assert parsed(price=text).price == bounds


@pytest.mark.parametrize(
    ("currency", "text", "bounds"),
    [
        ("JPY", "..15000", Bounds(None, 15_000)),
        ("KWD", "..120.505", Bounds(None, 120_505)),
        # A ticket of six hundred euros.
        ("IDR", "..11400000", Bounds(None, 1_140_000_000)),
    ],
)
def test_price__other_currencies__have_decimals_and_digits_of_their_own(
    currency: str, text: str, bounds: Bounds[int]
) -> None:
    assert parsed(price=text, currency=currency).price == bounds


@pytest.mark.parametrize(("currency", "text"), [("JPY", "99.5.."), ("USD", "..400.123")])
def test_price__more_decimals_than_the_currency_has__is_refused(currency: str, text: str) -> None:
    assert refused_with(price=text, currency=currency) == {"price": "price_precision"}


@pytest.mark.parametrize(
    "text", ["..400.1234", "..4e2", "..NaN", "..$400", "..1000000000", ".5..1"]
)
def test_price__not_an_amount__is_refused(text: str) -> None:
    assert refused_with(price=text) == {"price": "invalid"}


def test_depart__times_of_day__are_minutes_after_midnight() -> None:
    assert parsed(depart="06:00..12:00").depart == Bounds(360, 720)
    assert parsed(depart="..23:59").depart == Bounds(None, 1439)


@pytest.mark.parametrize("text", ["24:00..", "..12:60", "6:00..", "0600..", "06:00:00.."])
def test_depart__no_time_of_day__is_refused(text: str) -> None:
    assert refused_with(depart=text) == {"depart": "invalid"}


def test_via__airports__are_sorted_and_distinct() -> None:
    search = parsed(via="ORD,DEN,ORD", exclude="AKL")
    assert (search.via, search.exclude) == (("DEN", "ORD"), ("AKL",))


@pytest.mark.parametrize(
    ("text", "code"),
    [("", "invalid"), ("DEN,", "invalid"), ("den", "invalid"), ("DEN;ORD", "invalid"),
     ("XXX", "unknown_airport"), ("DEN,XXX", "unknown_airport"),
     (",".join(["DEN"] * 21), "too_many")],
)  # fmt: skip
def test_via__not_known_airports__is_refused(text: str, code: str) -> None:
    assert refused_with(via=text) == {"via": code}
    assert refused_with(exclude=text) == {"exclude": code}


def test_via__excluded_too__is_refused() -> None:
    assert refused_with(via="DEN,ORD", exclude="ORD") == {"exclude": "contradiction"}


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("origin", "QQQ", "unknown_airport"),
        ("origin", "sfo", "invalid"),
        ("origin", "", "invalid"),
        ("destination", "SFO", "same_airport"),
        ("departure_date", "2026-02-30", "impossible_date"),
        ("departure_date", "20260320", "invalid"),
        ("departure_date", "２０２６-03-20", "invalid"),
        ("departure_date", "2026-03-08", "past"),
        ("departure_date", "2027-03-20", "too_far"),
        ("departure_date", "9999-12-31", "too_far"),
        ("departure_date", "0001-01-01", "past"),
        ("max_layovers", "-1", "invalid"),
        ("max_layovers", "10", "invalid"),
        ("max_layovers", "٣", "invalid"),
        ("sort", "PRICE", "invalid"),
        ("limit", "0", "invalid"),
        ("limit", "101", "invalid"),
        ("limit", "9" * 150, "invalid"),
        ("limit", "1.0", "invalid"),
        ("layover", "8h.." + "9" * 200, "too_long"),
        ("via", "DEN\0", "nul"),
        ("cursor", "zz", "malformed_cursor"),
        ("cursor", "", "malformed_cursor"),
    ],
)
def test_search__faulty_value__is_named(field: str, value: str, code: str) -> None:
    assert refused_with(**{field: value}) == {field: code}


@pytest.mark.parametrize("missing", list(ASKED))
def test_search__required_one_missing__is_named(missing: str) -> None:
    query = urlencode({name: value for name, value in ASKED.items() if name != missing})
    assert refused(query) == {missing: "required"}


def test_search__several_faults__are_all_named() -> None:
    query = "origin=QQQ&origin=SFO&price=%ff..1&layover=9h..8h&wanted=1&sort=x"
    assert refused(query) == {
        "origin": "repeated",
        "price": "not_utf8",
        "layover": "upside_down",
        "wanted": "unknown",
        "sort": "invalid",
        "destination": "required",
        "departure_date": "required",
    }


def test_search__parameter_repeated_thrice__is_named_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(urlencode(ASKED) + "&sort=price&sort=price&sort=price")
    assert [error.field for error in caught.value.errors] == ["sort"]


def test_search__too_many_parameters__is_refused() -> None:
    codes = refused("&".join(f"a{number}=1" for number in range(200)))
    assert codes["query"] == "too_many"


def test_departure_date__today_at_the_origin__is_no_past_day() -> None:
    # It is the 9th in San Francisco still, and the 10th in Auckland already.
    assert parsed(departure_date="2026-03-09").departure_date == date(2026, 3, 9)
    assert refused_with(origin="AKL", departure_date="2026-03-09") == {"departure_date": "past"}


def test_cursor__of_this_search__is_taken_whatever_the_limit() -> None:
    cursor = f"{parsed(price='..400').digest}.25500.{OFFER}"
    search = parsed(price="..400", limit="3", cursor=cursor)
    assert search.after == Position(25_500, OFFER)
    assert search.digest == parsed(price="..400").digest


@pytest.mark.parametrize(
    "more",
    [{"sort": "duration"}, {"price": "..401"}, {"via": "DEN"}, {"max_layovers": "1"},
     {"departure_date": "2026-03-21"}, {"exclude": "DEN"}, {"depart": "06:00.."}],
)  # fmt: skip
def test_cursor__of_another_search__is_refused(more: dict[str, str]) -> None:
    cursor = f"{parsed().digest}.25500.{OFFER}"
    assert refused_with(cursor=cursor, **more) == {"cursor": "foreign_cursor"}


@given(
    st.text(max_size=300), st.sampled_from(sorted([*ASKED, "layover", "price", "via", "cursor"]))
)
def test_search__any_text_as_value__is_parsed_or_refused(text: str, field: str) -> None:
    query = urlencode({**ASKED, field: text}, errors="surrogatepass")
    with suppress(InvalidInput):
        assert isinstance(parse(query), FlightSearch)


@given(st.binary(max_size=200))
def test_search__any_bytes__are_parsed_or_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse(raw.decode("latin-1"))
