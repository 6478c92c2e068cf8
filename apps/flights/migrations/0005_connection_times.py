import csv
import gzip
from typing import Any

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import layoverhq.identifiers
from apps.configs.declarations import DeclareConfig
from apps.flights.delays import SHARES
from apps.flights.network import DATA
from layoverhq.migrations import InstallSQL
from layoverhq.permission_groups import AUTH_MIGRATIONS, SeedGroups
from layoverhq.schedules import BEAT_MIGRATION, SeedSchedule

VIEW = [
    "view_airport",
    "view_minimumconnectiontime",
    "view_composedroute",
    "view_composedday",
]
GROUPS = {
    "Airport and connection viewers": VIEW,
    "Airport and connection editors": [
        *VIEW,
        "change_airport",
        "add_minimumconnectiontime",
        "change_minimumconnectiontime",
        "add_composedroute",
        "change_composedroute",
        "change_composedday",
    ],
}


def seed_connection_times(apps: Any, schema_editor: Any) -> None:
    """Add the indicative minimum connection times."""
    times = apps.get_model("flights", "MinimumConnectionTime")
    with (DATA / "minimum_connection_times.csv").open(encoding="ascii", newline="") as file:
        times.objects.using(schema_editor.connection.alias).bulk_create(
            times(
                airport_id=row["airport"] or None,
                kind=row["kind"],
                arriving_carrier=row["arriving_carrier"] or None,
                departing_carrier=row["departing_carrier"] or None,
                arriving_terminal=row["arriving_terminal"] or None,
                departing_terminal=row["departing_terminal"] or None,
                minutes=int(row["minutes"]),
                source=row["source"],
            )
            for row in csv.DictReader(file)
        )


def seed_delays(apps: Any, schema_editor: Any) -> None:
    """Add the measured delays, and the nation's: each quantile's median, weighted by flights."""
    path = DATA / "us_arrival_delay_minutes.csv.gz"
    with gzip.open(path, "rt", encoding="ascii", newline="") as file:
        rows = list(csv.DictReader(file))
    measured = [
        {name: int(row[name]) for name in ("flights", *SHARES)} | {"airport_id": row["destination"]}
        for row in rows
    ]
    total = sum(row["flights"] for row in measured)
    nation = {"flights": total, "airport_id": None}
    for name in SHARES:
        counted = 0
        for row in sorted(measured, key=lambda row: row[name]):
            counted += row["flights"]
            if 2 * counted >= total:
                nation[name] = row[name]
                break
    delay = apps.get_model("flights", "ArrivalDelay")
    delay.objects.using(schema_editor.connection.alias).bulk_create(
        delay(**row) for row in [nation, *measured]
    )


def minutes(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high, "x-unit": "minutes"}


def count(low: int, high: int, unit: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high, "x-unit": unit}


def declared(key: str, default: Any, schema: dict[str, Any], description: str) -> DeclareConfig:
    return DeclareConfig(
        f"composing.{key}",
        default_value=default,
        value_type="number",
        category="business",
        description=description,
        schema=schema,
    )


class Migration(migrations.Migration):
    dependencies = [
        ("flights", "0005_layover_places"),
        ("configs", "0002_seeds"),
        BEAT_MIGRATION,
        *AUTH_MIGRATIONS,
    ]
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                InstallSQL("flights", "minimum_connection_times", digest="16d1ef08df76bfb2"),
                InstallSQL("flights", "arrival_delays", digest="5a368387bd528dcb"),
                InstallSQL("flights", "composed_days", digest="1b771a42a4fc1545"),
                InstallSQL("flights", "composed_offers", digest="4b796df305c3f060"),
            ],
            state_operations=[
                migrations.CreateModel(
                    name="ComposedDay",
                    fields=[
                        (
                            "day",
                            models.DateField(
                                help_text="By the first origin's calendar.",
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("legs_digest", models.TextField()),
                        (
                            "legs",
                            models.IntegerField(
                                help_text="Nonstops of the day and of those that follow it."
                            ),
                        ),
                        (
                            "pairs",
                            models.BigIntegerField(
                                help_text="Pairs of flights that were looked at."
                            ),
                        ),
                        (
                            "routes_asked",
                            models.IntegerField(help_text="City pairs that were asked for."),
                        ),
                        ("routes", models.IntegerField(help_text="City pairs that got offers.")),
                        ("offers", models.IntegerField()),
                        ("inserted", models.IntegerField()),
                        ("updated", models.IntegerField()),
                        ("deleted", models.IntegerField()),
                        ("seconds", models.FloatField()),
                        (
                            "composed_at",
                            models.DateTimeField(
                                db_default=django.db.models.functions.datetime.Now(), editable=False
                            ),
                        ),
                    ],
                    options={
                        "verbose_name": "composed day",
                        "db_table": "composed_days",
                        "ordering": ["-day"],
                    },
                ),
                migrations.CreateModel(
                    name="ArrivalDelay",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                db_default=layoverhq.identifiers.UUID7(),
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("flights", models.IntegerField()),
                        ("p10", models.SmallIntegerField()),
                        ("p25", models.SmallIntegerField()),
                        ("p50", models.SmallIntegerField()),
                        ("p75", models.SmallIntegerField()),
                        ("p90", models.SmallIntegerField()),
                        ("p95", models.SmallIntegerField()),
                        ("p99", models.SmallIntegerField()),
                        (
                            "airport",
                            models.OneToOneField(
                                blank=True,
                                db_column="airport",
                                help_text="Empty: the nation's median, for all others.",
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="flights.airport",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "arrival_delays",
                        "ordering": ["airport"],
                    },
                ),
                migrations.CreateModel(
                    name="ComposedRoute",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                db_default=layoverhq.identifiers.UUID7(),
                                default=layoverhq.identifiers.uuid7,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("is_active", models.BooleanField(default=True, verbose_name="active")),
                        ("note", models.TextField(help_text="Why the pair is asked for.")),
                        ("version", models.IntegerField(default=1, editable=False)),
                        (
                            "destination",
                            models.ForeignKey(
                                db_column="destination",
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="flights.airport",
                            ),
                        ),
                        (
                            "origin",
                            models.ForeignKey(
                                db_column="origin",
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="flights.airport",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "composed_routes",
                        "ordering": ["origin", "destination"],
                    },
                ),
                migrations.CreateModel(
                    name="MinimumConnectionTime",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                db_default=layoverhq.identifiers.UUID7(),
                                default=layoverhq.identifiers.uuid7,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        (
                            "kind",
                            models.TextField(
                                choices=[
                                    ("DD", "domestic to domestic"),
                                    ("DI", "domestic to international"),
                                    ("ID", "international to domestic"),
                                    ("II", "international to international"),
                                ]
                            ),
                        ),
                        (
                            "arriving_carrier",
                            models.TextField(
                                blank=True,
                                help_text="IATA code, such as UA. Empty: any.",
                                null=True,
                            ),
                        ),
                        (
                            "departing_carrier",
                            models.TextField(
                                blank=True,
                                help_text="IATA code, such as UA. Empty: any.",
                                null=True,
                            ),
                        ),
                        (
                            "arriving_terminal",
                            models.TextField(
                                blank=True,
                                help_text="As the providers name it. Both terminals or none.",
                                null=True,
                            ),
                        ),
                        (
                            "departing_terminal",
                            models.TextField(
                                blank=True,
                                help_text="As the providers name it. Both terminals or none.",
                                null=True,
                            ),
                        ),
                        (
                            "minutes",
                            models.SmallIntegerField(
                                help_text="From the arrival to the next departure."
                            ),
                        ),
                        (
                            "source",
                            models.TextField(
                                help_text="Who says so, such as “indicative” or an airport's page."
                            ),
                        ),
                        ("is_active", models.BooleanField(default=True, verbose_name="active")),
                        ("version", models.IntegerField(default=1, editable=False)),
                        (
                            "airport",
                            models.ForeignKey(
                                blank=True,
                                db_column="airport",
                                help_text="Empty: everywhere.",
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="flights.airport",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "minimum_connection_times",
                        "ordering": ["airport", "kind"],
                    },
                ),
            ],
        ),
        migrations.RunPython(seed_connection_times, migrations.RunPython.noop),
        migrations.RunPython(seed_delays, migrations.RunPython.noop),
        InstallSQL("flights", "connection_audit", digest="d323874f0d49d67d"),
        declared(
            "horizon",
            14,
            count(0, 60, "days"),
            "Days ahead for which itineraries are composed; 0 composes none",
        ),
        declared("max_stops", 2, count(1, 2, "stops"), "Stops of a composed itinerary"),
        declared(
            "max_layover",
            1200,
            minutes(60, 2880),
            "Longest layover of a composed one-stop itinerary",
        ),
        declared(
            "max_two_stop_layover",
            360,
            minutes(60, 1440),
            "Longest of the two layovers of a composed two-stop itinerary",
        ),
        declared(
            "max_journey",
            2160,
            minutes(360, 5760),
            "Longest composed itinerary from departure to arrival",
        ),
        declared(
            "self_transfer",
            60,
            minutes(0, 360),
            "Added to the minimum connection time where tickets are separate",
        ),
        declared(
            "few_offers",
            5,
            count(1, 1000, "offers"),
            "City pairs with fewer offers than this on a day get composed ones",
        ),
        declared(
            "per_route", 8, count(1, 100, "offers"), "Composed offers that a city pair keeps a day"
        ),
        declared(
            "per_day",
            10_000,
            count(0, 1_000_000, "offers"),
            "Composed offers of a day, all city pairs together",
        ),
        SeedSchedule(
            "Flights: compose itineraries",
            task="apps.flights.tasks.compose_itineraries",
            crontab="10,40 * * * *",
            help_text="Composes one- and two-stop itineraries for the days of composing.horizon"
            " whose nonstops changed.",
        ),
        SeedGroups(GROUPS),
    ]
