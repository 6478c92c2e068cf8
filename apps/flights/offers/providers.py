"""Offers of Amadeus (Flight Offers v2), Duffel and Kiwi (v2), rewritten in our own format.

Each takes one offer of a provider's answer. Their ids are left behind: Amadeus' are unique within
one answer only. What does not look as the provider documents it is refused by `unexpected_shape`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, Final

from apps.flights.offers.ndjson import offer_of
from apps.flights.offers.normalised import NormalisedOffer, Refused

Document = Mapping[str, Any]

_KIWI_CABINS: Final = {"M": "economy", "W": "premium_economy", "C": "business", "F": "first"}
_MILLISECONDS_AND_Z: Final = ".000Z"


def read_provider_offer(
    kind: str, offer: Any, *, zones: Mapping[str, str], now: datetime, provider: str = ""
) -> NormalisedOffer:
    """Return an offer as a provider of this kind sent it; `provider` names it, if not its kind.

    Raises Refused with what `offer_of` refuses, and: unexpected_shape, several_journeys.
    """
    try:
        document = FORMATS[kind](offer)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        detail = f"This is no offer as {kind} documents it: {error!r:.200}"
        raise Refused("unexpected_shape", "", detail) from error
    return offer_of({**document, "provider": provider or kind}, zones=zones, now=now)


def amadeus(offer: Document) -> dict[str, Any]:
    """Times are on the airports' clocks, without an offset; lastTicketingDate is no expiry."""
    details = {
        detail["segmentId"]: detail
        for detail in offer["travelerPricings"][0]["fareDetailsBySegment"]
    }
    price = offer["price"]
    return {
        "price": price.get("grandTotal", price["total"]),
        "currency": price["currency"],
        "carrier": offer["validatingAirlineCodes"][0],
        "segments": [
            {
                "origin": segment["departure"]["iataCode"],
                "destination": segment["arrival"]["iataCode"],
                "departs_at": segment["departure"]["at"],
                "arrives_at": segment["arrival"]["at"],
                "origin_terminal": segment["departure"].get("terminal"),
                "destination_terminal": segment["arrival"].get("terminal"),
                "carrier": segment["carrierCode"],
                "flight_number": f"{segment['carrierCode']} {segment['number']}",
                "cabin": details[segment["id"]]["cabin"].lower(),
                "fare_basis": details[segment["id"]].get("fareBasis"),
            }
            for segment in _only(offer["itineraries"])["segments"]
        ],
    }


def duffel(offer: Document) -> dict[str, Any]:
    """Times are on the airports' clocks, without an offset; expires_at is the offer's own end."""
    return {
        "price": offer["total_amount"],
        "currency": offer["total_currency"],
        "carrier": offer["owner"]["iata_code"],
        "expires_at": offer["expires_at"],
        "segments": [
            {
                "origin": segment["origin"]["iata_code"],
                "destination": segment["destination"]["iata_code"],
                "departs_at": segment["departing_at"],
                "arrives_at": segment["arriving_at"],
                "origin_terminal": segment.get("origin_terminal"),
                "destination_terminal": segment.get("destination_terminal"),
                "carrier": segment["marketing_carrier"]["iata_code"],
                "flight_number": f"{segment['marketing_carrier']['iata_code']}"
                f" {segment['marketing_carrier_flight_number']}",
                "cabin": segment["passengers"][0]["cabin_class"],
                "fare_basis": segment["passengers"][0].get("fare_basis_code"),
            }
            for segment in _only(offer["slices"])["segments"]
        ],
    }


def kiwi(offer: Document) -> dict[str, Any]:
    """`local_…` ends in Z and is local all the same; beside UTC it tells the offset.

    A connection that Kiwi itself makes up (virtual interlining) is a self-transfer. The currency
    is the answer's: whoever reads one puts it into its offers.
    """
    if any(segment["return"] for segment in offer["route"]):
        raise Refused("several_journeys", "route", "Only journeys one way can be loaded yet.")
    return {
        "price": _amount(offer["price"]),
        "currency": offer["currency"],
        "segments": [
            {
                "origin": segment["flyFrom"],
                "destination": segment["flyTo"],
                "departs_at": _local(segment["local_departure"], segment["utc_departure"]),
                "arrives_at": _local(segment["local_arrival"], segment["utc_arrival"]),
                "carrier": segment["airline"],
                "flight_number": f"{segment['airline']} {segment['flight_no']}",
                "cabin": _KIWI_CABINS[segment["fare_category"]],
                "fare_basis": segment.get("fare_basis"),
                # Of the connection to this segment: the first has none.
                "self_transfer": position > 0 and segment["vi_connection"],
                "bag_recheck": position > 0
                and (segment["vi_connection"] or segment["bags_recheck_required"]),
            }
            for position, segment in enumerate(offer["route"])
        ],
    }


FORMATS: Final[Mapping[str, Callable[[Document], dict[str, Any]]]] = {
    "amadeus": amadeus,
    "duffel": duffel,
    "kiwi": kiwi,
}


def _only(journeys: list[Document]) -> Document:
    if len(journeys) != 1:
        field = "segments"
        raise Refused("several_journeys", field, "Only journeys one way can be loaded yet.")
    return journeys[0]


def _amount(number: Any) -> str:
    # Kiwi's prices are JSON numbers: their shortest decimal is what was sent.
    if type(number) not in (int, float):
        raise TypeError("price is no number")
    return str(number)


def _local(local: str, utc: str) -> str:
    clock = datetime.fromisoformat(local.removesuffix(_MILLISECONDS_AND_Z))
    offset = clock - datetime.fromisoformat(utc.removesuffix(_MILLISECONDS_AND_Z))
    return clock.replace(tzinfo=timezone(offset)).isoformat()
