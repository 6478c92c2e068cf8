import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import layoverhq.identifiers
from layoverhq.migrations import InstallSQL
from layoverhq.schedules import BEAT_MIGRATION, SeedSchedule


class Migration(migrations.Migration):
    dependencies = [
        ("flights", "0003_schedules"),
        ("tenants", "0002_schedules"),
        BEAT_MIGRATION,
    ]
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[InstallSQL("flights", "offer_imports", digest="dd16cc23acb4fc5c")],
            state_operations=[
                migrations.CreateModel(
                    name="OfferImport",
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
                        (
                            "status",
                            models.TextField(
                                choices=[
                                    ("queued", "Queued"),
                                    ("loading", "Loading"),
                                    ("done", "Done"),
                                    ("failed", "Failed: nothing was loaded"),
                                ],
                                default="queued",
                            ),
                        ),
                        ("idempotency_key", models.TextField(blank=True, null=True)),
                        (
                            "content_type",
                            models.TextField(
                                choices=[("application/x-ndjson", "NDJSON"), ("text/csv", "CSV")],
                                default="application/x-ndjson",
                            ),
                        ),
                        ("content_sha256", models.TextField()),
                        ("bytes_received", models.BigIntegerField()),
                        ("file", models.TextField(blank=True)),
                        ("attempts", models.IntegerField(default=0)),
                        ("bytes_done", models.BigIntegerField(default=0)),
                        ("lines_done", models.BigIntegerField(default=0)),
                        ("inserted", models.BigIntegerField(default=0)),
                        ("updated", models.BigIntegerField(default=0)),
                        ("unchanged", models.BigIntegerField(default=0)),
                        ("rejected", models.BigIntegerField(default=0)),
                        ("problem_code", models.TextField(blank=True)),
                        ("problem", models.TextField(blank=True)),
                        (
                            "created_at",
                            models.DateTimeField(
                                db_default=django.db.models.functions.datetime.Now(), editable=False
                            ),
                        ),
                        ("started_at", models.DateTimeField(editable=False, null=True)),
                        ("finished_at", models.DateTimeField(editable=False, null=True)),
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
                        "db_table": "offer_imports",
                        "ordering": ["-id"],
                        "permissions": (
                            ("retry_offerimport", "Can load a failed import again"),
                            ("cancel_offerimport", "Can cancel a waiting or loading import"),
                        ),
                    },
                ),
                migrations.CreateModel(
                    name="OfferReject",
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
                        ("line", models.BigIntegerField()),
                        ("reason", models.TextField()),
                        ("field", models.TextField(blank=True)),
                        ("detail", models.TextField()),
                        ("excerpt", models.TextField(blank=True, help_text="How the line begins.")),
                        (
                            "enterprise",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="+",
                                to="tenants.enterprise",
                            ),
                        ),
                        (
                            "offer_import",
                            models.ForeignKey(
                                db_column="import_id",
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="rejects",
                                to="flights.offerimport",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "offer_rejects",
                        "ordering": ["line"],
                    },
                ),
            ],
        ),
        SeedSchedule(
            "Flights: resume waiting imports",
            task="apps.flights.tasks.resume_offer_imports",
            crontab="* * * * *",
            help_text="Takes up imports of private offers that a killed worker left.",
        ),
        SeedSchedule(
            "Flights: purge old imports",
            task="apps.flights.tasks.purge_offer_imports",
            crontab="40 3 * * *",
            help_text="Deletes imports that ended 30 days ago, with their rejects. Offers stay.",
        ),
    ]
