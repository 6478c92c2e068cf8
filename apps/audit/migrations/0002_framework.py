from django.db import migrations

from layoverhq.migrations import InstallSQL
from layoverhq.schedules import BEAT_MIGRATION


class Migration(migrations.Migration):
    dependencies = [
        ("audit", "0001_audit_log"),
        ("auth", "0012_alter_user_first_name_max_length"),
        BEAT_MIGRATION,
    ]
    operations = [
        InstallSQL("audit", "framework_audit", digest="db266fb44bb6aaf5"),
    ]
