"""Scheduled and queued work on alerts."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import structlog
from celery import shared_task
from django.utils import timezone

from apps.tenants.homes import EnterpriseMoving
from apps.tenants.models import Enterprise
from apps.trips import alerts, operations, queries
from layoverhq.tenancy import operator_scope, within_schema

log = structlog.get_logger(__name__)

# Who is not reached before the next round is found anew by it.
EXPIRES_SECONDS = 55


@shared_task
def check_alerts(**kwargs: Any) -> None:
    """Give each enterprise that has alerts due a turn of its own."""
    with operator_scope():
        due = queries.enterprises_with_due_alerts(timezone.now())
        for tenant in due:
            check_enterprise_alerts.apply_async(
                kwargs={"enterprise_id": str(tenant.id)}, expires=EXPIRES_SECONDS
            )


@shared_task
def check_enterprise_alerts(*, enterprise_id: str, **kwargs: Any) -> None:
    """Check the alerts of one enterprise that are due, for as long as a turn is."""
    with operator_scope():
        enterprise = Enterprise.objects.get(pk=UUID(enterprise_id))
    if enterprise.status != Enterprise.Status.ACTIVE:
        log.info("alerts_not_checked", enterprise=enterprise_id, status=enterprise.status)
        return
    try:
        checked = alerts.check_due_alerts(tenant=enterprise.ref)
    except EnterpriseMoving:
        log.info("alerts_not_checked", enterprise=enterprise_id, status="moving")
        return
    log.info("alerts_checked", enterprise=enterprise_id, alerts=checked)


@shared_task
def purge_alert_events(**kwargs: Any) -> None:
    """Delete old news, home by home."""
    purged = 0
    with operator_scope():
        for schema in ["", *queries.own_schemas()]:
            with within_schema(schema):
                purged += operations.purge_alert_events(now=timezone.now())
    log.info("alert_events_purged", events=purged)
