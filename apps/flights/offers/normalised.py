"""One offer, whoever sent it: what every format is read into, and what is refused of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import Struct

from apps.flights.ground import minute_of, moment_of

MAXIMUM_SEGMENTS: Final = 10
# The longest flight of today takes under 19 hours; some tickets call a stop on the way no stop.
LONGEST_SEGMENT: Final = timedelta(hours=36)
LONGEST_JOURNEY: Final = timedelta(days=10)
SEGMENT_FIELDS: Final = tuple(f"segments[{position}]" for position in range(MAXIMUM_SEGMENTS))
HORIZON: Final = timedelta(days=365)

CARRIER: Final = re.compile(r"[A-Z0-9]{2}", re.ASCII)
PROVIDER: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,49}", re.ASCII)
NAME: Final = re.compile(r"[A-Za-z0-9 ._/-]{1,40}", re.ASCII)

# From the lowest.
CABINS: Final = ("economy", "premium_economy", "business", "first")

MINUTE = timedelta(minutes=1)
DAY_MINUTES: Final = 24 * 60

_CLOCK: Final = {
    f"{hour:02}:{minute:02}": hour * 60 + minute for hour in range(24) for minute in range(60)
}
_DATE: Final = re.compile(r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}", re.ASCII)
_LONGEST_TIME: Final = 32
# A file asks for the same days in the same zones again and again.
_REMEMBERED: Final = 65_536
_LONGEST_SEGMENT_MINUTES: Final = LONGEST_SEGMENT // MINUTE
_LONGEST_JOURNEY_MINUTES: Final = LONGEST_JOURNEY // MINUTE
_HORIZON_SECONDS: Final = HORIZON.total_seconds()


class Refused(Exception):
    """The offer cannot be used: a reason for machines, the field, a sentence for people."""

    def __init__(self, reason: str, field: str, detail: str) -> None:
        self.reason = reason
        self.field = field
        self.detail = detail
        super().__init__(f"{field}: {detail}" if field else detail)


# None of these refers to what refers to it: the garbage collector need not look at them.


class Moment(Struct, frozen=True, gc=False):
    """A minute at an airport: on its clock, in its zone, and in UTC.

    `text` is the local time with its offset, ISO 8601 to the minute; `minute` counts from 1970 in
    UTC, and `offset` is what the clock shows less UTC, in minutes.
    """

    text: str
    zone: str
    minute: int
    offset: int

    @property
    def local(self) -> datetime:
        return self.at.astimezone(zone_of(self.zone))

    @property
    def at(self) -> datetime:
        return moment_of(self.minute)

    @property
    def day(self) -> date:
        return date.fromisoformat(self.text[:10])

    @property
    def clock_minute(self) -> int:
        return _CLOCK[self.text[11:16]]


class Segment(Struct, frozen=True, gc=False):
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

    def document(self) -> SegmentDocument:
        """Return what a traveller reads of it."""
        departure, arrival = self.departure, self.arrival
        return SegmentDocument(
            self.origin,
            self.destination,
            departure.text,
            arrival.text,
            arrival.minute - departure.minute,
            self.carrier,
            self.flight_number,
            self.origin_terminal,
            self.destination_terminal,
            self.cabin,
            self.fare_basis,
        )


class SegmentDocument(Struct, omit_defaults=True, gc=False):
    """A segment as JSON says it; what is not known is left out."""

    origin: str
    destination: str
    departs_at: str
    arrives_at: str
    minutes: int
    carrier: str
    flight_number: str = ""
    origin_terminal: str = ""
    destination_terminal: str = ""
    cabin: str = ""
    fare_basis: str = ""


class Layover(Struct, frozen=True, gc=False):
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
        if self.terminal_change:
            document["terminal_change"] = True
        if self.self_transfer:
            document["self_transfer"] = True
        if self.bag_recheck:
            document["bag_recheck"] = True
        return document


class NormalisedOffer(Struct, frozen=True, gc=False):
    """A priced journey. `normalised` makes the ones that can be stored."""

    provider: str
    carrier: str
    fare_minor: int
    fare_currency: str
    # The same in the currency that offers are compared in; the rate's day, if it is another.
    price_minor: int
    rate_date: date | None
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
        return self.departure.day

    @property
    def departure_minute(self) -> int:
        return self.departure.clock_minute

    @property
    def duration_minutes(self) -> int:
        return self.arrival.minute - self.departure.minute

    @property
    def self_transfer(self) -> bool:
        return any(segment.self_transfer for segment in self.segments)

    @property
    def layovers(self) -> tuple[Layover, ...]:
        """What lies between consecutive segments."""
        return tuple(
            [
                Layover(
                    before.destination,
                    after.origin,
                    after.departure.minute - before.arrival.minute,
                    bool(
                        before.destination_terminal
                        and after.origin_terminal
                        and before.destination == after.origin
                        and before.destination_terminal != after.origin_terminal
                    ),
                    after.self_transfer,
                    after.bag_recheck,
                )
                for before, after in pairwise(self.segments)
            ]
        )

    @property
    def search_hash(self) -> UUID:
        return UUID(bytes=self.digest)

    @property
    def digest(self) -> bytes:
        """Equal for the same segments, carrier and fare of a provider, whatever the price is.

        The fare is the cabin and fare basis of each segment: a new price changes an offer, and
        does not stand beside the old one.
        """
        # No field has a bar in it, and none a line's end.
        named = [f"{self.provider}|{self.carrier}"]
        named += [
            f"{segment.origin}|{segment.destination}|{segment.departure.minute}"
            f"|{segment.arrival.minute}|{segment.carrier}|{segment.flight_number}"
            f"|{segment.cabin}|{segment.fare_basis}"
            for segment in self.segments
        ]
        return hashlib.blake2b("\n".join(named).encode(), digest_size=16).digest()


def moment(given: str, airport: str, zones: Mapping[str, str], field: str) -> Moment:
    """Return what an airport's clock shows as `2026-12-01T08:30`, with or without its offset.

    Raises Refused: invalid_time, offset_mismatch, and, at a change of clocks, nonexistent_time,
    or ambiguous_time where no offset tells which of the two it is.
    """
    zone = zones[airport]
    if (usual := usual_moment(given, zone)) is not None:
        return usual
    read = _unusual_moment(given, zone) if len(given) <= _LONGEST_TIME else _NO_TIME
    if isinstance(read, Moment):
        return read
    reason, detail = read
    raise Refused(reason, field, detail)


def usual_moment(given: str, zone: str) -> Moment | None:
    """Return what a clock of the zone shows as `2026-12-01T08:30`; None of other texts and days."""
    minute = _CLOCK.get(given[11:])
    if minute is None or given[10] != "T" or (usual := _usual_day(given[:10], zone)) is None:
        return None
    midnight, offset, written = usual
    return Moment(given + written, zone, midnight + minute, offset)


_Fault = tuple[str, str]
_NO_TIME: Final = (
    "invalid_time",
    "Write a local time to the minute, such as 2026-12-01T08:30.",
)


@lru_cache(maxsize=_REMEMBERED)
def _usual_day(day: str, zone_name: str) -> tuple[int, int, str] | None:
    """Return a day's first minute since 1970, and its offset in minutes and as it is written.

    None where there is no such day, and where its clocks are changed, or tell seconds.
    """
    if not _DATE.fullmatch(day):
        return None
    zone = zone_of(zone_name)
    try:
        midnight = datetime.fromisoformat(day)
        hours = [midnight + timedelta(hours=hour) for hour in range(25)]
        readings = {
            hour.replace(tzinfo=zone, fold=fold).utcoffset() for hour in hours for fold in (0, 1)
        }
    except (ValueError, OverflowError):
        return None
    offset, *others = readings
    if others or offset is None or offset % MINUTE:
        return None
    standing = midnight.replace(tzinfo=zone)
    return minute_of(standing), offset // MINUTE, standing.isoformat(timespec="minutes")[16:]


def _unusual_moment(given: str, zone_name: str) -> Moment | _Fault:
    try:
        parsed = datetime.fromisoformat(given)
    except ValueError:
        return _NO_TIME
    if "T" not in given or parsed.second or parsed.microsecond:
        return _NO_TIME
    zone = zone_of(zone_name)
    try:
        standing = _standing(parsed.replace(tzinfo=None), zone)
    except OverflowError:
        return "invalid_time", "This time lies outside of the calendar."
    if not standing:
        return "nonexistent_time", f"Clocks in {zone_name} skip this time."
    offset = parsed.utcoffset()
    if offset is not None:
        standing = {at for at in standing if at == parsed}
        if not standing:
            return "offset_mismatch", f"Clocks in {zone_name} have another offset then."
    if len(standing) > 1:
        return "ambiguous_time", f"Clocks in {zone_name} show this time twice: give its offset."
    (at,) = standing
    local = at.astimezone(zone)
    shown = (local.utcoffset() or timedelta()) // MINUTE
    return Moment(local.isoformat(timespec="minutes"), zone_name, minute_of(at), shown)


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
        _check_segment(segment, SEGMENT_FIELDS[position])
    for position, (before, after) in enumerate(pairwise(segments), 1):
        _check_connection(before, after, SEGMENT_FIELDS[position])
    if segments[0].origin == segments[-1].destination:
        detail = "A journey ends elsewhere than where it begins: send each direction by itself."
        raise Refused("goes_nowhere", "segments", detail)
    present, departs = now.timestamp(), offer.departure.minute * 60
    if offer.duration_minutes > _LONGEST_JOURNEY_MINUTES:
        detail = f"At most {LONGEST_JOURNEY.days} days from departure to arrival."
        raise Refused("journey_too_long", "segments", detail)
    if departs <= present:
        raise Refused("departed", "segments[0].departs_at", "This has departed.")
    if departs > present + _HORIZON_SECONDS:
        detail = f"At most {HORIZON.days} days ahead."
        raise Refused("too_far", "segments[0].departs_at", detail)
    if offer.expires_at <= now:
        raise Refused("expired", "expires_at", "This has expired.")
    if offer.expires_at.timestamp() <= departs:
        return offer
    return NormalisedOffer(
        offer.provider,
        offer.carrier,
        offer.fare_minor,
        offer.fare_currency,
        offer.price_minor,
        offer.rate_date,
        segments,
        offer.departure.at,
    )


def _check_carrier(carrier: str, field: str) -> None:
    if not CARRIER.fullmatch(carrier):
        raise Refused("invalid_carrier", field, "Give the airline's IATA code, such as UA.")


def _check_segment(segment: Segment, field: str) -> None:
    if not CARRIER.fullmatch(segment.carrier):
        _check_carrier(segment.carrier, f"{field}.carrier")
    if segment.origin == segment.destination:
        raise Refused("goes_nowhere", field, "A segment ends elsewhere than where it begins.")
    minutes = segment.arrival.minute - segment.departure.minute
    if minutes <= 0:
        detail = "It arrives before it departs."
        raise Refused("arrival_before_departure", f"{field}.arrives_at", detail)
    if minutes > _LONGEST_SEGMENT_MINUTES:
        hours = LONGEST_SEGMENT // timedelta(hours=1)
        raise Refused("segment_too_long", field, f"At most {hours} hours in one segment.")


def _check_connection(before: Segment, after: Segment, field: str) -> None:
    if after.departure.minute < before.arrival.minute:
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
def zone_of(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name."""
    return ZoneInfo(name)
