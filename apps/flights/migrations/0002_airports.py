from typing import Any

import airportsdata
from django.db import migrations

from layoverhq.migrations import InstallSQL

BATCH_ROWS = 2_000


def seed_airports(apps: Any, schema_editor: Any) -> None:
    """Add every airport that has an IATA code."""
    airport = apps.get_model("flights", "Airport")
    airport.objects.using(schema_editor.connection.alias).bulk_create(
        (
            airport(
                iata=code,
                name=known["name"],
                city=known["city"],
                subdivision=known["subd"],
                country=known["country"],
                latitude=known["lat"],
                longitude=known["lon"],
                time_zone=known["tz"],
            )
            for code, known in airportsdata.load("IATA").items()
        ),
        batch_size=BATCH_ROWS,
    )


class Migration(migrations.Migration):
    dependencies = [("flights", "0001_flights")]
    operations = [
        migrations.RunPython(seed_airports, migrations.RunPython.noop),
        InstallSQL("flights", "airport_audit", digest="7351e7e84c163946"),
    ]
