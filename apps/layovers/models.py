"""Experiences, weather and kept analyses; the tables are made by `sql/`, Django reads them.

None of it is a tenant's: no table here has an enterprise, and every tenant reads the same rows.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now

from apps.flights.models import Airport
from apps.flights.money import DECIMALS
from layoverhq.identifiers import UUID7, uuid7

INDICATIVE = "Indicative: hours, prices and durations are a guide and may have changed."


class ExperienceQuerySet(models.QuerySet["Experience"]):
    """Filters on experiences."""

    def active(self) -> ExperienceQuerySet:
        """Leave out those that no plan may name."""
        return self.filter(is_active=True)


class Experience(models.Model):
    """What a traveller can do in a layover."""

    class Category(models.TextChoices):
        AQUARIUM = "aquarium", "Aquarium"
        ATTRACTION = "attraction", "Attraction"
        BEACH = "beach", "Beach"
        GARDEN = "garden", "Garden"
        LANDMARK = "landmark", "Landmark"
        MARKET = "market", "Market"
        MUSEUM = "museum", "Museum"
        NEIGHBOURHOOD = "neighbourhood", "Neighbourhood"
        PARK = "park", "Park"
        TEMPLE = "temple", "Temple"
        VIEWPOINT = "viewpoint", "Viewpoint"
        WATERFRONT = "waterfront", "Waterfront"

    class Base(models.TextChoices):
        CENTRE = "centre", "The city's centre"
        AIRPORT = "airport", "The airport"

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    airport = models.ForeignKey(
        Airport, on_delete=models.PROTECT, db_column="airport_code", related_name="+"
    )
    city = models.TextField()
    name = models.TextField()
    category = models.TextField(choices=Category.choices)
    rating_tenths = models.SmallIntegerField(
        "rating", help_text="From 0 to 50 tenths of a star: 47 is 4.7."
    )
    price_from = models.BigIntegerField(
        null=True,
        blank=True,
        help_text="The cheapest ticket, in minor units of the currency. 0: free. Empty: unknown.",
    )
    price_currency = models.TextField("currency", help_text="ISO 4217.")
    duration_minutes = models.SmallIntegerField(help_text="How long people stay, in minutes.")
    opening_hours = models.TextField(
        help_text="On its own clock: “Mo-Fr 09:00-17:00; Sa,Su 10:00-13:00”, “daily 08:00-24:00”,"
        " or “24h”. A day that is not named is closed."
    )
    base = models.TextField(
        "reached from",
        choices=Base.choices,
        default=Base.CENTRE,
        help_text="Where the way there begins.",
    )
    travel_minutes = models.SmallIntegerField(help_text="The way there from its base, one way.")
    distance_metres = models.IntegerField(
        null=True, blank=True, help_text="From its base, as the crow flies."
    )
    source = models.TextField(help_text="Who says all this.")
    is_indicative = models.BooleanField("indicative", default=True, help_text=INDICATIVE)
    is_active = models.BooleanField(
        "active", default=True, help_text="Plans name active experiences only."
    )
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = ExperienceQuerySet.as_manager()

    class Meta:
        db_table = "experiences"
        ordering: ClassVar[list[str]] = ["airport_id", "-rating_tenths", "name"]

    def __str__(self) -> str:
        return f"{self.name} ({self.airport_id})"

    @property
    def rating(self) -> Decimal:
        return Decimal(self.rating_tenths) / 10

    @property
    def price(self) -> Decimal | None:
        """The price in the currency's major unit."""
        if self.price_from is None:
            return None
        return Decimal(self.price_from).scaleb(-DECIMALS.get(self.price_currency, 2))


class WeatherObservation(models.Model):
    """The weather of an hour at an airport, as its source saw or foresaw it last."""

    pk = models.CompositePrimaryKey("airport_code", "hour")
    airport_code = models.TextField("airport")
    hour = models.DateTimeField(help_text="The beginning of the hour, UTC.")
    temperature_tenths = models.SmallIntegerField(help_text="Tenths of a degree Celsius.")
    precipitation_tenths = models.SmallIntegerField(help_text="Tenths of a millimetre.")
    wind_kmh = models.SmallIntegerField(help_text="At 10 m, in km/h.")
    cloud_percent = models.SmallIntegerField()
    weather_code = models.SmallIntegerField(help_text="WMO 4677, as Open-Meteo uses it.")
    source = models.TextField()
    fetched_at = models.DateTimeField()

    class Meta:
        db_table = "weather_observations"

    def __str__(self) -> str:
        return f"{self.airport_code} {self.hour:%Y-%m-%d %H:%M}"


class LayoverInput(models.Model):
    """What analyses at an airport were made from, as versions that rise with each change."""

    airport_code = models.TextField("airport", primary_key=True)
    experiences_version = models.BigIntegerField(default=0)
    weather_version = models.BigIntegerField(default=0)
    invalidations = models.BigIntegerField(default=0)
    weather_fetched_at = models.DateTimeField(null=True, blank=True)
    weather_failed_at = models.DateTimeField(null=True, blank=True)
    weather_problem = models.TextField(blank=True)

    class Meta:
        db_table = "layover_inputs"
        ordering: ClassVar[list[str]] = ["airport_code"]
        verbose_name = "weather at a hub"
        verbose_name_plural = "weather at hubs"
        permissions: ClassVar[Any] = [("refresh_weather", "Can ask for the weather at once")]

    def __str__(self) -> str:
        return self.airport_code


class LayoverAnalysis(models.Model):
    """An analysis that is kept for whoever asks the same."""

    cache_key = models.CharField(max_length=255, primary_key=True)
    airport_code = models.CharField("airport", max_length=3)
    analysis_result = models.JSONField()
    confidence_score = models.DecimalField(max_digits=3, decimal_places=2, null=True)
    expires_at = models.DateTimeField()
    hit_count = models.IntegerField(default=0)
    last_accessed = models.DateTimeField(db_default=Now())
    request = models.JSONField(help_text="What was asked.")
    departure_at = models.DateTimeField(help_text="When the layover ends: nobody asks after it.")
    weights = models.JSONField(help_text="Of the score, as configuration had them.")
    real_time_weather = models.BooleanField()
    experiences_version = models.BigIntegerField()
    weather_version = models.BigIntegerField()
    invalidations = models.BigIntegerField()
    computed_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "layover_analyses_cache"
        ordering: ClassVar[list[str]] = ["-computed_at"]
        verbose_name = "layover analysis"
        verbose_name_plural = "layover analyses"
        permissions: ClassVar[Any] = [("invalidate_layoveranalysis", "Can declare analyses void")]

    def __str__(self) -> str:
        asked = self.request
        return f"{self.airport_code} {asked['arrival'][:16]} to {asked['departure'][:16]}"


class LayoverCacheCount(models.Model):
    """How often analyses were found, and how often not, in an hour."""

    hour = models.DateTimeField(primary_key=True)
    hits = models.BigIntegerField(default=0)
    stale = models.BigIntegerField(default=0)
    misses = models.BigIntegerField(default=0)

    class Meta:
        db_table = "layover_cache_counts"

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:%M}"
