from django.db import migrations

from layoverhq.migrations import InstallSQL
from layoverhq.schedules import BEAT_MIGRATION, SeedSchedule


class Migration(migrations.Migration):
    dependencies = [
        ("layoverhq", "0001_kernel"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("sessions", "0001_initial"),
        BEAT_MIGRATION,
    ]
    operations = [
        InstallSQL("layoverhq", "framework_grants", digest="e6d5f381fdd3ff5c"),
        SeedSchedule(
            "Partitions: make ahead, drop behind",
            task="layoverhq.tasks.maintain_partitions",
            crontab="10 2 * * *",
            help_text="Makes the coming months' partitions and drops those past their keeping.",
        ),
        SeedSchedule(
            "Admin: clear expired sessions",
            task="layoverhq.tasks.clear_sessions",
            crontab="40 3 * * *",
            help_text="Deletes the expired sessions of the admin.",
        ),
        SeedSchedule(
            "Snapshots: forget old changes",
            task="layoverhq.tasks.forget_snapshot_changes",
            crontab="20 3 * * *",
            help_text="Deletes the week-old entries of the list from which processes catch up.",
        ),
    ]
