"""Travellers, saved searches, trips and alerts for tests, made as the API makes them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.utils import timezone

from apps.tenants.homes import home_scope
from apps.tenants.models import Enterprise
from apps.trips import operations
from apps.trips.models import AlertEvent, PriceAlert, SavedSearch, Traveller, Trip
from apps.trips.queries import current_offer
from layoverhq.tenancy import operator_scope
from tests.flights.factories import Shop
from tests.tenants.factories import unique

TABLES = ("travellers", "saved_searches", "trips", "price_alerts", "alert_events")


def stored(enterprise: Enterprise) -> Enterprise:
    with operator_scope():
        return Enterprise.objects.get(pk=enterprise.pk)


def add_traveller(enterprise: Enterprise, **fields: Any) -> Traveller:
    with home_scope(enterprise.ref) as tenant:
        return operations.add_traveller(
            tenant=tenant, **{"reference": unique("T"), "name": "Ann Arbor", **fields}
        )


def save_search(
    enterprise: Enterprise, shop: Shop, traveller: Traveller | None = None, **asked: str
) -> SavedSearch:
    with home_scope(enterprise.ref) as tenant:
        return operations.save_search(
            tenant=tenant,
            name="Home for the holidays",
            query=urlencode({**shop.asked, **asked}),
            traveller_id=traveller.pk if traveller else None,
            now=timezone.now(),
        )


def add_alert(enterprise: Enterprise, search: SavedSearch, **asked: Any) -> PriceAlert:
    with home_scope(enterprise.ref) as tenant:
        return operations.add_alert(
            tenant=tenant, saved_search_id=search.pk, now=timezone.now(), **asked
        )


def plan_trip(enterprise: Enterprise, traveller: Traveller, shop: Shop) -> Trip:
    sold = shop.sell([("DEN", 600)], enterprise=enterprise)
    with home_scope(enterprise.ref) as tenant:
        offer = current_offer(sold.pk)
        assert offer is not None
        return operations.plan_trip(
            tenant=tenant, traveller_id=traveller.pk, offer=offer, now=timezone.now()
        )


def add_event(enterprise: Enterprise, alert: PriceAlert, **fields: Any) -> AlertEvent:
    with home_scope(enterprise.ref) as tenant:
        return AlertEvent.objects.create(
            enterprise_id=tenant.id,
            alert=alert,
            **{
                "event": "alert.price",
                "price_minor": 100,
                "occurred_at": timezone.now() - timedelta(days=1),
                **fields,
            },
        )


def populate(enterprise: Enterprise, shop: Shop, *, travellers: int = 3) -> None:
    """Give the enterprise rows in every table of its home."""
    for _ in range(travellers):
        traveller = add_traveller(enterprise)
        search = save_search(enterprise, shop, traveller)
        add_event(enterprise, add_alert(enterprise, search, threshold_minor=10_000))
        plan_trip(enterprise, traveller, shop)
