"""Offers for tests: every shop sells on a route of its own."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from django.utils import timezone

from apps.flights.airports import airports, ground
from apps.flights.models import EnterpriseFlight, Flight, FlightLayover, Offer
from apps.tenants.models import Enterprise
from layoverhq.tenancy import operator_scope

# Within the partitions that every migrated database has.
DAYS_AHEAD = 20
FLYING_MINUTES = 120

_routes = itertools.count(random.SystemRandom().randrange(10_000_000))


def unique_route() -> tuple[str, str]:
    """Return two airports that no other test flies between."""
    codes = sorted(airports.get())
    origin, destination = divmod(next(_routes) * 7919 % len(codes) ** 2, len(codes))
    return (codes[origin], codes[destination]) if origin != destination else unique_route()


def domestic_ground_minutes(airport: str) -> int:
    """Return what a traveller within the country spends on the way to the city and back."""
    known = ground.get()
    place = known.index[airport]
    return int(known.exit[place] // 2 + 2 * known.transfer[place] + known.buffer[place] // 2)


def on_the_clock(moment: datetime, airport: str) -> str:
    """Return a time as an offer tells it: the airport's own, with its offset."""
    return moment.astimezone(ZoneInfo(airports.get()[airport])).isoformat(timespec="minutes")


@dataclass
class Shop:
    """Sells on one route and day; what it made is gone after `close`."""

    origin: str = ""
    destination: str = ""
    day: date = field(default_factory=lambda: timezone.now().date() + timedelta(days=DAYS_AHEAD))
    made: list[Offer] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.origin:
            self.origin, self.destination = unique_route()

    @property
    def asked(self) -> dict[str, str]:
        """The parameters that every search here needs."""
        return {
            "origin": self.origin,
            "destination": self.destination,
            "departure_date": self.day.isoformat(),
        }

    def sell(
        self,
        layovers: Sequence[tuple[str, int]] = (),
        *,
        price_minor: int = 30_000,
        departure_minute: int = 600,
        flying_minutes: int = FLYING_MINUTES,
        enterprise: Enterprise | None = None,
        negotiated: bool = False,
        expires_at: datetime | None = None,
        ground: Sequence[tuple[int, int, bool]] = (),
        carriers: Sequence[str] = ("XX",),
        **fields: Any,
    ) -> Offer:
        """Store an offer with the layovers, each an airport and its minutes.

        `ground` says what each leaves: usable minutes, daylight minutes, whether it is overnight.
        Segments are by the carriers in turns.
        """
        zone = ZoneInfo(airports.get()[self.origin])
        clock = datetime(self.day.year, self.day.month, self.day.day, tzinfo=zone)
        departs = (clock + timedelta(minutes=departure_minute)).astimezone(UTC)
        stops = [self.origin, *(airport for airport, _ in layovers), self.destination]
        segments, moment = [], departs
        for (origin, destination), pause in zip(
            itertools.pairwise(stops), [*(minutes for _, minutes in layovers), 0], strict=True
        ):
            lands = moment + timedelta(minutes=flying_minutes)
            segments.append(
                {
                    "origin": origin,
                    "destination": destination,
                    "departs_at": on_the_clock(moment, origin),
                    "arrives_at": on_the_clock(lands, destination),
                    "minutes": flying_minutes,
                    "carrier": carriers[len(segments) % len(carriers)],
                }
            )
            moment = lands + timedelta(minutes=pause)
        minutes = [pause for _, pause in layovers]
        told: list[dict[str, Any]] = [
            {"airport": airport, "minutes": pause} for airport, pause in layovers
        ]
        for stop, (usable, daylight, overnight) in zip(told, ground, strict=False):
            stop |= {"usable_minutes": usable, "daylight_minutes": daylight}
            stop |= {"overnight": True} if overnight else {}
        offer = (EnterpriseFlight if negotiated else Flight)(
            departure_day=self.day,
            provider="test",
            origin_airport=self.origin,
            destination_airport=self.destination,
            departure_at=departs,
            arrival_at=moment,
            departure_minute=departure_minute,
            duration_minutes=(moment - departs) // timedelta(minutes=1),
            price_minor=price_minor,
            layover_count=len(layovers),
            layover_min_minutes=min(minutes, default=None),
            layover_max_minutes=max(minutes, default=None),
            layover_airports=[airport for airport, _ in layovers],
            layovers=told,
            usable_minutes=max((usable for usable, _, _ in ground), default=None),
            daylight_minutes=max((daylight for _, daylight, _ in ground), default=None),
            overnight=any(overnight for _, _, overnight in ground),
            carriers=sorted({segment["carrier"] for segment in segments}),
            segments=segments,
            search_hash=uuid4(),
            expires_at=expires_at or departs,
            enterprise=enterprise,
            **fields,
        )
        with operator_scope():
            offer.save(force_insert=True)
            FlightLayover.objects.bulk_create(
                FlightLayover(
                    departure_day=self.day,
                    flight_id=offer.pk,
                    position=position,
                    airport=airport,
                    minutes=pause,
                    usable_minutes=told[position - 1].get("usable_minutes"),
                    daylight_minutes=told[position - 1].get("daylight_minutes"),
                    overnight=told[position - 1].get("overnight", False),
                    enterprise=enterprise,
                )
                for position, (airport, pause) in enumerate(layovers, 1)
            )
        self.made.append(offer)
        return offer

    def close(self) -> None:
        """Take everything off the shelves."""
        keys = [offer.pk for offer in self.made]
        with operator_scope():
            Flight.objects.filter(departure_day=self.day, pk__in=keys).delete()
            EnterpriseFlight.objects.filter(pk__in=keys).delete()
            FlightLayover.objects.filter(departure_day=self.day, flight_id__in=keys).delete()
        self.made.clear()
