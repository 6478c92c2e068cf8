from django.db import migrations

from layoverhq.migrations import InstallSQL


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        InstallSQL("layoverhq", "tenant_isolation", digest="cf18703a96c16ac0"),
        InstallSQL("layoverhq", "partitions", digest="1126f7f7207f7909"),
        InstallSQL("layoverhq", "hot_snapshot", digest="efbac8e348b2d243"),
    ]
