"""Saved searches: the query of GET /flights/search, in one spelling, to be parsed whenever it runs.

Kept as a text, so that whatever the grammar takes can be saved, and so that a day that has passed
since is found out when it is run.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from urllib.parse import parse_qsl, urlencode

from apps.flights.airports import airports
from apps.flights.grammar import FlightSearch, parse_flight_search
from apps.flights.queries import in_base_currency
from layoverhq.errors import FieldError, InvalidInput

LONGEST_QUERY = 2000
# What says which page of the results, and not what is looked for.
PAGING = ("cursor", "limit")
# What an alert may narrow a search by.
LAYOVER_PARAMETERS = frozenset(
    {
        "layover",
        "via",
        "exclude",
        "max_layovers",
        "usable",
        "daylight",
        "overnight",
        "self_transfer",
        "terminal_change",
    }
)


def pairs(query: str) -> list[tuple[str, str]]:
    """Return a query's parameters in order; what is no query has none that are known."""
    return parse_qsl(query.removeprefix("?"), keep_blank_values=True)


def spelled(parameters: list[tuple[str, str]]) -> str:
    """Return the query in the one spelling: sorted, and commas and dots as they are."""
    return urlencode(sorted(parameters), safe=",:.")


def canonical_query(query: str, *, now: datetime, field: str = "query") -> str:
    """Return a search's query as it is kept. Raises InvalidInput, with `query.` before each name.

    Which page it was is left out.
    """
    if len(query) > LONGEST_QUERY:
        raise InvalidInput.of(field, f"At most {LONGEST_QUERY} characters.", code="too_long")
    kept = [(name, value) for name, value in pairs(query) if name not in PAGING]
    text = spelled(kept)
    try:
        parse(text, now=now)
    except InvalidInput as error:
        raise InvalidInput(
            [
                FieldError(f"{field}.{fault.field}", fault.code, fault.detail)
                for fault in error.errors
            ]
        ) from error
    return text


def canonical_layovers(query: str, layovers: str, *, now: datetime) -> str:
    """Return what an alert narrows a search by, as it is kept. Raises InvalidInput."""
    given = pairs(layovers)
    if strangers := sorted({name for name, _ in given} - LAYOVER_PARAMETERS):
        detail = f"An alert narrows a search by {', '.join(sorted(LAYOVER_PARAMETERS))}."
        raise InvalidInput(
            [FieldError(f"layovers.{name}", "unknown", detail) for name in strangers]
        )
    if not given:
        detail = "Give parameters of a search, such as layover=8h..20h&via=IST."
        raise InvalidInput.of("layovers", detail)
    canonical_query(narrowed(query, layovers), now=now, field="layovers")
    return spelled(given)


def narrowed(query: str, layovers: str) -> str:
    """Return the query with an alert's parameters in place of its own of the same names."""
    asked = pairs(layovers)
    names = {name for name, _ in asked}
    return spelled([*(pair for pair in pairs(query) if pair[0] not in names), *asked])


def with_parameters(query: str, **parameters: str) -> str:
    """Return the query with these parameters instead of its own of the same names."""
    return narrowed(query, urlencode(parameters))


def parse(query: str, *, now: datetime) -> FlightSearch:
    """Parse a kept query as it is to be run. Raises InvalidInput, also of a day that is past."""
    return parse_flight_search(query, zones=airports.get(), now=now)


def watched(query: str, *, limit: int, now: datetime) -> FlightSearch:
    """Parse a query as an alert runs it: cheapest first, in the currency of thresholds.

    Raises InvalidInput, and NoRate and StaleRate of a price that it bounds in another currency.
    """
    asked = parse(query, now=now)
    return in_base_currency(replace(asked, explain=False, sort="price", limit=limit))


def is_over(error: InvalidInput) -> bool:
    """Return whether a search cannot run any more since its day is past."""
    return any(fault.code == "past" for fault in error.errors)
