from typing import Any

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import layoverhq.identifiers
from apps.configs.declarations import DeclareConfig
from layoverhq.migrations import InstallSQL
from layoverhq.permission_groups import AUTH_MIGRATIONS, SeedGroups
from layoverhq.schedules import BEAT_MIGRATION, SeedSchedule

VIEW = ["view_offerchoice", "view_rankerversion"]
GROUPS = {
    "Ranking viewers": VIEW,
    "Ranking operators": [*VIEW, "change_rankerversion"],
}


def count(low: int, high: int, unit: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high, "x-unit": unit}


def declared(
    key: str, default: Any, schema: dict[str, Any], description: str, **more: Any
) -> DeclareConfig:
    return DeclareConfig(
        f"ranking.{key}",
        default_value=default,
        value_type="boolean" if schema["type"] == "boolean" else "number",
        category="business",
        description=description,
        schema=schema,
        **more,
    )


class Migration(migrations.Migration):
    dependencies = [
        ("flights", "0010_popular_routes"),
        ("flags", "0003_experiments"),
        ("tenants", "0002_schedules"),
        BEAT_MIGRATION,
        *AUTH_MIGRATIONS,
    ]
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                InstallSQL("flights", "offer_choices", digest="69f26a2f67f8b100"),
                InstallSQL("flights", "ranker_versions", digest="5ff12d672d84471b"),
            ],
            state_operations=[
                migrations.CreateModel(
                    name="OfferChoice",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                editable=False,
                                help_text="The digest of the enterprise's own id.",
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        (
                            "chosen_at",
                            models.DateTimeField(
                                db_default=django.db.models.functions.datetime.Now()
                            ),
                        ),
                        (
                            "unit",
                            models.UUIDField(
                                help_text="As a digest.", null=True, verbose_name="traveller"
                            ),
                        ),
                        ("booked", models.BooleanField()),
                        ("offer_id", models.UUIDField()),
                        ("departure_day", models.DateField()),
                        ("origin_airport", models.TextField(verbose_name="origin")),
                        ("destination_airport", models.TextField(verbose_name="destination")),
                        (
                            "hub",
                            models.TextField(
                                help_text="Where the layover is that leaves most for its city.",
                                null=True,
                            ),
                        ),
                        ("usable_minutes", models.IntegerField(null=True)),
                        ("overnight", models.BooleanField()),
                        (
                            "components",
                            django.contrib.postgres.fields.ArrayField(
                                base_field=models.FloatField(null=True), size=None
                            ),
                        ),
                        (
                            "shown_ids",
                            django.contrib.postgres.fields.ArrayField(
                                base_field=models.UUIDField(), size=None
                            ),
                        ),
                        (
                            "shown_hubs",
                            django.contrib.postgres.fields.ArrayField(
                                base_field=models.TextField(null=True), size=None
                            ),
                        ),
                        (
                            "shown_components",
                            django.contrib.postgres.fields.ArrayField(
                                base_field=django.contrib.postgres.fields.ArrayField(
                                    base_field=models.FloatField(null=True), size=None
                                ),
                                size=None,
                            ),
                        ),
                        (
                            "enterprise",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="+",
                                to="tenants.enterprise",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "offer_choices",
                        "ordering": ["-chosen_at", "-id"],
                    },
                ),
                migrations.CreateModel(
                    name="RankerVersion",
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
                            "status",
                            models.TextField(
                                choices=[
                                    ("candidate", "Candidate"),
                                    ("active", "Active"),
                                    ("retired", "Retired"),
                                    ("rejected", "Rejected"),
                                ]
                            ),
                        ),
                        (
                            "weights",
                            models.JSONField(help_text="Of the components; they add up to 1."),
                        ),
                        (
                            "score_version",
                            models.IntegerField(help_text="Of the formula that they are for."),
                        ),
                        ("trained_at", models.DateTimeField()),
                        ("choices", models.IntegerField(verbose_name="choices learned from")),
                        ("held_out", models.IntegerField(verbose_name="choices tried on")),
                        ("newest_choice_at", models.DateTimeField()),
                        ("enterprises", models.IntegerField(help_text="Whose choices they were.")),
                        (
                            "log_loss",
                            models.FloatField(
                                help_text="In nats a choice held out; less is better."
                            ),
                        ),
                        (
                            "configured_log_loss",
                            models.FloatField(help_text="The same with the configured weights."),
                        ),
                        (
                            "top_1",
                            models.FloatField(
                                help_text="Share of choices held out that rank first."
                            ),
                        ),
                        (
                            "configured_top_1",
                            models.FloatField(help_text="The same with the configured weights."),
                        ),
                        (
                            "configured_weights",
                            models.JSONField(help_text="What it was compared with."),
                        ),
                        ("gain", models.FloatField(help_text="Of log loss, in nats a choice.")),
                        ("gain_at_least", models.FloatField(help_text="With 97.5 % confidence.")),
                        ("note", models.TextField(blank=True, help_text="Why it is what it is.")),
                        ("activated_at", models.DateTimeField(null=True)),
                        ("retired_at", models.DateTimeField(null=True)),
                        (
                            "enterprise",
                            models.ForeignKey(
                                blank=True,
                                help_text="Empty: of the enterprises that share their choices.",
                                null=True,
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="+",
                                to="tenants.enterprise",
                            ),
                        ),
                    ],
                    options={
                        "verbose_name": "ranker",
                        "db_table": "ranker_versions",
                        "ordering": ["-id"],
                    },
                ),
            ],
        ),
        declared(
            "history_days",
            90,
            count(1, 365, "days"),
            "How long travellers' choices are learned from",
        ),
        declared(
            "half_life_days",
            30,
            count(1, 365, "days"),
            "After how long a choice counts half in what travellers liked before",
        ),
        declared(
            "preference_choices",
            20,
            count(1, 100_000, "choices"),
            "Choices with a layover that an enterprise needs to have preferences",
        ),
        declared(
            "training_choices",
            200,
            count(50, 100_000, "choices"),
            "Choices that weights are learned from, at least",
        ),
        declared(
            "margin",
            0.01,
            {"type": "number", "minimum": 0, "maximum": 1, "x-unit": "nats a choice"},
            "What learned weights gain at least over the configured ones to be used",
        ),
        declared(
            "fresh_days",
            14,
            count(1, 365, "days"),
            "After how long without a new training learned weights are no longer used",
        ),
        declared(
            "share_choices",
            False,
            {"type": "boolean"},
            "Learn ranking together with other enterprises that share their travellers' choices",
            tenant_visible=True,
            tenant_overridable=True,
        ),
        SeedSchedule(
            "Ranking: learn preferences",
            task="apps.flights.tasks.learn_preferences",
            crontab="10 * * * *",
            help_text="Works out where each enterprise's travellers like to wait.",
        ),
        SeedSchedule(
            "Ranking: train rankers",
            task="apps.flights.tasks.train_rankers",
            crontab="50 2 * * *",
            help_text="Learns weights of the score from travellers' choices, where there are new ones.",
        ),
        SeedGroups(GROUPS),
    ]
