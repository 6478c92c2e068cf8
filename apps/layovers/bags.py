"""What becomes of checked bags in a layover: a hint, as the airline has the last word."""

from __future__ import annotations

from typing import Final

# Where travellers to the United States clear its customs before they board.
PRECLEARED: Final = frozenset(
    {
        "DUB",
        "SNN",
        "AUH",
        "AUA",
        "BDA",
        "NAS",
        "YYC",
        "YEG",
        "YHZ",
        "YUL",
        "YOW",
        "YYZ",
        "YVR",
        "YWG",
    }
)

THROUGH: Final = "checked_through"
RECHECK: Final = "claim_and_recheck"
ASK: Final = "ask_the_airline"
ADVICES: Final = (THROUGH, RECHECK, ASK)


def bag_advice(
    *,
    country: str,
    origin: str | None,
    origin_country: str | None,
    destination_country: str | None,
    self_transfer: bool,
    overnight: bool,
) -> tuple[str, str]:
    """Return the advice and a sentence. Countries are ISO 3166-1 codes, None if not known."""
    if self_transfer:
        return RECHECK, "On separate tickets bags are claimed and checked in again."
    if origin_country is None:
        return ASK, "Tell where the flight comes from to learn more."
    if country == "US" and origin_country != "US":
        if origin in PRECLEARED:
            return THROUGH, "Customs were cleared before departure: bags usually go through."
        return RECHECK, "Bags are claimed at the first airport in the United States, always."
    if origin_country != country and destination_country == country:
        return ASK, "On entering the country bags are often claimed for customs."
    if overnight:
        return ASK, "Overnight some airlines hand bags out, others keep them."
    return THROUGH, "On one ticket bags usually go through to the end."
