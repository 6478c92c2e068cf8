from pathlib import Path
from typing import Any

import django.db.models.functions.datetime
from django.db import migrations, models

import layoverhq.identifiers
from apps.configs.declarations import DeclareConfig
from apps.flights.ecb import rates_of_file
from layoverhq.migrations import InstallSQL
from layoverhq.permission_groups import AUTH_MIGRATIONS, SeedGroups
from layoverhq.schedules import BEAT_MIGRATION, SeedSchedule

# The European Central Bank's own history file as of 30 October 2026, its first lines.
SEED = Path(__file__).parent.parent / "data" / "ecb_reference_rates.csv"

IMPORTS = ["view_offerimport", "view_offerreject"]
RATES = ["view_exchangerate"]
GROUPS = {
    "Import viewers": IMPORTS,
    "Import operators": [*IMPORTS, "retry_offerimport", "cancel_offerimport"],
    "Exchange rate editors": [*RATES, "add_exchangerate", "fetch_exchangerate"],
}


def seed_rates(apps: Any, schema_editor: Any) -> None:
    """Add reference rates that are real, if old: searches and loads say how old."""
    rate = apps.get_model("flights", "ExchangeRate")
    rate.objects.using(schema_editor.connection.alias).bulk_create(
        rate(currency=told.currency, rate_date=told.day, per_euro=told.per_euro, source="file")
        for told in rates_of_file(SEED.read_bytes())
    )


class Migration(migrations.Migration):
    dependencies = [
        ("flights", "0006_providers"),
        ("configs", "0002_seeds"),
        BEAT_MIGRATION,
        *AUTH_MIGRATIONS,
    ]
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                InstallSQL("flights", "exchange_rates", digest="5404e84fb4ed9f93")
            ],
            state_operations=[
                migrations.CreateModel(
                    name="ExchangeRate",
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
                        ("currency", models.TextField(help_text="ISO 4217.")),
                        ("rate_date", models.DateField(verbose_name="day")),
                        (
                            "per_euro",
                            models.DecimalField(
                                decimal_places=10,
                                help_text="Units of the currency for one euro.",
                                max_digits=20,
                            ),
                        ),
                        (
                            "source",
                            models.TextField(
                                choices=[
                                    ("ecb", "European Central Bank"),
                                    ("file", "European Central Bank, by file"),
                                    ("manual", "Entered by hand"),
                                ]
                            ),
                        ),
                        (
                            "noted_at",
                            models.DateTimeField(
                                db_default=django.db.models.functions.datetime.Now(), editable=False
                            ),
                        ),
                    ],
                    options={
                        "db_table": "exchange_rates",
                        "ordering": ["-rate_date", "currency"],
                        "permissions": (("fetch_exchangerate", "Can fetch exchange rates"),),
                    },
                ),
                migrations.CreateModel(
                    name="ExchangeRateFetch",
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
                        ("address", models.TextField()),
                        ("began_at", models.DateTimeField()),
                        ("newest_date", models.DateField(null=True, verbose_name="newest day")),
                        ("changed", models.IntegerField(default=0)),
                        ("problem_code", models.TextField(blank=True)),
                        ("problem", models.TextField(blank=True)),
                    ],
                    options={"db_table": "exchange_rate_fetches", "ordering": ["-id"]},
                ),
            ],
        ),
        migrations.RunPython(seed_rates, migrations.RunPython.noop),
        InstallSQL("flights", "exchange_rate_audit", digest="0fe7461eba0b733c"),
        DeclareConfig(
            "pricing.max_rate_age_days",
            value=10,
            default_value=10,
            value_type="number",
            category="business",
            description="How old an exchange rate may be to convert prices by",
            schema={"type": "integer", "minimum": 1, "maximum": 366, "x-unit": "days"},
        ),
        DeclareConfig(
            "pricing.reprice_after_days",
            value=3,
            default_value=3,
            value_type="number",
            category="business",
            description="How old the rate of a standing offer may be before it is priced anew",
            schema={"type": "integer", "minimum": 1, "maximum": 366, "x-unit": "days"},
        ),
        SeedSchedule(
            "Flights: fetch exchange rates",
            task="apps.flights.tasks.fetch_exchange_rates",
            # The European Central Bank publishes about 16:00 in Frankfurt; the later ones are for
            # a day on which it, or the network, was late.
            crontab="20 15,17,20 * * 1-5",
            help_text="Asks the European Central Bank for its reference rates on working days.",
        ),
        SeedSchedule(
            "Flights: price offers anew",
            task="apps.flights.tasks.reprice_offers",
            crontab="25 2 * * *",
            help_text="Prices offers in other currencies anew whose exchange rate has aged.",
        ),
        SeedGroups(GROUPS),
    ]
