from django.db import migrations

from layoverhq.schedules import BEAT_MIGRATION, SeedSchedule


class Migration(migrations.Migration):
    dependencies = [("flights", "0002_airports"), BEAT_MIGRATION]
    operations = [
        SeedSchedule(
            "Flights: delete expired offers",
            task="apps.flights.tasks.cleanup_expired_flights",
            crontab="*/30 * * * *",
            help_text="Deletes offers that expired more than an hour ago, with their layovers.",
        ),
        SeedSchedule(
            "Flights: roll the demo's horizon",
            task="apps.flights.tasks.roll_demo_horizon",
            # The day has ended in Honolulu, the network's last zone.
            crontab="15 10 * * *",
            help_text="Loads the demo's inventory for the day that came into reach. Demo only.",
        ),
    ]
