from django.db import migrations

from layoverhq.migrations import InstallSQL


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        InstallSQL("layoverhq", "tenant_isolation", digest="75113a5354b093a5"),
        InstallSQL("layoverhq", "partitions", digest="a5d85e20317e9bf3"),
        InstallSQL("layoverhq", "hot_snapshot", digest="bf44c8b8ee040502"),
        InstallSQL("layoverhq", "processes", digest="e6b8f8522dd10078"),
        InstallSQL("layoverhq", "rollout_bucket", digest="c41274ca1f499d1a"),
    ]
