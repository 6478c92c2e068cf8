"""Scheduled work on configuration."""

from __future__ import annotations

from typing import Any

import structlog
from celery import shared_task

from apps.configs import operations
from layoverhq.tenancy import operator_scope

log = structlog.get_logger(__name__)


@shared_task
def apply_schedules(**kwargs: Any) -> None:
    """Publish what is scheduled for now, and end what has expired."""
    with operator_scope():
        published = operations.apply_due_schedules()
        expired = operations.expire_values()
    if published or expired:
        log.info("config_schedules_applied", published=published, expired=expired)


@shared_task
def rotate_secrets(**kwargs: Any) -> None:
    """Seal every secret with the first key of the ring."""
    with operator_scope():
        *_, end = operations.reseal_secrets()
    for why in end.unreadable:
        log.error("secret_not_resealed", why=why)
    log.info("secrets_resealed", count=end.done - len(end.unreadable))
