"""Composed days: what stands of them in the inventory, and what is never touched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from apps.configs.runtime import configs
from apps.flights import composed_days, tasks
from apps.flights.airports import airports, ground
from apps.flights.composed_days import PROVIDER, changed_days, compose_day
from apps.flights.ground import one_stay
from apps.flights.models import (
    Airport,
    ComposedDay,
    ComposedRoute,
    Flight,
    FlightLayover,
    MinimumConnectionTime,
)
from apps.tenants.models import Enterprise
from layoverhq.tenancy import OPERATOR, operator_scope
from tests.flights.factories import domestic_ground_minutes

# Nobody else's tests sell on it.
DAYS_AHEAD = 50
SPRING_FORWARD = date(2027, 3, 14)


def today() -> date:
    return timezone.now().astimezone(UTC).date()


@dataclass
class Timetable:
    """Nonstops around one day; all of them, and what is composed of them, go with `close`."""

    day: date = field(default_factory=lambda: today() + timedelta(days=DAYS_AHEAD))
    flown: list[Flight] = field(default_factory=list)

    def fly(
        self,
        origin: str,
        destination: str,
        departs: str,
        minutes: int,
        *,
        later: int = 0,
        price: int = 10_000,
        expires_hours_before: int = 0,
        **fields: Any,
    ) -> Flight:
        """Put a nonstop on sale, by the clocks of its airports."""
        day = self.day + timedelta(days=later)
        zones = airports.get()
        clock = datetime.fromisoformat(f"{day}T{departs}").replace(tzinfo=ZoneInfo(zones[origin]))
        lands = (clock.astimezone(UTC) + timedelta(minutes=minutes)).astimezone(
            ZoneInfo(zones[destination])
        )
        carrier = fields.pop("carrier", "UA")
        terminals = fields.pop("terminals", ("", ""))
        segment = {
            "origin": origin,
            "destination": destination,
            "departs_at": clock.isoformat(timespec="minutes"),
            "arrives_at": lands.isoformat(timespec="minutes"),
            "minutes": minutes,
            "carrier": carrier,
            "flight_number": f"{carrier} \N{EN DASH} {len(self.flown)}\t\\",
        }
        for name, terminal in zip(("origin", "destination"), terminals, strict=True):
            if terminal:
                segment[f"{name}_terminal"] = terminal
        flight = Flight(
            departure_day=day,
            provider=fields.pop("provider", "test"),
            origin_airport=origin,
            destination_airport=destination,
            departure_at=clock,
            arrival_at=lands,
            departure_minute=clock.hour * 60 + clock.minute,
            duration_minutes=minutes,
            price_minor=price,
            layover_count=0,
            segments=[segment],
            carriers=[carrier],
            search_hash=uuid4(),
            expires_at=clock - timedelta(hours=expires_hours_before),
            **fields,
        )
        with operator_scope():
            flight.save(force_insert=True)
        self.flown.append(flight)
        return flight

    def compose(self, *, anew: bool = False, now: datetime | None = None) -> ComposedDay | None:
        with operator_scope():
            return compose_day(day=self.day, now=now or timezone.now(), anew=anew)

    @property
    def composed(self) -> list[Flight]:
        with operator_scope():
            found = Flight.objects.filter(departure_day=self.day, provider=PROVIDER)
            return list(found.order_by("layover_count", "price_minor"))

    def routes(self) -> list[str]:
        return sorted(
            "-".join([each.origin_airport, *each.layover_airports, each.destination_airport])
            for each in self.composed
        )

    def layovers(self) -> list[FlightLayover]:
        with operator_scope():
            found = FlightLayover.objects.filter(departure_day=self.day)
            return list(found.order_by("flight_id", "position"))

    def close(self) -> None:
        with operator_scope():
            around = (self.day - timedelta(days=1), self.day + timedelta(days=4))
            Flight.objects.filter(departure_day__range=around).delete()
            FlightLayover.objects.filter(departure_day__range=around).delete()
            ComposedDay.objects.filter(day__range=around).delete()
            ComposedRoute.objects.exclude(is_active=False).update(is_active=False)


@pytest.fixture
def timetable() -> Iterator[Timetable]:
    opened = Timetable()
    yield opened
    opened.close()


def versions(flights: Sequence[Flight]) -> list[Any]:
    """Return which transaction wrote each row."""
    with operator_scope(), connections[OPERATOR].cursor() as cursor:
        cursor.execute(
            "select id, xmin::text from flights where id = any (%s) order by id",
            [[flight.pk for flight in flights]],
        )
        return list(cursor.fetchall())


def test_compose_day__three_flights_in_a_row__make_every_itinerary(timetable: Timetable) -> None:
    one = timetable.fly(
        "SFO", "DEN", "06:00", 155, price=12_000, modelled=True, terminals=("1", "A")
    )
    two = timetable.fly(
        "DEN", "ORD", "14:00", 150, price=9_050, carrier="AA", terminals=("B", "5"),
        expires_hours_before=20, provider="other",
    )  # fmt: skip
    three = timetable.fly("ORD", "JFK", "20:00", 130, price=7_001, carrier="B6")
    ledger = timetable.compose()

    assert timetable.routes() == ["DEN-ORD-JFK", "SFO-DEN-ORD", "SFO-DEN-ORD-JFK"]
    long = timetable.composed[-1]
    assert (long.origin_airport, long.destination_airport) == ("SFO", "JFK")
    assert (long.departure_at, long.arrival_at) == (one.departure_at, three.arrival_at)
    assert long.price_minor == 12_000 + 9_050 + 7_001
    assert (long.price_currency, long.fare_minor) == ("USD", None)
    assert (long.self_transfer, long.terminal_change, long.modelled) == (True, True, True)
    assert long.carriers == ["AA", "B6", "UA"]
    # Of the one of its legs that ends first.
    assert long.expires_at == two.expires_at < one.departure_at
    denver, chicago = long.layovers
    assert denver == {
        "airport": "DEN", "minutes": 265, "terminal_change": True, "self_transfer": True,
        "bag_recheck": True, "usable_minutes": 265 - domestic_ground_minutes("DEN"),
        "daylight_minutes": denver["daylight_minutes"],
    }  # fmt: skip
    assert long.usable_minutes == denver["usable_minutes"]
    assert "terminal_change" not in chicago
    assert [segment["offer_id"] for segment in long.segments] == [
        str(leg.pk) for leg in (one, two, three)
    ]
    assert [segment["provider"] for segment in long.segments] == ["test", "other", "test"]
    assert [
        {name: segment[name] for name in leg.segments[0]}
        for segment, leg in zip(long.segments, (one, two, three), strict=True)
    ] == [one.segments[0], two.segments[0], three.segments[0]]
    stops = [each for each in timetable.layovers() if each.flight_id == long.pk]
    assert [(s.position, s.airport, s.minutes, s.usable_minutes) for s in stops] == [
        (1, "DEN", 265, denver["usable_minutes"]),
        (2, "ORD", chicago["minutes"], chicago["usable_minutes"]),
    ]
    assert ledger is not None
    assert (ledger.legs, ledger.offers, ledger.inserted) == (3, 3, 3)
    assert (ledger.routes, ledger.updated, ledger.deleted) == (3, 0, 0)
    assert ledger.pairs >= 3


def test_compose_day__found_by_a_tenant__is_marked_and_names_its_sellers(
    timetable: Timetable, api: Client
) -> None:
    first = timetable.fly("SFO", "DEN", "06:00", 155)
    timetable.fly("DEN", "JFK", "14:00", 220)
    timetable.compose()
    answer = api.get(
        "/api/v1/flights/search",
        {"origin": "SFO", "destination": "JFK", "departure_date": str(timetable.day)},
    ).json()
    (offer,) = answer["results"]
    assert offer["provider"] == PROVIDER
    assert offer["layovers"][0]["self_transfer"] is True
    assert offer["layovers"][0]["bag_recheck"] is True
    assert offer["segments"][0]["offer_id"] == str(first.pk)


def test_compose_day__again__writes_nothing(timetable: Timetable) -> None:
    timetable.fly("SFO", "DEN", "06:00", 155)
    timetable.fly("DEN", "JFK", "14:00", 220)
    timetable.compose()
    before = versions(timetable.composed)
    assert len(before) == 1
    assert timetable.compose() is None
    ledger = timetable.compose(anew=True)
    assert ledger is not None
    assert (ledger.offers, ledger.inserted, ledger.updated, ledger.deleted) == (1, 0, 0, 0)
    assert versions(timetable.composed) == before


def test_compose_day__leg_changed_or_gone__is_repaired(timetable: Timetable) -> None:
    first = timetable.fly("SFO", "DEN", "06:00", 155, price=10_000)
    last = timetable.fly("DEN", "JFK", "14:00", 220, price=10_000)
    timetable.fly("DEN", "ORD", "15:00", 150, price=3_000)
    timetable.compose()
    (kept,) = [each for each in timetable.composed if each.destination_airport == "JFK"]
    with operator_scope():
        Flight.objects.filter(pk=first.pk).update(price_minor=8_000)
    ledger = timetable.compose()
    assert ledger is not None
    assert (ledger.inserted, ledger.updated, ledger.deleted) == (0, 2, 0)
    (dearer,) = [each for each in timetable.composed if each.destination_airport == "JFK"]
    assert (dearer.pk, dearer.price_minor) == (kept.pk, 18_000)

    with operator_scope():
        Flight.objects.filter(pk=last.pk).delete()
    ledger = timetable.compose()
    assert ledger is not None
    assert (ledger.inserted, ledger.updated, ledger.deleted) == (0, 0, 1)
    assert timetable.routes() == ["SFO-DEN-ORD"]
    assert [each.flight_id for each in timetable.layovers()] == [timetable.composed[0].pk]

    with operator_scope():
        Flight.objects.filter(pk=first.pk).delete()
    timetable.compose()
    assert timetable.composed == timetable.layovers() == []


def test_compose_day__killed_in_the_middle__leaves_the_day_as_it_was(timetable: Timetable) -> None:
    timetable.fly("SFO", "DEN", "06:00", 155)
    timetable.fly("DEN", "JFK", "14:00", 220)
    timetable.compose()
    before, places = versions(timetable.composed), len(timetable.layovers())
    timetable.fly("DEN", "ORD", "14:30", 150)
    lines = composed_days._lines

    def cut_off(*args: Any) -> Iterator[str]:
        yield next(iter(lines(*args)))
        raise SystemExit

    with patch.object(composed_days, "_lines", cut_off), pytest.raises(SystemExit):
        timetable.compose()
    with operator_scope():
        assert ComposedDay.objects.get(day=timetable.day).offers == 1
        assert timetable.day in changed_days_of(timetable)
    assert (versions(timetable.composed), len(timetable.layovers())) == (before, places)
    timetable.compose()
    assert timetable.routes() == ["SFO-DEN-JFK", "SFO-DEN-ORD"]


def changed_days_of(timetable: Timetable) -> list[date]:
    """Return what changed as of two days before the timetable's day."""
    before = datetime.combine(timetable.day - timedelta(days=2), datetime.min.time(), UTC)
    return changed_days(now=before)


def test_compose_day__enough_offers_of_its_own__composes_for_the_chosen_only(
    timetable: Timetable,
) -> None:
    timetable.fly("SFO", "DEN", "06:00", 155)
    timetable.fly("DEN", "JFK", "14:00", 220)
    for hour in range(5):
        timetable.fly("SFO", "JFK", f"{7 + hour:02}:00", 330)
    timetable.compose()
    assert timetable.routes() == []
    with operator_scope():
        ComposedRoute.objects.update_or_create(
            origin_id="SFO",
            destination_id="JFK",
            defaults={"note": "asked for by Acme", "is_active": True},
        )
        assert timetable.day in changed_days_of(timetable)
    timetable.compose()
    assert timetable.routes() == ["SFO-DEN-JFK"]


def test_compose_day__what_is_not_for_everybody_or_over__is_left_out(
    timetable: Timetable, enterprise: Enterprise
) -> None:
    timetable.fly("SFO", "DEN", "06:00", 155, enterprise=enterprise)
    timetable.fly("DEN", "JFK", "14:00", 220)
    timetable.compose()
    assert timetable.routes() == []
    timetable.fly("SFO", "DEN", "06:00", 155, expires_hours_before=24 * 90)
    timetable.compose(anew=True)
    assert timetable.routes() == []
    timetable.fly("SFO", "DEN", "06:10", 155, cabin="business")
    timetable.compose()
    assert timetable.routes() == []
    timetable.fly("DEN", "JFK", "14:30", 220, cabin="business", price=90_000)
    timetable.compose()
    assert [(each.price_minor, each.cabin) for each in timetable.composed] == [
        (100_000, "business")
    ]


def test_compose_day__inactive_airport__is_never_changed_at(timetable: Timetable) -> None:
    timetable.fly("SFO", "DEN", "06:00", 155)
    timetable.fly("DEN", "JFK", "14:00", 220)
    with operator_scope():
        try:
            Airport.objects.filter(pk="DEN").update(is_active=False)
            airports.forget()
            timetable.compose()
            assert timetable.routes() == []
        finally:
            Airport.objects.filter(pk="DEN").update(is_active=True)
            airports.forget()
    timetable.compose()
    assert timetable.routes() == ["SFO-DEN-JFK"]


def test_compose_day__same_flight_twice__is_composed_of_the_cheaper(timetable: Timetable) -> None:
    timetable.fly("SFO", "DEN", "06:00", 155, price=20_000, provider="dear")
    timetable.fly("SFO", "DEN", "06:00", 155, price=10_000, provider="cheap")
    timetable.fly("DEN", "JFK", "14:00", 220)
    timetable.compose()
    (offer,) = timetable.composed
    assert (offer.price_minor, offer.segments[0]["provider"]) == (20_000, "cheap")


@pytest.mark.parametrize(("wait", "composed"), [(104, []), (105, ["SFO-DEN-JFK"])])
def test_compose_day__minimum_connection_time__is_met_with_time_for_bags(
    timetable: Timetable, wait: int, composed: list[str]
) -> None:
    # 45 minutes, domestic, and an hour for a self-transfer.
    timetable.fly("SFO", "DEN", "06:00", 155)
    leaves = datetime(2000, 1, 1, 9, 35) + timedelta(minutes=wait)
    timetable.fly("DEN", "JFK", leaves.strftime("%H:%M"), 220)
    timetable.compose()
    assert timetable.routes() == composed


def test_compose_day__over_midnight__belongs_to_the_day_of_its_first_departure(
    timetable: Timetable,
) -> None:
    timetable.fly("SFO", "DEN", "23:30", 155)
    timetable.fly("DEN", "JFK", "09:00", 220, later=1)
    timetable.fly("LAX", "DEN", "05:00", 150, later=1)
    timetable.compose()
    assert timetable.routes() == ["SFO-DEN-JFK"]
    (offer,) = timetable.composed
    assert offer.departure_day == timetable.day
    assert offer.layovers[0]["minutes"] == 9 * 60 - (3 * 60 + 5)
    assert offer.departure_minute == 23 * 60 + 30


def test_compose_day__westwards_over_the_date_line__goes_on_the_day_before(
    timetable: Timetable,
) -> None:
    timetable.fly("AKL", "HNL", "10:00", 530)
    # It lands at 19:50 of the day before, by the clocks of HNL; an hour later in a southern winter.
    timetable.fly("HNL", "LAX", "23:00", 320, later=-1)
    timetable.compose()
    assert timetable.routes() == ["AKL-HNL-LAX"]
    (offer,) = timetable.composed
    assert offer.departure_day == timetable.day
    assert offer.layovers[0]["minutes"] == 3 * 60 + 10 - 60 * (23 - apart(timetable))


def apart(timetable: Timetable) -> int:
    """Return how many hours the clocks of AKL and HNL differ on the day: 22, or 23 in summer."""
    noon = datetime.combine(timetable.day, datetime.min.time()) + timedelta(hours=12)
    here, there = (
        noon.replace(tzinfo=ZoneInfo(airports.get()[code])) for code in ("AKL", "HNL")
    )  # fmt: skip
    return (there.astimezone(UTC) - here.astimezone(UTC)) // timedelta(hours=1)


def test_compose_day__clocks_go_forward__layovers_are_as_long_as_they_last() -> None:
    timetable = Timetable(day=SPRING_FORWARD - timedelta(days=1))
    now = datetime(2027, 3, 1, tzinfo=UTC)
    try:
        with operator_scope(), connections[OPERATOR].cursor() as cursor:
            cursor.execute(
                "select ensure_month_partitions('flights', %s, %s)",
                [timetable.day, SPRING_FORWARD],
            )
        timetable.fly("SFO", "DEN", "20:00", 155)
        timetable.fly("DEN", "JFK", "12:00", 220, later=1)
        timetable.compose(now=now)
        (offer,) = timetable.composed
        # 23:35 to 12:00 is 12:25 by the clock, of which one hour was skipped.
        assert offer.layovers[0]["minutes"] == 12 * 60 + 25 - 60
        assert offer.segments[1]["departs_at"].endswith("-06:00")
        stay = one_stay(
            ground.get(),
            airport="DEN",
            origin="SFO",
            destination="JFK",
            arrival=datetime.fromisoformat(offer.segments[0]["arrives_at"]),
            departure=datetime.fromisoformat(offer.segments[1]["departs_at"]),
        )
        assert offer.layovers[0]["usable_minutes"] == int(stay.usable[0]) > 0
    finally:
        timetable.close()


def test_changed_days__times_of_connections_change__tells_all_days_with_legs(
    timetable: Timetable,
) -> None:
    timetable.fly("SFO", "DEN", "06:00", 155)
    with operator_scope():
        assert changed_days_of(timetable) == [timetable.day]
    timetable.compose()
    with operator_scope():
        assert changed_days_of(timetable) == []
        seen = composed_days.connection_times.version
        MinimumConnectionTime.objects.filter(airport=None, kind="II").update(minutes=60)
        composed_days.connection_times.forget()
        assert composed_days.connection_times.get()
        assert composed_days.connection_times.version > seen
        assert changed_days_of(timetable) == [timetable.day]


def test_changed_days__longer_self_transfer__tells_all_days_with_legs(timetable: Timetable) -> None:
    timetable.fly("SFO", "DEN", "06:00", 155)
    timetable.compose()
    standing = configs.get

    def longer(key: str, *args: Any) -> Any:
        return 185 if key == "composing.self_transfer" else standing(key, *args)

    with operator_scope():
        assert changed_days_of(timetable) == []
        with patch.object(configs, "get", longer):
            assert changed_days_of(timetable) == [timetable.day]


def test_task__horizon__queues_the_days_that_changed(timetable: Timetable) -> None:
    timetable.close()
    timetable.day = today() + timedelta(days=9)
    timetable.fly("SFO", "DEN", "06:00", 155)
    timetable.fly("DEN", "JFK", "14:00", 220)
    with patch.object(tasks.compose_day, "delay") as queued:
        tasks.compose_itineraries()
    # Other tests leave nonstops on their own days.
    days = [call.kwargs["day"] for call in queued.call_args_list]
    assert days.count(timetable.day.isoformat()) == 1
    tasks.compose_day(day=timetable.day.isoformat())
    assert timetable.routes() == ["SFO-DEN-JFK"]
    with patch.object(tasks.compose_day, "delay") as queued:
        tasks.compose_itineraries()
    days = [call.kwargs["day"] for call in queued.call_args_list]
    assert timetable.day.isoformat() not in days
