"""Layovers follow when an airport's ground times change."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.utils import timezone

from apps.flights import tasks
from apps.flights.airports import ground
from apps.flights.models import Airport, EnterpriseFlight, Flight, FlightLayover, Offer
from apps.flights.restating import restate_layovers
from apps.tenants.models import Enterprise
from layoverhq.tenancy import operator_scope
from tests.flights.factories import Shop


@pytest.fixture
def nowhere() -> Iterator[Airport]:
    """An airport that no other test stops at; its ground times are nobody's afterwards."""
    with operator_scope():
        airport = Airport.objects.get(iata="HBA")
    yield airport
    take(airport, None, None, None)


def take(airport: Airport, *minutes: int | None) -> None:
    names = ("exit_minutes", "transfer_minutes", "buffer_minutes")
    with operator_scope():
        Airport.objects.filter(pk=airport.pk).update(**dict(zip(names, minutes, strict=True)))
    ground.forget()


def told(offer: Offer) -> tuple[list[int], list[int], int | None, int | None]:
    """Return the usable minutes of the offer's layovers as both tables tell them, and its most."""
    with operator_scope():
        stored = type(offer).objects.get(pk=offer.pk)
        rows = FlightLayover.objects.filter(departure_day=offer.departure_day, flight_id=offer.pk)
        return (
            [stop["usable_minutes"] for stop in stored.layovers],
            list(rows.order_by("position").values_list("usable_minutes", flat=True)),
            stored.usable_minutes,
            stored.daylight_minutes,
        )


@pytest.mark.parametrize("negotiated", [False, True])
def test_restate_layovers__ground_times_change__offers_and_layovers_follow(
    shop: Shop, enterprise: Enterprise, nowhere: Airport, negotiated: bool
) -> None:
    owner = {"enterprise": enterprise, "negotiated": True} if negotiated else {}
    offer = shop.sell(
        [("HBA", 600), ("DEN", 300)],
        ground=[(1, 1, False), (55, 5, True)],
        departure_minute=0,
        **owner,
    )
    assert isinstance(offer, EnterpriseFlight if negotiated else Flight)
    take(nowhere, 20, 10, 40)
    with operator_scope():
        changed = restate_layovers(airport="HBA", now=timezone.now())
    in_json, in_rows, most, _ = told(offer)
    assert changed == 1
    # Denver's stay as they were.
    assert in_json == in_rows == [in_rows[0], 55]
    assert 1 < in_rows[0] <= 600 - 10 - 2 * 10 - 20
    assert most == max(in_rows)
    take(nowhere, 600, 600, 600)
    tasks.restate_layovers(airport="HBA")
    assert told(offer)[:3] == ([0, 55], [0, 55], 55)


def test_restate_layovers__again__writes_nothing(shop: Shop, nowhere: Airport) -> None:
    shop.sell([("HBA", 600)])
    with operator_scope():
        assert restate_layovers(airport="HBA", now=timezone.now()) == 1
        assert restate_layovers(airport="HBA", now=timezone.now()) == 0


def test_restate_layovers__nothing_there__is_no_work() -> None:
    with operator_scope():
        assert restate_layovers(airport="AAA", now=timezone.now()) == 0
