"""Scheduled work on the inventory."""

from __future__ import annotations

from typing import Any

import structlog
from celery import shared_task

from apps.flights import operations
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
    """Load the demo's inventory for the days that have come into reach."""
    with operator_scope():
        operations.roll_demo_horizon()
