"""Queued and scheduled work on webhooks."""

from __future__ import annotations

from typing import Any

import structlog
from celery import shared_task
from django.utils import timezone

from apps.webhooks import delivering, operations
from layoverhq.tenancy import operator_scope

log = structlog.get_logger(__name__)


@shared_task
def deliver_webhooks(**kwargs: Any) -> None:
    """Send what enterprises are to be told."""
    # It sends for all of them: what comes of it is not the doing of whoever happened to queue it.
    nobody = {"actor_id": None, "ip": "", "user_agent": "", "reason": "", "request_id": ""}
    with operator_scope(**nobody):
        attempts = delivering.deliver_due()
    if attempts:
        log.info("webhooks_attempted", attempts=attempts)


@shared_task
def purge_webhook_deliveries(**kwargs: Any) -> None:
    """Delete deliveries that ended long ago."""
    with operator_scope():
        purged = operations.purge_deliveries(now=timezone.now())
    log.info("webhook_deliveries_purged", deliveries=purged)


@shared_task
def reseal_webhook_secrets(**kwargs: Any) -> None:
    """Seal secrets with the key that ENCRYPTION_KEYS names first."""
    with operator_scope():
        resealed = operations.reseal_secrets(now=timezone.now())
    if resealed:
        log.info("webhook_secrets_resealed", endpoints=resealed)
