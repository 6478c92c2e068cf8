import csv
from pathlib import Path
from typing import Any

from django.db import migrations, router
from django.utils import timezone

from apps.configs.declarations import DeclareConfig
from apps.flights.models import APPEAL_HOURS
from apps.layovers.analysis import sight_of
from apps.layovers.experience_rows import read_experiences
from apps.layovers.planning import appeal_by_hours
from layoverhq.migrations import InstallSQL
from layoverhq.permission_groups import AUTH_MIGRATIONS, SeedGroups
from layoverhq.schedules import BEAT_MIGRATION, SeedSchedule

DATA = Path(__file__).resolve().parent.parent / "data"
SOURCE = "LayoverHQ's editors, from general knowledge"

VIEW = ["view_experience", "view_layoverinput", "view_layoveranalysis", "view_layovercachecount"]
GROUPS = {
    "Layover viewers": VIEW,
    "Layover editors": [
        *VIEW,
        "add_experience",
        "change_experience",
        "refresh_weather",
        "invalidate_layoveranalysis",
    ],
}


def seed_experiences(apps: Any, schema_editor: Any) -> None:
    """Add the indicative experiences, and what search is told of their cities."""
    alias = schema_editor.connection.alias
    if not router.allow_migrate(alias, "layovers"):
        return
    known = set(
        apps.get_model("flights", "Airport").objects.using(alias).values_list("pk", flat=True)
    )
    text = (DATA / "experiences.csv").read_text(encoding="utf-8")
    reading = read_experiences(text, airports=known, source=SOURCE)
    if reading.rejects:
        raise ValueError("; ".join(map(str, reading.rejects)))
    experience = apps.get_model("layovers", "Experience")
    made = experience.objects.using(alias).bulk_create(
        experience(**row.columns()) for _, row in reading.rows
    )
    by_airport: dict[str, list[Any]] = {}
    for each in made:
        by_airport.setdefault(each.airport_id, []).append(sight_of(each))
    place = apps.get_model("flights", "LayoverPlace")
    place.objects.using(alias).bulk_create(
        (
            place(
                airport_id=code,
                appeal=appeal_by_hours(sights, APPEAL_HOURS),
                updated_at=timezone.now(),
            )
            for code, sights in by_airport.items()
        ),
        ignore_conflicts=True,
    )


def seed_ground_times(apps: Any, schema_editor: Any) -> None:
    """Tell the indicative exit, transfer and buffer minutes where nobody has said any."""
    alias = schema_editor.connection.alias
    if not router.allow_migrate(alias, "layovers"):
        return
    with (DATA / "ground_times.csv").open(encoding="ascii", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ("iata", "exit_minutes", "transfer_minutes", "buffer_minutes")
    schema_editor.execute(
        """
        update public.airports a set
            exit_minutes = coalesce(a.exit_minutes, t.leave),
            transfer_minutes = coalesce(a.transfer_minutes, t.ride),
            buffer_minutes = coalesce(a.buffer_minutes, t.early)
        from unnest(%s::text[], %s::smallint[], %s::smallint[], %s::smallint[])
            as t (iata, leave, ride, early)
        where a.iata = t.iata
        """,
        [[row[name] if name == "iata" else int(row[name]) for row in rows] for name in columns],
    )


class Migration(migrations.Migration):
    dependencies = [
        ("layovers", "0001_layovers"),
        ("configs", "0002_seeds"),
        BEAT_MIGRATION,
        *AUTH_MIGRATIONS,
    ]
    operations = [
        migrations.RunPython(seed_experiences, migrations.RunPython.noop),
        migrations.RunPython(seed_ground_times, migrations.RunPython.noop),
        InstallSQL("layovers", "experience_audit", digest="66d9005f360ee5ec"),
        DeclareConfig(
            "weather.base_url",
            default_value="https://api.open-meteo.com",
            value_type="string",
            category="runtime",
            description="Where Open-Meteo's API is asked",
            schema={"type": "string", "pattern": "^https?://[^ ]+$", "maxLength": 300},
        ),
        DeclareConfig(
            "weather.timeout",
            default_value=2,
            value_type="number",
            category="runtime",
            description="How long the weather service may take, retries included",
            schema={"type": "number", "minimum": 0.1, "maximum": 30, "x-unit": "seconds"},
        ),
        DeclareConfig(
            "weather.api_key",
            value_type="string",
            category="runtime",
            description="Key to Open-Meteo's commercial service; none is needed for the free one",
            is_secret=True,
        ),
        SeedSchedule(
            "Layovers: refresh the weather",
            task="apps.layovers.tasks.refresh_hub_weather",
            crontab="*/5 * * * *",
            help_text="Asks for the weather at the hubs in use where it is older than"
            " weather.cache_ttl, and tells search of it.",
        ),
        SeedSchedule(
            "Layovers: warm popular analyses",
            task="apps.layovers.tasks.warm_layover_analyses",
            crontab="2-59/15 * * * *",
            help_text="Makes analyses at the 20 most used layover airports before anybody asks.",
        ),
        SeedSchedule(
            "Layovers: purge",
            task="apps.layovers.tasks.purge_layovers",
            crontab="25 3 * * *",
            help_text="Deletes weather older than 7 days, analyses of layovers that are over, and"
            " counts older than 60 days.",
        ),
        SeedGroups(GROUPS),
    ]
