import django.contrib.postgres.fields
from django.db import migrations, models

import layoverhq.identifiers
from layoverhq.migrations import InstallSQL
from layoverhq.permission_groups import AUTH_MIGRATIONS, SeedGroups
from layoverhq.schedules import BEAT_MIGRATION, SeedSchedule

GROUPS = {
    # Reads as an enterprise: each search leaves a trace.
    "Search support": [
        "view_searchplayground",
        "view_flight",
        "view_enterpriseflight",
        "view_routeday",
        "view_popularlayoverroute",
        "change_popularlayoverroute",
        "view_partitionsize",
    ],
}


class Migration(migrations.Migration):
    dependencies = [("flights", "0009_itineraries"), BEAT_MIGRATION, *AUTH_MIGRATIONS]
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                InstallSQL("flights", "popular_layover_routes", digest="f5c49f9b8e2cb0a0")
            ],
            state_operations=[
                migrations.CreateModel(
                    name="PartitionSize",
                    fields=[
                        ("name", models.TextField(primary_key=True, serialize=False)),
                        ("parent", models.TextField(verbose_name="table")),
                        ("bounds", models.TextField()),
                        (
                            "estimated_rows",
                            models.BigIntegerField(
                                help_text="As of the last analyse; empty if there was none.",
                                null=True,
                            ),
                        ),
                        (
                            "dead_rows",
                            models.BigIntegerField(
                                help_text="Which the next vacuum takes away.", null=True
                            ),
                        ),
                        ("table_bytes", models.BigIntegerField()),
                        ("index_bytes", models.BigIntegerField()),
                        ("vacuumed_at", models.DateTimeField(null=True)),
                        ("analysed_at", models.DateTimeField(null=True)),
                    ],
                    options={
                        "verbose_name": "partition",
                        "db_table": "partition_sizes",
                        "managed": False,
                    },
                ),
                migrations.CreateModel(
                    name="PopularLayoverRoute",
                    fields=[
                        (
                            "route",
                            models.TextField(editable=False, primary_key=True, serialize=False),
                        ),
                        ("origin_airport", models.TextField(verbose_name="origin")),
                        ("destination_airport", models.TextField(verbose_name="destination")),
                        (
                            "flight_count",
                            models.BigIntegerField(
                                help_text="With a layover, of all days.", verbose_name="offers"
                            ),
                        ),
                        (
                            "avg_price",
                            models.DecimalField(
                                decimal_places=2,
                                help_text="In US dollars.",
                                max_digits=12,
                                verbose_name="average price",
                            ),
                        ),
                        (
                            "avg_layovers",
                            models.DecimalField(
                                decimal_places=2, max_digits=4, verbose_name="average layovers"
                            ),
                        ),
                        (
                            "layover_airports",
                            django.contrib.postgres.fields.ArrayField(
                                base_field=models.TextField(),
                                help_text="Where most of its layovers are, at most five.",
                                size=None,
                            ),
                        ),
                        ("refreshed_at", models.DateTimeField(verbose_name="counted at")),
                    ],
                    options={
                        "verbose_name": "popular route",
                        "db_table": "popular_layover_routes",
                    },
                ),
                migrations.CreateModel(
                    name="RouteDay",
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
                        ("departure_day", models.DateField()),
                        ("origin_airport", models.TextField(verbose_name="origin")),
                        ("destination_airport", models.TextField(verbose_name="destination")),
                        ("offers", models.IntegerField()),
                        ("lowest_price_minor", models.BigIntegerField(help_text="In US cents.")),
                        ("layover_offers", models.IntegerField(verbose_name="with a layover")),
                        ("layovers", models.IntegerField()),
                        (
                            "layover_price_minor",
                            models.BigIntegerField(
                                help_text="All offers with a layover together, in US cents."
                            ),
                        ),
                        (
                            "layover_airports",
                            models.JSONField(
                                default=dict, help_text="How many offers have a layover there."
                            ),
                        ),
                    ],
                    options={
                        "verbose_name": "route",
                        "db_table": "route_days",
                    },
                ),
                migrations.CreateModel(
                    name="RouteDayRefresh",
                    fields=[
                        ("day", models.DateField(primary_key=True, serialize=False)),
                        ("offers", models.IntegerField()),
                        ("refreshed_at", models.DateTimeField()),
                    ],
                    options={
                        "db_table": "route_day_refreshes",
                    },
                ),
                migrations.CreateModel(
                    name="SearchPlayground",
                    fields=[],
                    options={
                        "verbose_name": "search as an enterprise",
                        "verbose_name_plural": "search playground",
                        "proxy": True,
                        "default_permissions": ("view",),
                        "indexes": [],
                        "constraints": [],
                    },
                    bases=("flights.flight",),
                ),
            ],
        ),
        SeedGroups(GROUPS),
        SeedSchedule(
            "Flights: count popular routes",
            task="apps.flights.tasks.refresh_popular_routes",
            crontab="*/10 * * * *",
            help_text="Counts the shared offers of days that were loaded, expire or were last"
            " counted an hour ago; nobody waits for it.",
        ),
    ]
