"""The formats that offers are imported in, by their content type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from apps.flights.offers.lines import Line
from apps.flights.offers.ndjson import read_offer
from apps.flights.offers.normalised import NormalisedOffer
from apps.flights.offers.table import TableReader

NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"
SUFFIXES: Final = {NDJSON: "ndjson", CSV: "csv"}

# Returns None of a line that is no offer, as a header is.
Reader = Callable[[Line], NormalisedOffer | None]


def reader(content_type: str, *, zones: Mapping[str, str], now: datetime) -> Reader:
    """Return what reads the lines of a file, one after another.

    It raises Refused of a line, and Unreadable of the whole.
    """
    if content_type == CSV:
        return TableReader(zones=zones, now=now).read

    def read(line: Line) -> NormalisedOffer:
        if line.refusal is not None:
            raise line.refusal
        return read_offer(line.text, zones=zones, now=now)

    return read
