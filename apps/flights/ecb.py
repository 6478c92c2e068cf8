"""The euro reference rates of the European Central Bank, as it publishes them: XML and CSV.

Both are read strictly: what does not look as documented is refused whole.
"""

from __future__ import annotations

import csv
import io
import zipfile
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from apps.flights.money import CURRENCIES

LARGEST_BYTES: Final = 16 * 1_048_576
_CUBE: Final = "{http://www.ecb.int/vocabulary/2002-08-01/eurofxref}Cube"
_ENVELOPE: Final = "{http://www.gesmes.org/xml/2002-08-01}Envelope"
_NOT_QUOTED: Final = ("", "N/A")
_ZIP_MAGIC: Final = b"PK"
_PLACES: Final = 10
_LARGEST: Final = Decimal(10) ** 10


class Unusable(ValueError):
    """This does not look as the European Central Bank documents it."""


@dataclass(frozen=True, slots=True)
class ToldRate:
    """What one euro was worth on a day."""

    currency: str
    day: date
    per_euro: Decimal


def rates_of_document(document: bytes) -> list[ToldRate]:
    """Return the rates of eurofxref-daily.xml or eurofxref-hist-90d.xml. Raises Unusable.

    Currencies that are no more, such as a neighbour's that took the euro, are left out.
    """
    try:
        text = document.decode("utf-8-sig")
        # Only a document type can declare entities. As a text, it has no encoding of its own.
        if "<!DOCTYPE" in text:
            raise Unusable("It has a document type, as none of the ECB has.")
        root = ElementTree.fromstring(text)  # noqa: S314  # without a document type
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise Unusable(f"This is no XML: {error}.") from error
    if root.tag != _ENVELOPE:
        raise Unusable("This is no envelope of the ECB.")
    told = [
        rate
        for day in root.iterfind(f"{_CUBE}/{_CUBE}")
        for rate in _rates_of_day(day, _day(day.get("time", "")))
    ]
    return _checked(told)


def _rates_of_day(cube: Element, day: date) -> Iterator[ToldRate]:
    for quoted in cube.iterfind(_CUBE):
        currency = quoted.get("currency", "")
        if currency in CURRENCIES:
            yield ToldRate(currency, day, _amount(quoted.get("rate", "")))


def rates_of_file(file: bytes, *, since: date = date.min) -> list[ToldRate]:
    """Return the rates from a day on of any of its files: XML or CSV, plain or in a zip.

    Cells without a quote, and currencies that are no more, are left out. Raises Unusable.
    """
    text = _unpacked(file)
    if text.removeprefix(BOM_UTF8).lstrip()[:1] == b"<":
        return _checked([rate for rate in rates_of_document(text) if rate.day >= since])
    try:
        rows = csv.reader(io.StringIO(text.decode("utf-8-sig"), newline=""), strict=True)
        header = next(rows, [])
        if header[:1] != ["Date"]:
            raise Unusable("This is no XML, and the first column is not “Date”.")
        return _checked([rate for row in rows for rate in _rates_of_row(header, row, since)])
    except (UnicodeDecodeError, csv.Error) as error:
        raise Unusable(f"This is no CSV: {error}.") from error


def table_of(told: Sequence[ToldRate]) -> str:
    """Return rates as the history file has them."""
    currencies = sorted({rate.currency for rate in told})
    quotes = {(rate.day, rate.currency): rate.per_euro for rate in told}
    lines = [
        ",".join(
            [day.isoformat(), *(str(quotes.get((day, currency), "N/A")) for currency in currencies)]
        )
        for day in sorted({rate.day for rate in told}, reverse=True)
    ]
    return "\n".join([",".join(["Date", *currencies]), *lines])


def _rates_of_row(header: Sequence[str], row: Sequence[str], since: date) -> Iterator[ToldRate]:
    if not any(row):
        return
    if len(row) != len(header):
        raise Unusable(f"A line has {len(row)} cells, the header {len(header)}.")
    day = _day(row[0])
    if day < since:
        return
    for name, cell in zip(header[1:], row[1:], strict=True):
        currency, quote = name.strip(), cell.strip()
        if currency in CURRENCIES and quote not in _NOT_QUOTED:
            yield ToldRate(currency, day, _amount(quote))


def _unpacked(table: bytes) -> bytes:
    if not table.startswith(_ZIP_MAGIC):
        return table
    try:
        with zipfile.ZipFile(io.BytesIO(table)) as archive:
            (entry,) = archive.infolist()
            with archive.open(entry) as packed:
                text = packed.read(LARGEST_BYTES + 1)
    except (zipfile.BadZipFile, ValueError, EOFError, RuntimeError, NotImplementedError) as error:
        raise Unusable("This is no zip of one file.") from error
    if len(text) > LARGEST_BYTES:
        raise Unusable(f"At most {LARGEST_BYTES:,} bytes when unpacked.")
    return text


def _checked(told: list[ToldRate]) -> list[ToldRate]:
    if not told:
        raise Unusable("There is no rate in it.")
    if len({(rate.currency, rate.day) for rate in told}) < len(told):
        raise Unusable("A currency stands twice on one day.")
    return told


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError as error:
        raise Unusable(f"“{text[:40]}” is no day.") from error


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
        usable = amount.is_finite() and 0 < amount < _LARGEST and amount == round(amount, _PLACES)
    except InvalidOperation:
        usable = False
    if not usable:
        raise Unusable(f"“{text[:40]}” is no rate.")
    return amount
