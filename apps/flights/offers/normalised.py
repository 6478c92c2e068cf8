"""One offer, whoever sent it: what every format is read into, and what is refused of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

MAXIMUM_SEGMENTS: Final = 10
# The longest flight of today takes under 19 hours; some tickets call a stop on the way no stop.
LONGEST_SEGMENT: Final = timedelta(hours=36)
LONGEST_JOURNEY: Final = timedelta(days=10)
HORIZON: Final = timedelta(days=365)

CARRIER: Final = re.compile(r"[A-Z0-9]{2}", re.ASCII)
PROVIDER: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,49}", re.ASCII)
NAME: Final = re.compile(r"[A-Za-z0-9 ._/-]{1,40}", re.ASCII)

# From the lowest.
CABINS: Final = ("economy", "premium_economy", "business", "first")

MINUTE = timedelta(minutes=1)


class Refused(Exception):
    """The offer cannot be used: a reason for machines, the field, a sentence for people."""

    def __init__(self, reason: str, field: str, detail: str) -> None:
        self.reason = reason
        self.field = field
        self.detail = detail
        super().__init__(f"{field}: {detail}" if field else detail)


@dataclass(frozen=True, slots=True)
class Moment:
    """A minute at an airport: on its clock, in its zone, and in UTC."""

    local: datetime
    zone: str
    at: datetime

    @property
    def text(self) -> str:
        """The local time with its offset, ISO 8601 to the minute."""
        return self.local.isoformat(timespec="minutes")


@dataclass(frozen=True, slots=True)
class Segment:
    """One flight of a journey, and how one comes to it from the one before."""

    origin: str
    destination: str
    departure: Moment
    arrival: Moment
    carrier: str
    flight_number: str = ""
    origin_terminal: str = ""
    destination_terminal: str = ""
    cabin: str = ""
    fare_basis: str = ""
    # On a ticket of its own: nobody waits, and nobody rebooks, if the one before is late.
    self_transfer: bool = False
    # Bags are claimed and checked in again before it.
    bag_recheck: bool = False

    @property
    def minutes(self) -> int:
        return (self.arrival.at - self.departure.at) // MINUTE

    def document(self) -> dict[str, Any]:
        """Return what a traveller reads of it; what is not known is left out."""
        optional = {
            "flight_number": self.flight_number,
            "origin_terminal": self.origin_terminal,
            "destination_terminal": self.destination_terminal,
            "cabin": self.cabin,
            "fare_basis": self.fare_basis,
        }
        return {
            "origin": self.origin,
            "destination": self.destination,
            "departs_at": self.departure.text,
            "arrives_at": self.arrival.text,
            "minutes": self.minutes,
            "carrier": self.carrier,
            **{name: value for name, value in optional.items() if value},
        }


@dataclass(frozen=True, slots=True)
class Layover:
    """The time between two segments: at `airport`, and at `next_airport` where that is another."""

    airport: str
    next_airport: str
    minutes: int
    terminal_change: bool
    self_transfer: bool
    bag_recheck: bool

    @property
    def airport_change(self) -> bool:
        return self.airport != self.next_airport

    def document(self) -> dict[str, Any]:
        """Return what a traveller reads of it: flags stand only where they hold."""
        document: dict[str, Any] = {"airport": self.airport, "minutes": self.minutes}
        if self.airport_change:
            document["next_airport"] = self.next_airport
        for flag in ("terminal_change", "self_transfer", "bag_recheck"):
            if getattr(self, flag):
                document[flag] = True
        return document


@dataclass(frozen=True, slots=True)
class NormalisedOffer:
    """A priced journey. `normalised` makes the ones that can be stored."""

    provider: str
    carrier: str
    fare_minor: int
    fare_currency: str
    segments: tuple[Segment, ...]
    # It ends with the departure at the latest; a deadline for ticketing is none.
    expires_at: datetime

    @property
    def departure(self) -> Moment:
        return self.segments[0].departure

    @property
    def arrival(self) -> Moment:
        return self.segments[-1].arrival

    @property
    def departure_day(self) -> date:
        return self.departure.local.date()

    @property
    def departure_minute(self) -> int:
        return self.departure.local.hour * 60 + self.departure.local.minute

    @property
    def duration_minutes(self) -> int:
        return (self.arrival.at - self.departure.at) // MINUTE

    @property
    def self_transfer(self) -> bool:
        return any(segment.self_transfer for segment in self.segments)

    @property
    def layovers(self) -> tuple[Layover, ...]:
        """What lies between consecutive segments."""
        return tuple(
            Layover(
                airport=before.destination,
                next_airport=after.origin,
                minutes=(after.departure.at - before.arrival.at) // MINUTE,
                terminal_change=bool(
                    before.destination == after.origin
                    and before.destination_terminal
                    and after.origin_terminal
                    and before.destination_terminal != after.origin_terminal
                ),
                self_transfer=after.self_transfer,
                bag_recheck=after.bag_recheck,
            )
            for before, after in pairwise(self.segments)
        )

    @property
    def search_hash(self) -> UUID:
        """Equal for the same segments, carrier and fare of a provider, whatever the price is.

        The fare is the cabin and fare basis of each segment: a new price changes an offer, and
        does not stand beside the old one.
        """
        named = [
            self.provider,
            self.carrier,
            *(
                [
                    segment.origin,
                    segment.destination,
                    int(segment.departure.at.timestamp()),
                    int(segment.arrival.at.timestamp()),
                    segment.carrier,
                    segment.flight_number,
                    segment.cabin,
                    segment.fare_basis,
                ]
                for segment in self.segments
            ),
        ]
        text = json.dumps(named, separators=(",", ":"))
        return UUID(bytes=hashlib.sha256(text.encode()).digest()[:16])


def moment(given: str, airport: str, zones: Mapping[str, str], field: str) -> Moment:
    """Return what an airport's clock shows as `2026-12-01T08:30`, with or without its offset.

    Raises Refused: invalid_time, offset_mismatch, and, at a change of clocks, nonexistent_time,
    or ambiguous_time where no offset tells which of the two it is.
    """
    try:
        parsed = datetime.fromisoformat(given) if len(given) <= 32 else None
    except ValueError:
        parsed = None
    if parsed is None or "T" not in given or parsed.second or parsed.microsecond:
        detail = "Write a local time to the minute, such as 2026-12-01T08:30."
        raise Refused("invalid_time", field, detail)
    zone_name = zones[airport]
    zone = _zone(zone_name)
    naive = parsed.replace(tzinfo=None)
    try:
        standing = _standing(naive, zone)
    except OverflowError as error:
        raise Refused("invalid_time", field, "This time lies outside of the calendar.") from error
    if not standing:
        detail = f"Clocks in {zone_name} skip this time."
        raise Refused("nonexistent_time", field, detail)
    offset = parsed.utcoffset()
    if offset is not None:
        standing = {at for at in standing if at == parsed}
        if not standing:
            detail = f"Clocks in {zone_name} have another offset then."
            raise Refused("offset_mismatch", field, detail)
    if len(standing) > 1:
        detail = f"Clocks in {zone_name} show this time twice: give its offset."
        raise Refused("ambiguous_time", field, detail)
    (at,) = standing
    return Moment(at.astimezone(zone), zone_name, at)


def normalised(offer: NormalisedOffer, *, now: datetime) -> NormalisedOffer:
    """Return the offer, which ends with its departure at the latest, if it can be stored.

    Raises Refused: no_segments, too_many_segments, goes_nowhere, arrival_before_departure,
    segment_too_long, overlapping_segments, broken_route, journey_too_long, departed, too_far,
    expired, invalid_carrier, invalid_provider.
    """
    segments = offer.segments
    if not segments:
        raise Refused("no_segments", "segments", "An offer has one segment or more.")
    if len(segments) > MAXIMUM_SEGMENTS:
        detail = f"At most {MAXIMUM_SEGMENTS} segments."
        raise Refused("too_many_segments", "segments", detail)
    if not PROVIDER.fullmatch(offer.provider):
        detail = "Use up to 50 small letters, digits, dots, hyphens and underscores."
        raise Refused("invalid_provider", "provider", detail)
    _check_carrier(offer.carrier, "carrier")
    for position, segment in enumerate(segments):
        _check_segment(segment, f"segments[{position}]")
    for position, (before, after) in enumerate(pairwise(segments), 1):
        _check_connection(before, after, f"segments[{position}]")
    if segments[0].origin == segments[-1].destination:
        detail = "A journey ends elsewhere than where it begins: send each direction by itself."
        raise Refused("goes_nowhere", "segments", detail)
    if offer.arrival.at - offer.departure.at > LONGEST_JOURNEY:
        detail = f"At most {LONGEST_JOURNEY.days} days from departure to arrival."
        raise Refused("journey_too_long", "segments", detail)
    if offer.departure.at <= now:
        raise Refused("departed", "segments[0].departs_at", "This has departed.")
    if offer.departure.at > now + HORIZON:
        detail = f"At most {HORIZON.days} days ahead."
        raise Refused("too_far", "segments[0].departs_at", detail)
    if offer.expires_at <= now:
        raise Refused("expired", "expires_at", "This has expired.")
    if offer.expires_at <= offer.departure.at:
        return offer
    return NormalisedOffer(
        offer.provider,
        offer.carrier,
        offer.fare_minor,
        offer.fare_currency,
        segments,
        offer.departure.at,
    )


def _check_carrier(carrier: str, field: str) -> None:
    if not CARRIER.fullmatch(carrier):
        raise Refused("invalid_carrier", field, "Give the airline's IATA code, such as UA.")


def _check_segment(segment: Segment, field: str) -> None:
    _check_carrier(segment.carrier, f"{field}.carrier")
    if segment.origin == segment.destination:
        raise Refused("goes_nowhere", field, "A segment ends elsewhere than where it begins.")
    if segment.arrival.at <= segment.departure.at:
        detail = "It arrives before it departs."
        raise Refused("arrival_before_departure", f"{field}.arrives_at", detail)
    if segment.arrival.at - segment.departure.at > LONGEST_SEGMENT:
        hours = LONGEST_SEGMENT // timedelta(hours=1)
        raise Refused("segment_too_long", field, f"At most {hours} hours in one segment.")


def _check_connection(before: Segment, after: Segment, field: str) -> None:
    if after.departure.at < before.arrival.at:
        detail = "It departs before the segment before it arrives."
        raise Refused("overlapping_segments", f"{field}.departs_at", detail)
    # Airports of one city share their clock; nobody changes from LHR to JFK without a flight.
    if after.departure.zone != before.arrival.zone:
        detail = f"The segment before ends in {before.destination}, in another time zone."
        raise Refused("broken_route", f"{field}.origin", detail)


def _standing(naive: datetime, zone: ZoneInfo) -> set[datetime]:
    """Return when, in UTC, the zone's clocks show this time: never, once or twice."""
    first, second = naive.replace(tzinfo=zone), naive.replace(tzinfo=zone, fold=1)
    if first.utcoffset() == second.utcoffset():
        return {first.astimezone(UTC)}
    readings = (first.astimezone(UTC), second.astimezone(UTC))
    return {at for at in readings if at.astimezone(zone).replace(tzinfo=None) == naive}


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
