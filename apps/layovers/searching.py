"""The search with what each layover is worth: offers as the search answers them, analysed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from apps.flags.runtime import flags
from apps.flights.grammar import FlightSearch, parse_flight_search
from apps.flights.money import BASE_CURRENCY
from apps.flights.queries import search_flights
from apps.layovers.keeping import Asked, kept_analysis, weights_of
from apps.layovers.questions import parse_passport, parse_values
from layoverhq.errors import FieldError, InvalidInput
from layoverhq.query_string import parse_query
from layoverhq.tenancy import TenantRef

# An analysis that is not kept yet takes as long as many searches.
MAXIMUM_LIMIT: Final = 20
DEFAULT_LIMIT: Final = 10

OWN_PARAMETERS: Final = ("passport",)


def parse_search(
    query_string: str, *, zones: Mapping[str, str], now: datetime
) -> tuple[FlightSearch, str]:
    """Parse a search's parameters and `passport`, which is empty if it is not given.

    Raises InvalidInput with every faulty field.
    """
    parts = query_string.split("&")
    own = [part for part in parts if part.partition("=")[0] in OWN_PARAMETERS]
    errors: list[FieldError] = []
    values = parse_query("&".join(own), OWN_PARAMETERS, errors)
    passport = ""
    if "passport" in values:
        try:
            passport = parse_passport(values["passport"])
        except InvalidInput as refusal:
            errors.extend(refusal.errors)
    rest = [part for part in parts if part not in own]
    if not any(part.startswith("limit=") for part in rest):
        rest.append(f"limit={DEFAULT_LIMIT}")
    try:
        search = parse_flight_search("&".join(rest), zones=zones, now=now)
    except InvalidInput as refusal:
        raise InvalidInput([*refusal.errors, *errors]) from refusal
    if search.limit > MAXIMUM_LIMIT:
        detail = f"Give a whole number from 1 to {MAXIMUM_LIMIT}."
        errors.append(FieldError("limit", "invalid", detail))
    if errors:
        raise InvalidInput(errors)
    return search, passport


def search_with_analyses(
    tenant: TenantRef,
    search: FlightSearch,
    *,
    passport: str,
    zones: Mapping[str, str],
    context: Mapping[str, Any],
    now: datetime,
) -> dict[str, Any]:
    """Return the search's answer, each layover with its `analysis`, null where none can be made.

    Raises what `search_flights` raises.
    """
    # The explanation tells the best price and duration, which a premium is compared with.
    explained = replace(search, explain=True)
    answer: dict[str, Any] = json.loads(search_flights(tenant, explained, context=context))
    weights = weights_of(tenant)
    weather = flags.enabled("real_time_weather", context)
    for offer in answer["results"]:
        for stop, given in zip(offer["layovers"], _questions(offer, passport), strict=True):
            if "next_airport" in stop:
                # Who arrives at one and departs from another has no airport to come back to.
                stop["analysis"] = None
                continue
            try:
                question = parse_values(given, zones=zones, now=now)
            except InvalidInput:
                # Such as a layover at an airport that operators have closed.
                stop["analysis"] = None
                continue
            asked = Asked(question, weights, real_time_weather=weather)
            stop["analysis"] = kept_analysis(asked, now=now).document
        if not search.explain:
            del offer["explanation"]
    return answer


def _questions(offer: Mapping[str, Any], passport: str) -> Iterator[dict[str, str]]:
    """Yield what is asked of each layover of an offer, by the analysis's parameters."""
    compared: dict[str, str] = {}
    best = offer["explanation"]
    if offer["price_currency"] == BASE_CURRENCY:
        compared = {
            "price": f"{offer['price_minor'] / 100:.2f}",
            "best_price": f"{best['best_price_minor'] / 100:.2f}",
        }
    for (before, after), stop in zip(pairwise(offer["segments"]), offer["layovers"], strict=True):
        yield {
            "airport": stop["airport"],
            "arrival": before["arrives_at"],
            "departure": after["departs_at"],
            "from": before["origin"],
            "to": after["destination"],
            "passport": passport,
            "self_transfer": "true" if stop.get("self_transfer") else "",
            "duration": str(offer["duration_minutes"]),
            "best_duration": str(best["best_duration_minutes"]),
            **compared,
        }
