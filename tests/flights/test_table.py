"""Offers as CSV: the same offers, the same refusals, by the line and the column."""

from __future__ import annotations

import csv
import gzip
import io
from typing import Any

import pytest

from apps.flights.offers.lines import LONGEST_LINE
from tests.flights.offers import document
from tests.flights.test_imports import (  # noqa: F401  # its fixture keeps the queue
    IMPORT,
    asked,
    counts,
    line,
    load_offer_imports,
    offers,
    queued,
)

COLUMNS = [
    "provider",
    "price",
    "currency",
    *(
        f"segment{number}_{name}"
        for number in (1, 2, 3)
        for name in (
            "origin", "destination", "departs_at", "arrives_at", "carrier", "flight_number",
            "self_transfer",
        )
    ),
]  # fmt: skip


def row(**changes: Any) -> dict[str, str]:
    """Return the usual offer as cells, some of them changed."""
    offer = document()
    cells = {"price": offer["price"], "currency": offer["currency"]}
    for number, segment in enumerate(offer["segments"], 1):
        cells |= {f"segment{number}_{name}": value for name, value in segment.items()}
    return cells | changes


def table(*rows: dict[str, str], columns: list[str] = COLUMNS) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def loaded(api: Any, enterprise: Any, body: bytes, content_type: str = "text/csv") -> Any:
    response = api.post(IMPORT, body, content_type=content_type)
    assert response.status_code == 202, response.content
    load_offer_imports(enterprise_id=str(enterprise.pk))
    return asked(api, response.json())


def refused(job: dict[str, Any]) -> list[tuple[int, str, str]]:
    return [(error["line"], error["reason"], error["field"]) for error in job["errors"]]


def test_table__the_same_offer__stands_as_its_json_does(api, enterprise):
    done = loaded(api, enterprise, b"\xef\xbb\xbf" + table(row()), "text/csv; charset=utf-8")
    assert counts(done) == (1, 0, 0, 0)
    assert done["lines_done"] == 2
    (stored,) = offers(enterprise)
    assert (stored.price_minor, stored.layover_airports) == (41_250, ["DEN"])
    again = loaded(api, enterprise, line(), "application/x-ndjson")
    assert counts(again) == (0, 0, 1, 0)


def test_table__gzip_with_flags_and_quotes__is_loaded(api, enterprise):
    body = gzip.compress(
        table(row(segment2_self_transfer="true"), row(provider="b", segment1_carrier="UA")).replace(
            b",UA 100,", b',"UA 100",'
        )
    )
    assert counts(loaded(api, enterprise, body)) == (2, 0, 0, 0)
    assert {offer.self_transfer for offer in offers(enterprise)} == {True, False}


def test_table__refused_lines__are_named_by_their_columns(api, enterprise):
    good = row(provider="good")
    lines = table(
        row(price="-1.00"),
        row(currency="XXX"),
        row(currency="GEL"),
        row(segment1_origin="QQQ"),
        row(segment2_origin=""),
        row(segment2_self_transfer="yes"),
        row(segment2_arrives_at=document()["segments"][1]["departs_at"]),
        row(segment3_carrier="UA"),
        good,
        good,
    ).splitlines()
    usable = lines[9]
    lines += [
        usable + b",",
        b'"' + usable,
        usable.replace(b"412", b"4\xe92"),
        b"x\0" + usable,
        b"a\rb" + usable,
        b"y" * (LONGEST_LINE + 5),
    ]
    done = loaded(api, enterprise, b"\n".join(lines))
    assert counts(done)[0] == 1
    assert refused(done) == [
        (2, "negative_price", "price"),
        (3, "unknown_currency", "currency"),
        (4, "no_rate", "currency"),
        (5, "unknown_airport", "segment1_origin"),
        (6, "missing", "segment2_origin"),
        (7, "wrong_type", "segment2_self_transfer"),
        (8, "arrival_before_departure", "segment2_arrives_at"),
        (9, "missing", "segment3_origin"),
        (11, "duplicate", ""),
        (12, "wrong_columns", ""),
        (13, "not_csv", ""),
        (14, "not_utf8", ""),
        (15, "invalid_provider", "provider"),
        (16, "not_csv", ""),
        (17, "line_too_long", ""),
    ]


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("price,currency", "“segment1_origin” is missing"),
        (",".join([*COLUMNS, "seat"]), "no column “seat”"),
        (",".join([*COLUMNS, "price"]), "“price” stands twice"),
        (",".join([*COLUMNS, "segment11_origin"]), "no column “segment11_origin”"),
        ("412.50,USD,SFO", "no column “412.50”"),
        ('"price', "quotes stand around a whole cell"),
        ("pr\0ice", "no column"),
        ("x" * (LONGEST_LINE + 1), "At most"),
    ],
)
def test_table__unusable_header__loads_nothing_and_says_why(api, enterprise, header, told):
    body = header.encode() + b"\n" + table(row()).splitlines()[1]
    done = loaded(api, enterprise, body)
    assert (done["status"], done["problem"]["code"]) == ("failed", "invalid_header")
    assert told in done["problem"]["detail"]
    assert offers(enterprise) == []


def test_table__header_in_another_encoding__loads_nothing(api, enterprise):
    done = loaded(api, enterprise, table(row()).decode().encode("utf-16"))
    assert done["problem"]["code"] == "invalid_header"


def test_table__truncated_gzip__loads_nothing(api, enterprise):
    done = loaded(api, enterprise, gzip.compress(table(row()))[:-10])
    assert done["problem"]["code"] == "truncated_gzip"
    assert offers(enterprise) == []
