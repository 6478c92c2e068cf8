from django.db import migrations

from layoverhq.schedules import BEAT_MIGRATION, SeedSchedule


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_tenants"), BEAT_MIGRATION]
    operations = [
        SeedSchedule(
            "Enterprises: resume stalled offboardings",
            task="apps.tenants.tasks.resume_offboardings",
            crontab="*/5 * * * *",
            help_text="Takes up exports and erasures that a killed worker left.",
        ),
    ]
