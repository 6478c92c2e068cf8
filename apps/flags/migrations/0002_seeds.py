from typing import Any

from django.db import migrations, router

# The guide's four: description, enabled, rollout in per cent.
SEEDS = {
    "enhanced_search": ("Enhanced search with ML recommendations", True, 100),
    "real_time_weather": ("Real-time weather integration", True, 50),
    "advanced_analytics": ("Advanced analytics dashboard", False, 0),
    "white_label_v2": ("Next generation white-label features", False, 5),
}


def add_seeds(apps: Any, schema_editor: Any) -> None:
    """Add the flags that are missing; operators may change them afterwards."""
    alias = schema_editor.connection.alias
    if not router.allow_migrate(alias, "flags"):
        return
    flags = apps.get_model("flags", "FeatureFlag").objects.using(alias)
    for name, (description, enabled, percentage) in SEEDS.items():
        flags.get_or_create(
            name=name,
            defaults={
                "description": description,
                "enabled": enabled,
                "rollout_percentage": percentage,
                "variants": [{"key": "on", "value": True}, {"key": "off", "value": False}],
                "salt": name,
            },
        )


class Migration(migrations.Migration):
    dependencies = [("flags", "0001_flags")]
    operations = [migrations.RunPython(add_seeds, migrations.RunPython.noop, elidable=False)]
