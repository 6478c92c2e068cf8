"""Travellers, what they look for and what they chose: in the shared tables, or in an own schema.

Keys between these tables hold the enterprise too (sql/trip_tables.sql), so that Django makes none.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from apps.tenants.models import Enterprise
from layoverhq.identifiers import UUID7, uuid7


class Traveller(models.Model):
    """A person whom an enterprise books for."""

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.CASCADE, related_name="+")
    reference = models.CharField(max_length=100, help_text="The enterprise's own identifier.")
    name = models.CharField(max_length=200)
    version = models.IntegerField(default=1, db_default=1, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "travellers"
        permissions: ClassVar[Any] = [("reveal_traveller", "Can read what identifies a traveller")]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["enterprise", "reference"], name="travellers_reference_key"
            ),
            models.UniqueConstraint(fields=["enterprise", "id"], name="travellers_enterprise_key"),
        ]

    def __str__(self) -> str:
        return f"Traveller {self.pk}"


class SavedSearch(models.Model):
    """A search that is kept, to be run again and watched."""

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.CASCADE, related_name="+")
    traveller = models.ForeignKey(
        Traveller,
        null=True,
        on_delete=models.DO_NOTHING,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    name = models.TextField()
    # As GET /flights/search takes it, in one spelling: see apps.trips.searches.
    query = models.TextField()
    version = models.IntegerField(default=1, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "saved_searches"
        verbose_name_plural = "saved searches"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["enterprise", "id"], name="saved_searches_enterprise_key"
            ),
        ]

    def __str__(self) -> str:
        return f"Saved search {self.pk}"


class Trip(models.Model):
    """An offer that a traveller chose, as it was when it was chosen."""

    class Status(models.TextChoices):
        PLANNED = "planned", "Planned"
        BOOKED = "booked", "Booked"
        TRAVELLED = "travelled", "Travelled"
        CANCELLED = "cancelled", "Cancelled"

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.CASCADE, related_name="+")
    traveller = models.ForeignKey(
        Traveller,
        on_delete=models.DO_NOTHING,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    status = models.TextField(choices=Status.choices, default=Status.PLANNED)
    offer_id = models.UUIDField()
    offer = models.JSONField(help_text="As the API answered it.")
    origin = models.TextField()
    destination = models.TextField()
    departure_at = models.DateTimeField()
    arrival_at = models.DateTimeField()
    price_minor = models.BigIntegerField(help_text="In minor units of the currency.")
    price_currency = models.TextField(help_text="ISO 4217.")
    layovers = models.JSONField(default=list)
    version = models.IntegerField(default=1, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "trips"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["enterprise", "id"], name="trips_enterprise_key"),
            models.CheckConstraint(
                condition=models.Q(status__in=["planned", "booked", "travelled", "cancelled"]),
                name="trips_status_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.origin} to {self.destination}, {self.departure_at:%Y-%m-%d}"


class PriceAlert(models.Model):
    """What a saved search is watched for, and what was seen of it last.

    With a threshold it is the best price, among the offers with `layovers` if that is given; with
    `layovers` alone it is new offers that have them.
    """

    class State(models.TextChoices):
        WATCHING = "watching", "Watching"
        MET = "met", "Met: news only if it gets better still"
        PAUSED = "paused", "Paused"
        ENDED = "ended", "Ended: the search's day is past"

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.CASCADE, related_name="+")
    saved_search = models.ForeignKey(
        SavedSearch,
        on_delete=models.DO_NOTHING,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    threshold_minor = models.BigIntegerField(
        null=True, help_text="In cents of the currency that searches compare in: US dollars."
    )
    # Parameters of the search that narrow it, in the search's own grammar.
    layovers = models.TextField(blank=True, help_text="Such as layover=8h..20h&via=IST.")
    state = models.TextField(choices=State.choices, default=State.WATCHING)
    best_price_minor = models.BigIntegerField(
        null=True, help_text="At the last check; empty where nothing was found."
    )
    best_offer = models.JSONField(null=True)
    told_price_minor = models.BigIntegerField(
        null=True, help_text="The price that was told last, while the alert is met."
    )
    seen = ArrayField(
        models.TextField(), default=list, help_text="Journeys that were told, newest first."
    )
    problem = models.TextField(blank=True, help_text="Why the last check found nothing out.")
    checked_at = models.DateTimeField(null=True)
    next_check_at = models.DateTimeField()
    version = models.IntegerField(default=1, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "price_alerts"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["enterprise", "id"], name="price_alerts_enterprise_key"
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["watching", "met", "paused", "ended"]),
                name="price_alerts_state_known",
            ),
            models.CheckConstraint(
                condition=models.Q(threshold_minor__gte=0),
                name="price_alerts_threshold_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(threshold_minor__isnull=False) | ~models.Q(layovers=""),
                name="price_alerts_asks_for_something",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["enterprise", "next_check_at"],
                condition=models.Q(state__in=["watching", "met"]),
                name="price_alerts_due",
            ),
        ]

    def __str__(self) -> str:
        return f"Alert {self.pk}"

    @property
    def is_running(self) -> bool:
        return self.state in (self.State.WATCHING, self.State.MET)


class AlertEvent(models.Model):
    """News of an alert: what was seen, and when."""

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.CASCADE, related_name="+")
    alert = models.ForeignKey(
        PriceAlert,
        on_delete=models.DO_NOTHING,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    event = models.TextField()
    price_minor = models.BigIntegerField(null=True)
    offers = models.JSONField(default=list, help_text="The cheapest few that it is about.")
    offer_count = models.IntegerField(default=0)
    occurred_at = models.DateTimeField()

    class Meta:
        db_table = "alert_events"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["enterprise", "id"], name="alert_events_enterprise_key"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} at {self.occurred_at:%Y-%m-%d %H:%M}"
