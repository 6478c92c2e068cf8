"""LayoverHQ's own format: one offer a line, as docs/api.md tells."""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from msgspec import UNSET, DecodeError, Struct, UnsetType, json

from apps.flights.offers.currencies import fare_minor, price_of
from apps.flights.offers.normalised import (
    CABINS,
    MAXIMUM_SEGMENTS,
    NAME,
    SEGMENT_FIELDS,
    Moment,
    NormalisedOffer,
    Refused,
    Segment,
    moment,
    normalised,
    usual_moment,
)
from layoverhq.errors import InvalidInput
from layoverhq.query_string import printable
from layoverhq.strict_json import STRICT_JSON, strictly

DEFAULT_PROVIDER: Final = "import"

MEMBERS: Final = frozenset({"provider", "carrier", "price", "currency", "expires_at", "segments"})
SEGMENT_MEMBERS: Final = frozenset(
    {
        "origin", "destination", "departs_at", "arrives_at", "carrier", "flight_number",
        "origin_terminal", "destination_terminal", "cabin", "fare_basis", "self_transfer",
        "bag_recheck",
    }
)  # fmt: skip

FLAGS: Final = frozenset({"self_transfer", "bag_recheck"})


class _Unusual(Exception):
    """The strict way has to tell what this is."""


def read_offer(line: bytes, *, zones: Mapping[str, str], now: datetime) -> NormalisedOffer:
    """Return the offer of one line; `zones` has the time zone of each airport that is known.

    Raises Refused with what `offer_of` refuses, and: not_utf8, not_json, not_an_object.
    """
    given = _quickly_parsed(line)
    if given is not None:
        try:
            return _usual_offer(given, zones, now)
        except (Refused, _Unusual):
            # The strict parser may have something to say before.
            pass
    return offer_of(_parsed(line), zones=zones, now=now)


def offer_of(
    document: Mapping[str, Any], *, zones: Mapping[str, str], now: datetime
) -> NormalisedOffer:
    """Return the offer of a document in our own format.

    Raises Refused with what `fare_minor`, `price_of`, `moment` and `normalised` refuse, and:
    unknown_member, missing, wrong_type, invalid_text, unknown_cabin, unknown_airport,
    invalid_expiry.
    """
    _known(document, MEMBERS, "")
    segments = document.get("segments")
    if not isinstance(segments, list):
        raise Refused("missing", "segments", "Give a list of segments.")
    if len(segments) > MAXIMUM_SEGMENTS:
        raise Refused("too_many_segments", "segments", f"At most {MAXIMUM_SEGMENTS} segments.")
    currency = _text(document, "currency")
    fare = fare_minor(_text(document, "price"), currency)
    price, rate_date = price_of(fare, currency, on=now.date())
    read = tuple(
        _segment(segment, SEGMENT_FIELDS[position], position == 0, zones)
        for position, segment in enumerate(segments)
    )
    if not read:
        raise Refused("no_segments", "segments", "An offer has one segment or more.")
    return normalised(
        NormalisedOffer(
            provider=_text(document, "provider", default=DEFAULT_PROVIDER),
            # The one that sells it; where nobody says, the first that flies.
            carrier=_text(document, "carrier", default=read[0].carrier),
            fare_minor=fare,
            fare_currency=currency,
            price_minor=price,
            rate_date=rate_date,
            segments=read,
            expires_at=_expiry_of(document) or read[0].departure.at,
        ),
        now=now,
    )


_Text = str | None | UnsetType
_Flag = bool | None | UnsetType


class _GivenSegment(Struct, forbid_unknown_fields=True, gc=False):
    origin: str
    destination: str
    departs_at: str
    arrives_at: str
    carrier: str
    flight_number: _Text = UNSET
    origin_terminal: _Text = UNSET
    destination_terminal: _Text = UNSET
    cabin: _Text = UNSET
    fare_basis: _Text = UNSET
    self_transfer: _Flag = UNSET
    bag_recheck: _Flag = UNSET


class _GivenOffer(Struct, forbid_unknown_fields=True, gc=False):
    price: str
    currency: str
    segments: list[_GivenSegment]
    provider: _Text = UNSET
    carrier: _Text = UNSET
    expires_at: _Text = UNSET


_decode = json.Decoder(_GivenOffer).decode
_encode = json.Encoder().encode


def _quickly_parsed(line: bytes) -> _GivenOffer | None:
    """Return what the strict parser would, in a fifth of its time; None where it might refuse.

    A name that stands twice leaves more quotation marks than what was read is written with.
    """
    if b"\\" in line:
        return None
    try:
        given = _decode(line)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return given if line.count(b'"') == _encode(given).count(b'"') else None


def _usual_offer(given: _GivenOffer, zones: Mapping[str, str], now: datetime) -> NormalisedOffer:
    """Return what `offer_of` would. Raises Refused or _Unusual where it might refuse."""
    segments = given.segments
    if not 0 < len(segments) <= MAXIMUM_SEGMENTS:
        raise _Unusual
    fare = fare_minor(given.price, given.currency)
    price, rate_date = price_of(fare, given.currency, on=now.date())
    read = tuple([_usual_segment(segment, zones) for segment in segments])
    first = read[0]
    if first.self_transfer or first.bag_recheck:
        raise _Unusual
    expires_at = _expiry(given.expires_at) if given.expires_at else None
    return normalised(
        NormalisedOffer(
            given.provider if isinstance(given.provider, str) else DEFAULT_PROVIDER,
            given.carrier if isinstance(given.carrier, str) else first.carrier,
            fare,
            given.currency,
            price,
            rate_date,
            read,
            expires_at or first.departure.at,
        ),
        now=now,
    )


def _usual_segment(given: _GivenSegment, zones: Mapping[str, str]) -> Segment:
    origin, destination = given.origin, given.destination
    origin_zone, destination_zone = zones.get(origin), zones.get(destination)
    if origin_zone is None or destination_zone is None:
        raise _Unusual
    departure = usual_moment(given.departs_at, origin_zone)
    arrival = usual_moment(given.arrives_at, destination_zone)
    if departure is None or arrival is None:
        raise _Unusual
    flight_number = given.flight_number or ""
    from_terminal, to_terminal = given.origin_terminal or "", given.destination_terminal or ""
    cabin, fare_basis = given.cabin or "", given.fare_basis or ""
    for label in (flight_number, from_terminal, to_terminal, fare_basis):
        if label and not NAME.fullmatch(label):
            raise _Unusual
    if cabin and cabin not in CABINS:
        raise _Unusual
    self_transfer = given.self_transfer or False
    recheck = given.bag_recheck
    return Segment(
        origin,
        destination,
        departure,
        arrival,
        given.carrier,
        flight_number,
        from_terminal,
        to_terminal,
        cabin,
        fare_basis,
        self_transfer,
        recheck if isinstance(recheck, bool) else self_transfer,
    )


def text_of(line: bytes) -> str:
    """Return a line as text. Raises Refused: not_utf8."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise Refused("not_utf8", "", f"Byte {error.start + 1} is not UTF-8.") from error


def _parsed(line: bytes) -> dict[str, Any]:
    text = text_of(line)
    try:
        document = strictly(lambda: STRICT_JSON.decode(text), "line")
    except InvalidInput as error:
        raise Refused("not_json", "", error.errors[0].detail) from error
    if not isinstance(document, dict):
        raise Refused("not_an_object", "", "A line is one JSON object.")
    return document


def _known(document: Mapping[str, Any], members: Set[str], where: str) -> None:
    if document.keys() <= members:
        return
    for name in document:
        if name not in members:
            detail = "There is no such member."
            raise Refused("unknown_member", f"{where}{printable(name)}", detail)


def _missing(field: str) -> NoReturn:
    raise Refused("missing", field, "This is required.")


def _text(
    document: Mapping[str, Any], name: str, where: str = "", *, default: str | None = None
) -> str:
    value = document.get(name)
    if value is None:
        return _missing(where + name) if default is None else default
    if not isinstance(value, str):
        raise Refused("wrong_type", where + name, "Write it as a text.")
    return value


def _label(document: Mapping[str, Any], name: str, where: str) -> str:
    value = _text(document, name, where, default="") if name in document else ""
    if value and not NAME.fullmatch(value):
        detail = "Up to 40 letters, digits, spaces and . _ / -"
        raise Refused("invalid_text", where + name, detail)
    return value


def _flag(document: Mapping[str, Any], name: str, where: str, *, default: bool) -> bool:
    value = document.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Refused("wrong_type", where + name, "Write true or false.")
    return value


def _expiry_of(document: Mapping[str, Any]) -> datetime | None:
    given = _text(document, "expires_at", default="")
    return _expiry(given) if given else None


def _expiry(given: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(given) if len(given) <= 40 else None
        if parsed is not None and parsed.tzinfo is not None:
            return parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    detail = "Give an instant with its offset, such as 2026-11-30T12:00:00Z."
    raise Refused("invalid_expiry", "expires_at", detail)


def _segment(given: Any, field: str, first: bool, zones: Mapping[str, str]) -> Segment:
    where = f"{field}."
    if not isinstance(given, dict):
        raise Refused("wrong_type", field, "A segment is an object.")
    _known(given, SEGMENT_MEMBERS, where)
    origin = _airport(given, "origin", where, zones)
    destination = _airport(given, "destination", where, zones)
    cabin = _text(given, "cabin", where, default="") if "cabin" in given else ""
    if cabin and cabin not in CABINS:
        raise Refused("unknown_cabin", f"{where}cabin", f"Choose from {', '.join(CABINS)}.")
    self_transfer = bag_recheck = False
    if not given.keys().isdisjoint(FLAGS):
        self_transfer = _flag(given, "self_transfer", where, default=False)
        bag_recheck = _flag(given, "bag_recheck", where, default=self_transfer)
    if first and (self_transfer or bag_recheck):
        detail = "The first segment comes after none: flag the one that one transfers to."
        raise Refused("wrong_type", f"{where}self_transfer", detail)

    return Segment(
        origin=origin,
        destination=destination,
        departure=_moment(given, "departs_at", where, origin, zones),
        arrival=_moment(given, "arrives_at", where, destination, zones),
        carrier=_text(given, "carrier", where),
        flight_number=_label(given, "flight_number", where),
        origin_terminal=_label(given, "origin_terminal", where),
        destination_terminal=_label(given, "destination_terminal", where),
        cabin=cabin,
        fare_basis=_label(given, "fare_basis", where),
        self_transfer=self_transfer,
        bag_recheck=bag_recheck,
    )


def _moment(
    document: Mapping[str, Any], name: str, where: str, airport: str, zones: Mapping[str, str]
) -> Moment:
    return moment(_text(document, name, where), airport, zones, where + name)


def _airport(document: Mapping[str, Any], name: str, where: str, zones: Mapping[str, str]) -> str:
    code = _text(document, name, where)
    if code not in zones:
        detail = f"We know no airport “{printable(code)}”."
        raise Refused("unknown_airport", where + name, detail)
    return code
