"""Offers as CSV: a header, then one offer a line, in the members of our own format."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from apps.flights.offers.lines import Line, Unreadable
from apps.flights.offers.ndjson import FLAGS, MEMBERS, SEGMENT_MEMBERS, offer_of, text_of
from apps.flights.offers.normalised import MAXIMUM_SEGMENTS, NormalisedOffer, Refused
from layoverhq.query_string import printable

COLUMNS: Final = {name: (0, name) for name in MEMBERS - {"segments"}} | {
    f"segment{number}_{name}": (number, name)
    for number in range(1, MAXIMUM_SEGMENTS + 1)
    for name in SEGMENT_MEMBERS
}
REQUIRED: Final = (
    "price", "currency", "segment1_origin", "segment1_destination", "segment1_departs_at",
    "segment1_arrives_at", "segment1_carrier",
)  # fmt: skip
_FLAG_WORDS: Final = {"true": True, "false": False}
_SEGMENT: Final = re.compile(r"segments\[([0-9])\](?:\.(\w+))?", re.ASCII)


class TableReader:
    """Reads the lines of one file; the first of them is its header."""

    def __init__(self, *, zones: Mapping[str, str], now: datetime) -> None:
        self._zones = zones
        self._now = now
        # Of each column: the segment, from 1, or 0 for the offer itself, and the member.
        self._columns: tuple[tuple[int, str], ...] = ()

    def read(self, line: Line) -> NormalisedOffer | None:
        """Return the offer of a line, None of the header.

        An empty cell is a member that is not there. Raises Refused with what `offer_of` refuses,
        and: not_utf8, not_csv, wrong_columns; Unreadable of a header: invalid_header.
        """
        if not self._columns:
            self._columns = _header(line)
            return None
        if line.refusal is not None:
            raise line.refusal
        cells = _cells(line.text)
        if len(cells) != len(self._columns):
            detail = f"The header has {len(self._columns)} columns, this line {len(cells)}."
            raise Refused("wrong_columns", "", detail)
        try:
            return offer_of(self._document(cells), zones=self._zones, now=self._now)
        except Refused as refusal:
            raise Refused(refusal.reason, _column(refusal.field), refusal.detail) from refusal

    def _document(self, cells: Sequence[str]) -> dict[str, Any]:
        members: list[dict[str, Any]] = [{} for _ in range(MAXIMUM_SEGMENTS + 1)]
        count = 0
        for (number, name), cell in zip(self._columns, cells, strict=True):
            if cell:
                # A word that is no flag is refused as one.
                members[number][name] = _FLAG_WORDS.get(cell, cell) if name in FLAGS else cell
                count = max(count, number)
        return {**members[0], "segments": members[1 : count + 1]}


def _header(line: Line) -> tuple[tuple[int, str], ...]:
    try:
        if line.refusal is not None:
            raise line.refusal
        names = _cells(line.text)
    except Refused as refusal:
        raise _invalid(refusal.detail) from refusal
    for position, name in enumerate(names):
        if name not in COLUMNS:
            raise _invalid(f"There is no column “{printable(name)}”.")
        if name in names[:position]:
            raise _invalid(f"The column “{name}” stands twice.")
    for name in REQUIRED:
        if name not in names:
            raise _invalid(f"The column “{name}” is missing.")
    return tuple(COLUMNS[name] for name in names)


def _invalid(detail: str) -> Unreadable:
    return Unreadable("invalid_header", f"The first line names the columns: {detail}")


def _cells(line: bytes) -> list[str]:
    text = text_of(line)
    try:
        (cells,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError) as error:
        detail = "A line is one record; quotes stand around a whole cell and are closed on it."
        raise Refused("not_csv", "", detail) from error
    return cells


def _column(field: str) -> str:
    """Return the column that a member of our own format comes from."""
    found = _SEGMENT.fullmatch(field)
    if found is None:
        return field
    number = f"segment{int(found[1]) + 1}"
    return f"{number}_{found[2]}" if found[2] else number
