"""Airports and flight offers; the tables are made by `sql/`, Django reads them.

Partitioned tables need their partition key in the primary key. Django is told of `id` alone,
which is unique by uuidv7, because the admin refuses models with a composite key.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from apps.flights.providers import models as _providers  # noqa: F401  # where Django looks
from apps.tenants.models import Enterprise
from layoverhq.identifiers import UUID7, uuid7

# What the demo makes up; everything else of it is measured.
MODELLED_FIELDS = ("arrival_time", "date", "fare", "carrier")

# A city's appeal is told for so many usable hours and fewer.
APPEAL_HOURS = 16


class ParsedJSONField(models.JSONField):
    """A column of type json, not jsonb: the driver has parsed it by the time Django sees it."""

    def db_type(self, connection: Any) -> str:
        return "json"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return value


class AirportQuerySet(models.QuerySet["Airport"]):
    """Filters on airports."""

    def active(self) -> AirportQuerySet:
        """Leave out those that searches may not name."""
        return self.filter(is_active=True)


class Airport(models.Model):
    """An airport, by its IATA code."""

    iata = models.TextField("IATA code", primary_key=True)
    name = models.TextField()
    city = models.TextField(blank=True)
    subdivision = models.TextField(blank=True)
    country = models.TextField(help_text="ISO 3166-1 alpha-2.")
    latitude = models.FloatField(help_text="Degrees north.")
    longitude = models.FloatField(help_text="Degrees east.")
    time_zone = models.TextField(help_text="IANA name, such as America/Denver.")
    is_active = models.BooleanField(
        "active", default=True, help_text="Searches that name an inactive airport are refused."
    )
    exit_minutes = models.SmallIntegerField(
        null=True,
        blank=True,
        help_text="Minutes from the gate to the kerb, arriving from abroad; half of it otherwise."
        " Empty: 60.",
    )
    transfer_minutes = models.SmallIntegerField(
        null=True,
        blank=True,
        help_text="Minutes from the kerb to the city's centre, one way. Empty: 45.",
    )
    buffer_minutes = models.SmallIntegerField(
        null=True,
        blank=True,
        help_text="Minutes to be at the airport before a departure abroad; half of it otherwise."
        " Empty: 120.",
    )

    objects = AirportQuerySet.as_manager()

    class Meta:
        db_table = "airports"
        ordering: ClassVar[list[str]] = ["iata"]

    def __str__(self) -> str:
        return f"{self.iata} {self.name}"


OfferType = TypeVar("OfferType", bound="Offer")


class Offer(models.Model):
    """A priced itinerary: one or more segments, with a layover between any two."""

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    departure_day = models.DateField(help_text="By the origin's calendar.")
    provider = models.TextField()
    origin_airport = models.TextField("origin")
    destination_airport = models.TextField("destination")
    departure_at = models.DateTimeField()
    arrival_at = models.DateTimeField()
    departure_minute = models.SmallIntegerField(
        help_text="Minutes after midnight on the origin's clock."
    )
    duration_minutes = models.IntegerField()
    price_minor = models.BigIntegerField(help_text="In minor units of the currency.")
    price_currency = models.TextField(default="USD", help_text="ISO 4217.")
    layover_count = models.SmallIntegerField()
    layover_min_minutes = models.IntegerField(null=True, help_text="Empty without a layover.")
    layover_max_minutes = models.IntegerField(null=True, help_text="Empty without a layover.")
    usable_minutes = models.IntegerField(
        null=True, help_text="The most that one layover leaves for its city, within opening hours."
    )
    daylight_minutes = models.IntegerField(
        null=True, help_text="The most that one layover leaves for its city with daylight."
    )
    overnight = models.BooleanField(
        default=False, help_text="A layover lasts from one o'clock to five of a night."
    )
    self_transfer = models.BooleanField(
        default=False, help_text="On more than one ticket: nobody waits, and nobody rebooks."
    )
    terminal_change = models.BooleanField(
        default=False, help_text="A layover leads to another terminal or airport."
    )
    carriers = ArrayField(models.TextField(), default=list)
    cabin = models.TextField(blank=True, help_text="The lowest of the journey, if it is known.")
    fare_minor = models.BigIntegerField(
        null=True, help_text="As the provider named it, where that is another currency."
    )
    fare_currency = models.TextField(null=True)  # noqa: DJ001  # null with the fare
    rate_date = models.DateField(null=True, help_text="Of the exchange rate.")
    layover_airports = ArrayField(models.TextField(), default=list)
    layovers = models.JSONField(default=list)
    segments = ParsedJSONField()
    modelled = models.BooleanField(
        default=False,
        help_text="Demo data: arrival time, date, fare and carrier are modelled.",
    )
    search_hash = models.UUIDField(help_text="Equal for the same journey of the same provider.")
    seen_at = models.DateTimeField(db_default=Now(), help_text="When the provider named the price.")
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        stops = ", ".join(self.layover_airports) or "nonstop"
        return f"{self.origin_airport} to {self.destination_airport} ({stops})"

    @property
    def modelled_fields(self) -> tuple[str, ...]:
        """What of this offer is modelled."""
        return MODELLED_FIELDS if self.modelled else ()


class Flight(Offer):
    """An offer of the shared inventory, or one that a provider priced for one enterprise."""

    enterprise = models.ForeignKey(
        Enterprise,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="+",
        help_text="Empty: shared inventory.",
    )

    class Meta:
        db_table = "flights"
        verbose_name = "flight offer"


class EnterpriseFlight(Offer):
    """An offer that an enterprise negotiated for itself."""

    enterprise = models.ForeignKey(Enterprise, on_delete=models.CASCADE, related_name="+")

    class Meta:
        db_table = "enterprise_flights"
        verbose_name = "negotiated flight offer"


class FlightLayover(models.Model):
    """One layover of an offer."""

    pk = models.CompositePrimaryKey("departure_day", "flight_id", "position")
    departure_day = models.DateField()
    flight_id = models.UUIDField(help_text="Of a flight offer or a negotiated one.")
    position = models.SmallIntegerField(help_text="1 for the first.")
    airport = models.TextField()
    minutes = models.IntegerField()
    usable_minutes = models.IntegerField(null=True)
    daylight_minutes = models.IntegerField(null=True)
    overnight = models.BooleanField(default=False)
    enterprise = models.ForeignKey(
        Enterprise, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )

    class Meta:
        db_table = "flight_layovers"

    def __str__(self) -> str:
        return f"{self.minutes} minutes in {self.airport}"


class LayoverPlace(models.Model):
    """How much an airport's city has to offer, by usable hours."""

    airport = models.OneToOneField(
        Airport, primary_key=True, on_delete=models.CASCADE, db_column="airport", related_name="+"
    )
    appeal = ArrayField(
        models.SmallIntegerField(), size=APPEAL_HOURS + 1, help_text="0 to 100, by hours from 0."
    )
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "layover_places"

    def __str__(self) -> str:
        return f"Appeal of {self.airport_id}"


class LayoverWeather(models.Model):
    """How pleasant an hour is at an airport's city."""

    pk = models.CompositePrimaryKey("airport", "hour")
    airport = models.ForeignKey(
        Airport, on_delete=models.CASCADE, db_column="airport", related_name="+"
    )
    hour = models.DateTimeField()
    comfort = models.SmallIntegerField(help_text="0 to 100.")
    observed_at = models.DateTimeField()

    class Meta:
        db_table = "layover_weather"

    def __str__(self) -> str:
        return f"{self.airport_id} {self.hour:%Y-%m-%d %H:%M}"


class ExchangeRate(models.Model):
    """What one euro was worth in a currency on a day."""

    class Source(models.TextChoices):
        ECB = "ecb", "European Central Bank"
        FILE = "file", "European Central Bank, by file"
        MANUAL = "manual", "Entered by hand"

    # The database's key is the currency with the day.
    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    currency = models.TextField(help_text="ISO 4217.")
    rate_date = models.DateField("day")
    per_euro = models.DecimalField(
        max_digits=20, decimal_places=10, help_text="Units of the currency for one euro."
    )
    source = models.TextField(choices=Source.choices)
    noted_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "exchange_rates"
        ordering: ClassVar[list[str]] = ["-rate_date", "currency"]
        permissions = (("fetch_exchangerate", "Can fetch exchange rates"),)

    def __str__(self) -> str:
        return f"{self.currency} {self.rate_date}"


class ExchangeRateFetch(models.Model):
    """A time that the central bank was asked for its rates."""

    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    address = models.TextField()
    began_at = models.DateTimeField()
    newest_date = models.DateField("newest day", null=True)
    changed = models.IntegerField(default=0)
    problem_code = models.TextField(blank=True)
    problem = models.TextField(blank=True)

    class Meta:
        db_table = "exchange_rate_fetches"
        ordering: ClassVar[list[str]] = ["-id"]

    def __str__(self) -> str:
        return f"{self.began_at:%Y-%m-%d %H:%M}"


class LayoverPreference(models.Model):
    """How often an enterprise's travellers chose a layover there."""

    pk = models.CompositePrimaryKey("enterprise", "airport")
    enterprise = models.ForeignKey(Enterprise, on_delete=models.CASCADE, related_name="+")
    airport = models.ForeignKey(
        Airport, on_delete=models.CASCADE, db_column="airport", related_name="+"
    )
    share = models.SmallIntegerField(help_text="0 to 100, the most chosen being 100.")
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "layover_preferences"

    def __str__(self) -> str:
        return f"{self.airport_id}: {self.share}"


class InventoryLoad(models.Model):
    """A day of a provider's inventory that stands whole."""

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    day = models.DateField()
    provider = models.TextField()
    offers = models.IntegerField()
    layovers = models.IntegerField()
    loaded_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "inventory_loads"
        ordering: ClassVar[list[str]] = ["-day"]

    def __str__(self) -> str:
        return f"{self.provider} {self.day}"


class OfferImport(models.Model):
    """A file of private offers that an enterprise sent."""

    class Status(models.TextChoices):
        QUEUED = "queued", "Queued"
        LOADING = "loading", "Loading"
        DONE = "done", "Done"
        FAILED = "failed", "Failed: nothing was loaded"

    # PostgreSQL's alone: files are loaded in the order of their ids.
    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.CASCADE, related_name="+")
    status = models.TextField(choices=Status.choices, default=Status.QUEUED)
    idempotency_key = models.TextField(null=True, blank=True)  # noqa: DJ001  # unique, or none
    content_type = models.TextField(
        choices=[("application/x-ndjson", "NDJSON"), ("text/csv", "CSV")],
        default="application/x-ndjson",
    )
    content_sha256 = models.TextField()
    bytes_received = models.BigIntegerField()
    file = models.TextField(blank=True)
    attempts = models.IntegerField(default=0)
    bytes_done = models.BigIntegerField(default=0)
    lines_done = models.BigIntegerField(default=0)
    inserted = models.BigIntegerField(default=0)
    updated = models.BigIntegerField(default=0)
    unchanged = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    problem_code = models.TextField(blank=True)
    problem = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        db_table = "offer_imports"
        ordering: ClassVar[list[str]] = ["-id"]
        permissions = (
            ("retry_offerimport", "Can load a failed import again"),
            ("cancel_offerimport", "Can cancel a waiting or loading import"),
        )

    def __str__(self) -> str:
        return f"Import {self.pk}"

    @property
    def is_finished(self) -> bool:
        return self.status in (self.Status.DONE, self.Status.FAILED)

    @property
    def percent(self) -> int:
        if self.is_finished:
            return 100
        return 100 * self.bytes_done // self.bytes_received if self.bytes_received else 0


class OfferReject(models.Model):
    """A line of an import that was refused, and why."""

    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.CASCADE, related_name="+")
    # The database's key holds the enterprise too.
    offer_import = models.ForeignKey(
        OfferImport, on_delete=models.CASCADE, related_name="rejects", db_column="import_id"
    )
    line = models.BigIntegerField()
    reason = models.TextField()
    field = models.TextField(blank=True)
    detail = models.TextField()
    excerpt = models.TextField(blank=True, help_text="How the line begins.")

    class Meta:
        db_table = "offer_rejects"
        ordering: ClassVar[list[str]] = ["line"]

    def __str__(self) -> str:
        return f"Line {self.line}: {self.reason}"


class MinimumConnectionTime(models.Model):
    """How long a connection takes at least; an empty column stands for any."""

    class Kind(models.TextChoices):
        DOMESTIC = "DD", "domestic to domestic"
        DEPARTING = "DI", "domestic to international"
        ARRIVING = "ID", "international to domestic"
        INTERNATIONAL = "II", "international to international"

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    airport = models.ForeignKey(
        Airport,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_column="airport",
        help_text="Empty: everywhere.",
    )
    kind = models.TextField(choices=Kind.choices)
    arriving_carrier = models.TextField(  # noqa: DJ001  # null is any, as for the airport
        null=True, blank=True, help_text="IATA code, such as UA. Empty: any."
    )
    departing_carrier = models.TextField(  # noqa: DJ001
        null=True, blank=True, help_text="IATA code, such as UA. Empty: any."
    )
    arriving_terminal = models.TextField(  # noqa: DJ001
        null=True, blank=True, help_text="As the providers name it. Both terminals or none."
    )
    departing_terminal = models.TextField(  # noqa: DJ001
        null=True, blank=True, help_text="As the providers name it. Both terminals or none."
    )
    minutes = models.SmallIntegerField(help_text="From the arrival to the next departure.")
    source = models.TextField(help_text="Who says so, such as “indicative” or an airport's page.")
    is_active = models.BooleanField("active", default=True)
    version = models.IntegerField(default=1, editable=False)

    class Meta:
        db_table = "minimum_connection_times"
        ordering: ClassVar[list[str]] = ["airport", "kind"]

    def __str__(self) -> str:
        carriers = (
            f" {self.arriving_carrier or 'any'} to {self.departing_carrier or 'any'}"
            if self.arriving_carrier or self.departing_carrier
            else ""
        )
        terminals = (
            f" terminal {self.arriving_terminal} to {self.departing_terminal}"
            if self.arriving_terminal
            else ""
        )
        return f"{self.airport_id or 'everywhere'} {self.kind}{carriers}{terminals}"

    @property
    def is_default(self) -> bool:
        """Whether it holds wherever nothing else does."""
        return not (
            self.airport_id
            or self.arriving_carrier
            or self.departing_carrier
            or self.arriving_terminal
        )


class ArrivalDelay(models.Model):
    """How late flights land at an airport: quantiles in minutes, early arrivals negative."""

    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    airport = models.OneToOneField(
        Airport,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_column="airport",
        help_text="Empty: the nation's median, for all others.",
    )
    flights = models.IntegerField()
    p10 = models.SmallIntegerField()
    p25 = models.SmallIntegerField()
    p50 = models.SmallIntegerField()
    p75 = models.SmallIntegerField()
    p90 = models.SmallIntegerField()
    p95 = models.SmallIntegerField()
    p99 = models.SmallIntegerField()

    class Meta:
        db_table = "arrival_delays"
        ordering: ClassVar[list[str]] = ["airport"]

    def __str__(self) -> str:
        return f"Delays at {self.airport_id or 'all other airports'}"


class ComposedRoute(models.Model):
    """A city pair for which itineraries are composed whatever offers it has."""

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    origin = models.ForeignKey(
        Airport, on_delete=models.PROTECT, related_name="+", db_column="origin"
    )
    destination = models.ForeignKey(
        Airport, on_delete=models.PROTECT, related_name="+", db_column="destination"
    )
    is_active = models.BooleanField("active", default=True)
    note = models.TextField(help_text="Why the pair is asked for.")
    version = models.IntegerField(default=1, editable=False)

    class Meta:
        db_table = "composed_routes"
        ordering: ClassVar[list[str]] = ["origin", "destination"]

    def __str__(self) -> str:
        return f"{self.origin_id} to {self.destination_id}"


class ComposedDay(models.Model):
    """What was composed of a day's nonstops, the last time."""

    day = models.DateField(primary_key=True, help_text="By the first origin's calendar.")
    legs_digest = models.TextField()
    legs = models.IntegerField(help_text="Nonstops of the day and of those that follow it.")
    pairs = models.BigIntegerField(help_text="Pairs of flights that were looked at.")
    routes_asked = models.IntegerField(help_text="City pairs that were asked for.")
    routes = models.IntegerField(help_text="City pairs that got offers.")
    offers = models.IntegerField()
    inserted = models.IntegerField()
    updated = models.IntegerField()
    deleted = models.IntegerField()
    seconds = models.FloatField()
    composed_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "composed_days"
        verbose_name = "composed day"
        ordering: ClassVar[list[str]] = ["-day"]

    def __str__(self) -> str:
        return f"Composed itineraries of {self.day}"


class RouteDay(models.Model):
    """What the shared inventory has on a route and day."""

    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    departure_day = models.DateField()
    origin_airport = models.TextField("origin")
    destination_airport = models.TextField("destination")
    offers = models.IntegerField()
    lowest_price_minor = models.BigIntegerField(help_text="In US cents.")
    layover_offers = models.IntegerField("with a layover")
    layovers = models.IntegerField()
    layover_price_minor = models.BigIntegerField(
        help_text="All offers with a layover together, in US cents."
    )
    layover_airports = models.JSONField(
        default=dict, help_text="How many offers have a layover there."
    )

    class Meta:
        db_table = "route_days"
        verbose_name = "route"

    def __str__(self) -> str:
        return f"{self.origin_airport} to {self.destination_airport}, {self.departure_day}"


class RouteDayRefresh(models.Model):
    """When the routes of a day were last counted."""

    day = models.DateField(primary_key=True)
    offers = models.IntegerField()
    refreshed_at = models.DateTimeField()

    class Meta:
        db_table = "route_day_refreshes"

    def __str__(self) -> str:
        return f"{self.day}"


class PopularLayoverRoute(models.Model):
    """A route with five or more shared offers that have a layover."""

    route = models.TextField(primary_key=True, editable=False)
    origin_airport = models.TextField("origin")
    destination_airport = models.TextField("destination")
    flight_count = models.BigIntegerField("offers", help_text="With a layover, of all days.")
    avg_price = models.DecimalField(
        "average price", max_digits=12, decimal_places=2, help_text="In US dollars."
    )
    avg_layovers = models.DecimalField("average layovers", max_digits=4, decimal_places=2)
    layover_airports = ArrayField(
        models.TextField(), help_text="Where most of its layovers are, at most five."
    )
    refreshed_at = models.DateTimeField("counted at")

    class Meta:
        db_table = "popular_layover_routes"
        verbose_name = "popular route"

    def __str__(self) -> str:
        return f"{self.origin_airport} to {self.destination_airport}"


class PartitionSize(models.Model):
    """A partition, from the catalogue and the statistics."""

    name = models.TextField(primary_key=True)
    parent = models.TextField("table")
    bounds = models.TextField()
    estimated_rows = models.BigIntegerField(
        null=True, help_text="As of the last analyse; empty if there was none."
    )
    dead_rows = models.BigIntegerField(null=True, help_text="Which the next vacuum takes away.")
    table_bytes = models.BigIntegerField()
    index_bytes = models.BigIntegerField()
    vacuumed_at = models.DateTimeField(null=True)
    analysed_at = models.DateTimeField(null=True)

    class Meta:
        managed = False
        db_table = "partition_sizes"
        verbose_name = "partition"

    def __str__(self) -> str:
        return self.name


class SearchPlayground(Flight):
    """The page where operators search as an enterprise does; it has no rows of its own."""

    class Meta:
        proxy = True
        default_permissions = ("view",)
        verbose_name = "search as an enterprise"
        verbose_name_plural = "search playground"
