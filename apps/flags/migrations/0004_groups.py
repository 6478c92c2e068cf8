from typing import Any

from django.contrib.auth.management import create_permissions
from django.db import migrations, router

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


def add_groups(apps: Any, schema_editor: Any) -> None:
    """Add the groups that are missing; operators may change them afterwards."""
    alias = schema_editor.connection.alias
    if not router.allow_migrate(alias, "flags"):
        return
    # Django makes permissions after all migrations; these are needed now.
    config = apps.get_app_config("flags")
    config.models_module = True
    create_permissions(config, verbosity=0, using=alias, apps=apps)
    config.models_module = None
    group_model = apps.get_model("auth", "Group")
    permissions = apps.get_model("auth", "Permission").objects.using(alias)
    for name, codenames in GROUPS.items():
        group, made = group_model.objects.using(alias).get_or_create(name=name)
        if made:
            # The relation's own manager would ask the router, and so the runtime role.
            group_model.permissions.through.objects.using(alias).bulk_create(
                group_model.permissions.through(group_id=group.pk, permission_id=pk)
                for pk in permissions.filter(
                    content_type__app_label="flags", codename__in=codenames
                ).values_list("pk", flat=True)
            )


class Migration(migrations.Migration):
    dependencies = [
        ("flags", "0003_experiments"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [migrations.RunPython(add_groups, migrations.RunPython.noop, elidable=False)]
