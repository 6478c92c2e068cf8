import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from layoverhq.migrations import InstallSQL


class Migration(migrations.Migration):
    dependencies = [("flights", "0004_offer_imports")]
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                InstallSQL("flights", "layover_places", digest="16eeba595e213c85")
            ],
            state_operations=[
                migrations.CreateModel(
                    name="LayoverPlace",
                    fields=[
                        (
                            "airport",
                            models.OneToOneField(
                                db_column="airport",
                                on_delete=django.db.models.deletion.CASCADE,
                                primary_key=True,
                                related_name="+",
                                serialize=False,
                                to="flights.airport",
                            ),
                        ),
                        (
                            "appeal",
                            django.contrib.postgres.fields.ArrayField(
                                base_field=models.SmallIntegerField(),
                                help_text="0 to 100, by hours from 0.",
                                size=17,
                            ),
                        ),
                        (
                            "updated_at",
                            models.DateTimeField(
                                db_default=django.db.models.functions.datetime.Now(), editable=False
                            ),
                        ),
                    ],
                    options={
                        "db_table": "layover_places",
                    },
                ),
                migrations.CreateModel(
                    name="LayoverWeather",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "airport",
                                "hour",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("hour", models.DateTimeField()),
                        ("comfort", models.SmallIntegerField(help_text="0 to 100.")),
                        ("observed_at", models.DateTimeField()),
                        (
                            "airport",
                            models.ForeignKey(
                                db_column="airport",
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="+",
                                to="flights.airport",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "layover_weather",
                    },
                ),
            ],
        )
    ]
