from django.db import migrations

from layoverhq.migrations import InstallSQL


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        InstallSQL("layoverhq", "tenant_isolation", digest="f2434d634d1878d4"),
        InstallSQL("layoverhq", "partitions", digest="92bf37d8d5630c45"),
        InstallSQL("layoverhq", "hot_snapshot", digest="e9d90977b0b76ee3"),
    ]
