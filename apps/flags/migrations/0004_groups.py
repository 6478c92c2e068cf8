from django.db import migrations

from layoverhq.permission_groups import AUTH_MIGRATIONS, SeedGroups

VIEW = [
    "view_featureflag",
    "view_flagversion",
    "view_flagsegment",
    "view_flagnamespace",
    "view_experiment",
]
EDIT = [
    "add_featureflag",
    "change_featureflag",
    "publish_flagversion",
    "add_flagsegment",
    "change_flagsegment",
    "delete_flagsegment",
    "add_flagnamespace",
    "change_flagnamespace",
    "delete_flagnamespace",
    "add_experiment",
    "change_experiment",
    "delete_experiment",
    "run_experiment",
]
GROUPS = {
    "Flag viewers": VIEW,
    # What is protected waits for a reviewer all the same.
    "Flag editors": [*VIEW, *EDIT, "kill_featureflag"],
    "Flag reviewers": [*VIEW, "approve_flagversion", "publish_flagversion"],
    # Whoever is on call.
    "Flag killers": [*VIEW, "kill_featureflag"],
}


class Migration(migrations.Migration):
    dependencies = [("flags", "0003_experiments"), *AUTH_MIGRATIONS]
    operations = [SeedGroups(GROUPS)]
