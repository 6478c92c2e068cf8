"""The search's parameters, for the OpenAPI document, from the grammar that parses them."""

from __future__ import annotations

from typing import Any

from apps.flights import grammar
from apps.flights.money import BASE_CURRENCY, CURRENCIES
from apps.flights.offers.normalised import CABINS
from layoverhq.openapi import query_parameter


def _text(pattern: str, example: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^({pattern})$", "example": example, **more}


def _range(element: str, example: str) -> dict[str, Any]:
    return _text(rf"({element})\.\.({element})?|\.\.({element})", example)


_AIRPORTS = (
    rf"{grammar.AIRPORT_PATTERN}(,{grammar.AIRPORT_PATTERN})"
    rf"{{0,{grammar.MAXIMUM_AIRPORTS - 1}}}"
)

_CARRIERS = (
    rf"{grammar.CARRIER_PATTERN}(,{grammar.CARRIER_PATTERN})"
    rf"{{0,{grammar.MAXIMUM_CARRIERS - 1}}}"
)
_YES_OR_NO = {"type": "string", "enum": list(grammar.YES_OR_NO)}

SEARCH_PARAMETERS = [
    query_parameter("origin", "IATA code.", _text(grammar.AIRPORT_PATTERN, "SFO"), required=True),
    query_parameter(
        "destination", "IATA code.", _text(grammar.AIRPORT_PATTERN, "JFK"), required=True
    ),
    query_parameter(
        "departure_date",
        f"By the origin's calendar: from today to {grammar.HORIZON_DAYS} days ahead.",
        {"type": "string", "format": "date"},
        required=True,
    ),
    query_parameter(
        "max_layovers",
        "0 finds nonstops only.",
        {"type": "integer", "minimum": 0, "maximum": grammar.MAXIMUM_LAYOVERS},
    ),
    query_parameter(
        "via", "A layover at any of these airports, with commas between.", _text(_AIRPORTS, "DEN")
    ),
    query_parameter("exclude", "No layover at any of these airports.", _text(_AIRPORTS, "ORD,EWR")),
    query_parameter(
        "layover",
        "Every layover lasts this long; with `via`, the one there does. Both ends are included;"
        " units are `8h`, `8h30m`, `90m`, or minutes.",
        _range(grammar.MINUTES_PATTERN, "8h..20h"),
    ),
    query_parameter(
        "duration",
        "From departure to arrival, in the units of `layover`.",
        _range(grammar.MINUTES_PATTERN, "..18h"),
    ),
    query_parameter(
        "usable",
        "The layover that leaves most for its city leaves this long, within opening hours; with"
        " `via`, one there does. In the units of `layover`.",
        _range(grammar.MINUTES_PATTERN, "4h.."),
    ),
    query_parameter(
        "daylight",
        "Whether `usable` counts daylight only; without `usable` there is an hour of it.",
        {"type": "string", "enum": ["true", "false"], "default": "false"},
    ),
    query_parameter(
        "overnight",
        "Whether a layover lasts from one o'clock to five of a night; with `via`, the one there.",
        _YES_OR_NO,
    ),
    query_parameter(
        "price",
        "In whole units of `currency`, with its decimals or without.",
        _range(grammar.PRICE_PATTERN, "..400"),
    ),
    query_parameter(
        "depart",
        "On the origin's clock, within the departure date.",
        _range(grammar.TIME_PATTERN, "06:00..12:00"),
    ),
    query_parameter(
        "flexible_days",
        "Search so many days before and after as well.",
        {"type": "integer", "minimum": 0, "maximum": grammar.MAXIMUM_FLEXIBLE_DAYS, "default": 0},
    ),
    query_parameter(
        "carriers", "Every segment is by one of these airlines.", _text(_CARRIERS, "UA,B6")
    ),
    query_parameter("exclude_carriers", "No segment is.", _text(_CARRIERS, "NK")),
    query_parameter(
        "cabin",
        "The lowest of the journey; offers that do not say are left out.",
        {"type": "string", "enum": list(CABINS)},
    ),
    query_parameter("self_transfer", "Whether a layover lies between two tickets.", _YES_OR_NO),
    query_parameter(
        "terminal_change", "Whether a layover leads to another terminal or airport.", _YES_OR_NO
    ),
    query_parameter(
        "currency",
        "What prices are shown and asked for in, by the newest reference rate.",
        {"type": "string", "enum": sorted(CURRENCIES), "default": BASE_CURRENCY},
    ),
    query_parameter(
        "explain",
        "Whether each offer tells its score and what it is made of.",
        {"type": "string", "enum": ["true", "false"], "default": "false"},
    ),
    query_parameter(
        "sort",
        "Ascending, but for `score`, where the best comes first; equals are in the order of their"
        " ids.",
        {"type": "string", "enum": list(grammar.SORTS), "default": grammar.DEFAULT_SORT},
    ),
    query_parameter(
        "limit",
        "Offers a page.",
        {
            "type": "integer",
            "minimum": 1,
            "maximum": grammar.MAXIMUM_LIMIT,
            "default": grammar.DEFAULT_LIMIT,
        },
    ),
    query_parameter(
        "cursor",
        "`next` of the page before; the other parameters stay as they were, but for `limit`.",
        {"type": "string", "pattern": f"^{grammar.CURSOR_PATTERN}$"},
    ),
]
