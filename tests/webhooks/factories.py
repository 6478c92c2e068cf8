"""Webhooks and deliveries for tests."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import timezone

from apps.tenants.models import Enterprise
from apps.webhooks import delivering, operations
from apps.webhooks.models import Event, WebhookDelivery, WebhookEndpoint
from layoverhq.tenancy import operator_scope, tenant_scope


def add_webhook(enterprise: Enterprise, url: str, **fields: Any) -> operations.NewSecret:
    with tenant_scope(enterprise.ref):
        return operations.add_endpoint(
            tenant=enterprise.ref, **{"url": url, "events": Event.values, **fields}
        )


def notify(enterprise: Enterprise, event: str = Event.TRIP_CREATED, **data: Any) -> None:
    with tenant_scope(enterprise.ref):
        operations.notify(
            tenant=enterprise.ref, event=event, data=data or {"trip_id": "x"}, now=timezone.now()
        )


def deliver() -> int:
    with operator_scope():
        return delivering.deliver_due()


def deliveries(enterprise: Enterprise) -> list[WebhookDelivery]:
    with operator_scope():
        return list(WebhookDelivery.objects.filter(enterprise=enterprise).order_by("id"))


def endpoint_of(made: operations.NewSecret) -> WebhookEndpoint:
    with operator_scope():
        return WebhookEndpoint.objects.get(pk=made.endpoint.pk)


def make_due(enterprise: Enterprise, **fields: Any) -> None:
    """Let everything that waits be due now."""
    with operator_scope():
        WebhookDelivery.objects.filter(enterprise=enterprise, status="pending").update(
            next_attempt_at=timezone.now(), **fields
        )


def backdate(made: operations.NewSecret, since: datetime) -> None:
    """Let the endpoint have failed since then."""
    with operator_scope():
        WebhookEndpoint.objects.filter(pk=made.endpoint.pk).update(failing_since=since)
