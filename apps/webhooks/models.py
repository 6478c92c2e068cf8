"""Webhook endpoints and the outbox of what they are to be told."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from apps.tenants.models import Enterprise
from layoverhq.identifiers import UUID7, uuid7


class Event(models.TextChoices):
    """What an enterprise can be told of."""

    ALERT_PRICE = "alert.price", "A saved search's best price fell under an alert's threshold"
    ALERT_LAYOVER = "alert.layover", "New offers have the layovers that an alert asks for"
    ALERT_ENDED = "alert.ended", "An alert ended, since its search's day is past"
    TRIP_CREATED = "trip.created", "A trip was planned"
    TRIP_CHANGED = "trip.changed", "A trip's status changed"


# Sent to try an endpoint, subscribed or not.
PING = "webhook.ping"


class WebhookEndpoint(models.Model):
    """An address of an enterprise's own, the events that it wants, and how it fares."""

    class Status(models.TextChoices):
        ACTIVE = "active", "Active"
        PAUSED = "paused", "Paused: deliveries wait"
        DISABLED = "disabled", "Disabled: it failed for too long, or is gone"

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.CASCADE, related_name="+")
    url = models.TextField("URL")
    description = models.TextField(blank=True)
    events = ArrayField(models.TextField(choices=Event.choices))
    status = models.TextField(choices=Status.choices, default=Status.ACTIVE)
    status_reason = models.TextField(blank=True)
    sealed_secret = models.TextField(editable=False)
    old_sealed_secret = models.TextField(blank=True, editable=False)
    old_secret_until = models.DateTimeField(
        null=True, editable=False, help_text="Until then the secret before signs as well."
    )
    failing_since = models.DateTimeField(null=True, editable=False)
    failures = models.IntegerField(
        default=0, editable=False, help_text="Attempts that failed since the last that did not."
    )
    last_success_at = models.DateTimeField(null=True, editable=False)
    last_failure_at = models.DateTimeField(null=True, editable=False)
    last_error = models.TextField(blank=True, editable=False)
    version = models.IntegerField(default=1, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "webhook_endpoints"
        ordering: ClassVar[list[str]] = ["-id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["enterprise", "id"], name="webhook_endpoints_enterprise_key"
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=["active", "paused", "disabled"]),
                name="webhook_endpoints_status_known",
            ),
            models.CheckConstraint(
                condition=models.Q(events__len__gt=0), name="webhook_endpoints_events_given"
            ),
            models.CheckConstraint(
                condition=~models.Q(sealed_secret=""), name="webhook_endpoints_secret_given"
            ),
        ]

    def __str__(self) -> str:
        return self.url

    def secret_owner(self) -> str:
        """What its secret is sealed to."""
        return f"webhook_endpoints:{self.pk}"

    def has_old_secret(self, now: datetime) -> bool:
        """Return whether the secret before signs as well."""
        return self.old_secret_until is not None and now < self.old_secret_until


class WebhookDelivery(models.Model):
    """What one endpoint is to be told: written with what it tells of, sent afterwards."""

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        DELIVERED = "delivered", "Delivered"
        DEAD = "dead", "Dead letter"

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.CASCADE, related_name="+")
    # The database's key holds the enterprise too: see sql/webhook_tables.sql.
    endpoint = models.ForeignKey(
        WebhookEndpoint,
        on_delete=models.DO_NOTHING,
        related_name="deliveries",
        db_constraint=False,
    )
    event_id = models.UUIDField(help_text="Sent as webhook-id: the same at each attempt.")
    event = models.TextField()
    # The very text that is signed.
    body = models.TextField()
    status = models.TextField(choices=Status.choices, default=Status.PENDING)
    attempts = models.IntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    claim = models.UUIDField(null=True, help_text="Of the worker that is at it.")
    last_attempt_at = models.DateTimeField(null=True)
    last_status_code = models.SmallIntegerField(null=True)
    last_excerpt = models.TextField(blank=True, help_text="How the last answer began.")
    last_error = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "webhook_deliveries"
        ordering: ClassVar[list[str]] = ["-id"]
        verbose_name_plural = "webhook deliveries"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["enterprise", "id"], name="webhook_deliveries_enterprise_key"
            ),
            models.UniqueConstraint(
                fields=["enterprise", "endpoint", "event_id"], name="webhook_deliveries_event_once"
            ),
            models.CheckConstraint(
                condition=models.Q(status="pending", finished_at__isnull=True)
                | models.Q(status__in=["delivered", "dead"], finished_at__isnull=False),
                name="webhook_deliveries_status_known",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["next_attempt_at"],
                condition=models.Q(status="pending"),
                name="webhook_deliveries_due",
            ),
            models.Index(fields=["finished_at"], name="webhook_deliveries_finished"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.event_id}"

    @property
    def due_at(self) -> datetime | None:
        """When it is sent next; None once it is delivered or dead."""
        return self.next_attempt_at if self.status == self.Status.PENDING else None

    @property
    def last_outcome(self) -> str:
        """What came of the last attempt, in a few words."""
        code = self.last_status_code
        return self.last_error or (f"HTTP {code}" if code is not None else "")
