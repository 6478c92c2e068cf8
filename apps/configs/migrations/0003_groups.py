from django.db import migrations

from layoverhq.permission_groups import AUTH_MIGRATIONS, SeedGroups

VIEW = ["view_configkey", "view_configcategory", "view_configchangeset", "view_systemconfig"]
GROUPS = {
    "Configuration viewers": VIEW,
    "Configuration editors": [
        *VIEW,
        "add_configkey",
        "change_configkey",
        "add_configchangeset",
        "change_configchangeset",
        "publish_configchangeset",
    ],
    "Configuration reviewers": [*VIEW, "approve_configchangeset", "publish_configchangeset"],
    "Configuration secret readers": [*VIEW, "reveal_secret"],
}


class Migration(migrations.Migration):
    dependencies = [("configs", "0002_seeds"), *AUTH_MIGRATIONS]
    operations = [SeedGroups(GROUPS)]
