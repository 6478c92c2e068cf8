"""Scheduled and queued work on the inventory."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

import structlog
from celery import shared_task
from django.utils import timezone

from apps.flights import (
    composed_days,
    imports,
    operations,
    popularity,
    rate_operations,
    restating,
)
from apps.flights.airports import ground
from apps.flights.demo import PROVIDER
from apps.flights.providers import tasks as _providers  # noqa: F401  # where Celery looks
from apps.flights.queries import has_inventory
from layoverhq.tenancy import operator_scope

log = structlog.get_logger(__name__)


@shared_task
def cleanup_expired_flights(**kwargs: Any) -> None:
    """Delete offers that expired more than an hour ago."""
    with operator_scope():
        deleted = operations.cleanup_expired_flights()
    log.info("expired_flights_deleted", offers=deleted)


@shared_task
def roll_demo_horizon(**kwargs: Any) -> None:
    """Load the demo's inventory for the days that have come into reach, where there is a demo."""
    with operator_scope():
        # The schedule stands everywhere; an inventory that is no demo gets no demo offers.
        if not has_inventory(PROVIDER):
            log.info("demo_not_installed")
            return
        operations.roll_demo_horizon()


@shared_task
def compose_itineraries(**kwargs: Any) -> None:
    """Queue the days of the horizon whose composed itineraries are out of date, one by one."""
    with operator_scope():
        days = composed_days.changed_days(now=timezone.now())
    for day in days:
        compose_day.delay(day=day.isoformat())
    log.info("composed_days_queued", days=len(days))


@shared_task
def compose_day(*, day: str, anew: bool = False, **kwargs: Any) -> None:
    """Compose a day's itineraries, unless they are up to date; `anew` in any case."""
    with operator_scope():
        composed_days.compose_day(day=date.fromisoformat(day), now=timezone.now(), anew=anew)


@shared_task
def restate_layovers(*, airport: str, **kwargs: Any) -> None:
    """Work out again what layovers at an airport leave, after its ground times changed."""
    with operator_scope():
        # This process may not have heard of the change yet.
        ground.forget()
        restating.restate_layovers(airport=airport, now=timezone.now())


@shared_task
def load_offer_imports(*, enterprise_id: str, **kwargs: Any) -> None:
    """Load the files of private offers that the enterprise has waiting."""
    with operator_scope():
        imports.load_offer_imports(enterprise_id=UUID(enterprise_id))


@shared_task
def resume_offer_imports(**kwargs: Any) -> None:
    """Take up imports that a killed worker or an absent broker left."""
    with operator_scope():
        for enterprise_id in imports.stalled_imports():
            load_offer_imports.delay(enterprise_id=str(enterprise_id))


@shared_task
def purge_offer_imports(**kwargs: Any) -> None:
    """Delete imports, with their rejects, that ended long ago."""
    with operator_scope():
        purged = imports.purge_offer_imports(now=timezone.now())
    log.info("offer_imports_purged", imports=purged)


@shared_task
def fetch_exchange_rates(**kwargs: Any) -> None:
    """Ask the European Central Bank for its reference rates."""
    with operator_scope():
        rate_operations.fetch_rates(now=timezone.now())


@shared_task
def reprice_offers(**kwargs: Any) -> None:
    """Price offers in other currencies anew whose exchange rate has aged."""
    with operator_scope():
        repriced = rate_operations.reprice_offers(now=timezone.now())
    log.info("offers_repriced", offers=repriced)


@shared_task
def refresh_popular_routes(**kwargs: Any) -> None:
    """Count the shared offers of days that were loaded or expire, and rank their routes."""
    with operator_scope():
        days = popularity.refresh_popular_routes(now=timezone.now())
    log.info("popular_routes_refreshed", days=days)
