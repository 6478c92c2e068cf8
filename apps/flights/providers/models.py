"""Providers, the pull plan, the log of fetches; the tables are made by `sql/providers.sql`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now

from apps.tenants.models import Enterprise
from layoverhq.identifiers import UUID7, uuid7


class FlightProvider(models.Model):
    """Somebody who sells flights and answers searches over HTTP."""

    class Kind(models.TextChoices):
        AMADEUS = "amadeus", "Amadeus"
        DUFFEL = "duffel", "Duffel"
        KIWI = "kiwi", "Kiwi Tequila"

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    name = models.TextField(
        unique=True,
        help_text="What its offers are known by; never changes. Small letters, digits, . _ and -.",
    )
    kind = models.TextField(
        choices=Kind.choices,
        help_text="How it is asked; its credentials go by this. Never changes.",
    )
    base_url = models.TextField(
        "address", help_text="Without a path, such as https://test.api.amadeus.com."
    )
    pause_reason = models.TextField(blank=True, editable=False)
    paused_until = models.DateTimeField(null=True, blank=True, editable=False)
    priority = models.SmallIntegerField(
        default=100, help_text="The lower, the earlier its fetches are queued."
    )
    quota_per_minute = models.PositiveIntegerField(
        "requests per minute",
        null=True,
        blank=True,
        help_text="As your contract says; repeated requests count. Empty: unbounded.",
    )
    quota_per_day = models.PositiveIntegerField(
        "requests per day",
        null=True,
        blank=True,
        help_text="By UTC; counted from the fetch log. Empty: unbounded.",
    )
    market = models.TextField(
        blank=True,
        help_text="Two letters of the country whose prices are asked for. Only Kiwi takes one.",
    )
    currency = models.TextField(
        default="USD",
        help_text="ISO 4217; prices are asked for in it. Duffel answers in its account's currency.",
    )
    last_success_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_error_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_error = models.TextField(blank=True, editable=False)
    consecutive_failures = models.IntegerField(default=0, editable=False)
    retry_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "flights"
        db_table = "flight_providers"
        verbose_name = "provider"
        ordering: ClassVar[list[str]] = ["priority", "name"]
        permissions: ClassVar[list[tuple[str, Any]]] = [
            ("pause_flightprovider", "Can pause and resume providers"),
            ("fetch_flightprovider", "Can fetch from providers at once"),
        ]

    def __str__(self) -> str:
        return self.name

    def is_paused(self, now: datetime) -> bool:
        return bool(self.pause_reason) and (self.paused_until is None or now < self.paused_until)

    def is_throttled(self, now: datetime) -> bool:
        """Whether it said to come back later."""
        return self.retry_at is not None and now < self.retry_at


class ProviderRoute(models.Model):
    """A row of the pull plan."""

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    provider = models.ForeignKey(FlightProvider, on_delete=models.CASCADE, related_name="routes")
    enterprise = models.ForeignKey(
        Enterprise,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="+",
        help_text="Priced for it alone, with its own credentials where it has any. "
        "Empty: the shared inventory.",
    )
    origin = models.TextField(help_text="IATA code, such as SFO.")
    destination = models.TextField(help_text="IATA code, such as JFK.")
    days_ahead = models.PositiveSmallIntegerField(
        help_text="From tomorrow on, by the origin's calendar; 1 to 330 days.", default=30
    )
    every_minutes = models.PositiveIntegerField(
        "every", help_text="Minutes between two fetches of a day; 15 to 10,080.", default=360
    )
    is_active = models.BooleanField("active", default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "flights"
        db_table = "provider_routes"
        verbose_name = "route of the pull plan"
        verbose_name_plural = "pull plan"
        ordering: ClassVar[list[str]] = ["provider", "origin", "destination"]

    def __str__(self) -> str:
        return f"{self.origin} to {self.destination}"


class ProviderFetch(models.Model):
    """One answer of a provider, for one route and day, and what came of it."""

    class Status(models.TextChoices):
        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    provider = models.ForeignKey(FlightProvider, on_delete=models.CASCADE, related_name="fetches")
    enterprise = models.ForeignKey(
        Enterprise, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    origin = models.TextField()
    destination = models.TextField()
    day = models.DateField(help_text="Of departure, by the origin's calendar.")
    status = models.TextField(choices=Status.choices, default=Status.RUNNING)
    requests = models.IntegerField(default=0, help_text="Sent to the provider, repeated ones too.")
    inserted = models.IntegerField("new", default=0)
    updated = models.IntegerField("changed", default=0)
    unchanged = models.IntegerField(default=0, help_text="Seen again as they stood: not written.")
    withdrawn = models.IntegerField(default=0, help_text="Stood before, and are not offered now.")
    duplicates = models.IntegerField(default=0, help_text="The same journey again, not cheaper.")
    rejected = models.IntegerField(default=0)
    error_code = models.TextField(blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        app_label = "flights"
        db_table = "provider_fetches"
        verbose_name = "fetch"
        verbose_name_plural = "fetches"
        ordering: ClassVar[list[str]] = ["-id"]

    def __str__(self) -> str:
        return f"{self.origin} to {self.destination} on {self.day}"

    @property
    def offers(self) -> int:
        """What stands because of it."""
        return self.inserted + self.updated + self.unchanged

    @property
    def duration_ms(self) -> int | None:
        if self.started_at is None or self.finished_at is None:
            return None
        return round((self.finished_at - self.started_at).total_seconds() * 1000)


class ProviderReject(models.Model):
    """An offer of an answer that could not be used, and why."""

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    fetch = models.ForeignKey(ProviderFetch, on_delete=models.CASCADE, related_name="rejects")
    position = models.IntegerField(help_text="In the answer, from 0.")
    reason = models.TextField()
    field = models.TextField(blank=True)
    detail = models.TextField()
    excerpt = models.TextField(help_text="How the offer begins, as it was sent.")

    class Meta:
        app_label = "flights"
        db_table = "provider_rejects"
        verbose_name = "rejected offer"
        ordering: ClassVar[list[str]] = ["position"]

    def __str__(self) -> str:
        return f"Offer {self.position}: {self.reason}"
