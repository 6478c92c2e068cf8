"""Scheduled work on the inventory."""

from __future__ import annotations

from typing import Any

import structlog
from celery import shared_task

from apps.flights import operations
from apps.flights.demo import PROVIDER
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
