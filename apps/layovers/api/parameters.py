"""The analysis's parameters, for the OpenAPI document, from the grammar that parses them."""

from __future__ import annotations

from typing import Any

from apps.flights.grammar import AIRPORT_PATTERN, MINUTES_PATTERN
from apps.layovers import questions
from layoverhq.openapi import query_parameter


def _text(pattern: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^({pattern})$", **more}


_LOCAL = (
    "On the airport's clock, to the minute. An offset may follow, must fit, and is needed where"
    " clocks show an hour twice."
)
_AMOUNT = _text(questions.AMOUNT_PATTERN, example="412.50")
_DURATION = _text(MINUTES_PATTERN, example="18h30m")
_SWITCH = {"type": "boolean", "default": False}

PASSPORT = query_parameter(
    "passport",
    "The passport's country, ISO 3166-1 alpha-2.",
    _text(questions.PASSPORT_PATTERN, example="DE"),
)

ANALYSIS_PARAMETERS = [
    query_parameter("airport", "IATA code.", _text(AIRPORT_PATTERN, example="IST"), required=True),
    query_parameter(
        "arrival",
        f"When the layover begins. {_LOCAL}",
        _text(questions.TIME_PATTERN),
        required=True,
    ),
    query_parameter(
        "departure",
        f"When it ends: at most {questions.LONGEST.days} days later. {_LOCAL}",
        _text(questions.TIME_PATTERN),
        required=True,
    ),
    query_parameter(
        "from",
        "Where the flight before comes from; without it, from abroad.",
        _text(AIRPORT_PATTERN, example="JFK"),
    ),
    query_parameter(
        "to",
        "Where the next flight goes; without it, abroad.",
        _text(AIRPORT_PATTERN, example="SIN"),
    ),
    PASSPORT,
    query_parameter(
        "visa_held", "The traveller has the visa that the passport needs, if any.", _SWITCH
    ),
    query_parameter("self_transfer", "The next flight is on another ticket.", _SWITCH),
    query_parameter("price", "What the journey costs; goes with `best_price`.", _AMOUNT),
    query_parameter(
        "best_price", "What the best alternative costs, in the same currency.", _AMOUNT
    ),
    query_parameter(
        "duration", "How long the journey takes; goes with `best_duration`.", _DURATION
    ),
    query_parameter("best_duration", "How long the best alternative takes.", _DURATION),
]
