"""The kernel's scheduled work."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from celery import shared_task
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from layoverhq.tenancy import OPERATOR, operator_scope

log = structlog.get_logger(__name__)

CHANGES_KEPT = timedelta(days=7)


@shared_task
def maintain_partitions(**kwargs: Any) -> None:
    """Make the coming months' partitions and drop the expired ones."""
    with operator_scope(), connections[OPERATOR].cursor() as cursor:
        cursor.execute("select action, partition from maintain_partitions()")
        for action, partition in cursor.fetchall():
            log.info("partition_" + action, partition=partition)


@shared_task
def forget_snapshot_changes(**kwargs: Any) -> None:
    """Shorten the list of changes; who missed more than it tells loads everything anew."""
    before = timezone.now() - CHANGES_KEPT
    with operator_scope(), connections[OPERATOR].cursor() as cursor:
        cursor.execute("select forget_snapshot_changes(%s)", [before])
        log.info("snapshot_changes_forgotten", rows=cursor.fetchone()[0])


@shared_task
def clear_sessions(**kwargs: Any) -> None:
    """Delete the admin's expired sessions."""
    with operator_scope():
        call_command("clearsessions")
