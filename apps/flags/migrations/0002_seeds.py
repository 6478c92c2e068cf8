from typing import Any

from django.db import migrations, router
from django.utils import timezone

from layoverhq.schedules import BEAT_MIGRATION, SeedSchedule

# The guide's four: description, enabled, rollout in per cent.
SEEDS = {
    "enhanced_search": ("Enhanced search with ML recommendations", True, 100),
    "real_time_weather": ("Real-time weather integration", True, 50),
    "advanced_analytics": ("Advanced analytics dashboard", False, 0),
    "white_label_v2": ("Next generation white-label features", False, 5),
}
VARIANTS = [{"key": "on", "value": True}, {"key": "off", "value": False}]


def add_seeds(apps: Any, schema_editor: Any) -> None:
    """Add the flags that are missing; operators may change them afterwards."""
    alias = schema_editor.connection.alias
    if not router.allow_migrate(alias, "flags"):
        return
    flags = apps.get_model("flags", "FeatureFlag").objects.using(alias)
    versions = apps.get_model("flags", "FlagVersion").objects.using(alias)
    for name, (description, enabled, percentage) in SEEDS.items():
        flag, made = flags.get_or_create(
            name=name,
            defaults={
                "description": description,
                "enabled": enabled,
                "rollout_percentage": percentage,
                "variants": VARIANTS,
                "salt": name,
                "tenant_visible": True,
            },
        )
        if not made:
            continue
        versions.create(
            flag=flag,
            number=1,
            base_number=0,
            status="active",
            activated_at=timezone.now(),
            reason="seed",
            definition={
                "description": description,
                "enabled": enabled,
                "rollout_percentage": percentage,
                "weights": {},
                "conditions": {},
                "rules": [],
                "prerequisites": [],
                "tenant_overrides": {},
                "user_overrides": {},
                "variants": VARIANTS,
                "on_variant": "on",
                "off_variant": "off",
                "bucketing_unit": "user",
                "namespace": None,
                "namespace_range": None,
                "steps": [],
                "is_protected": False,
                "is_archived": False,
                "tenant_visible": True,
                "owner": None,
                "expires_date": None,
                "tags": [],
            },
        )


class Migration(migrations.Migration):
    dependencies = [("flags", "0001_flags"), BEAT_MIGRATION]
    operations = [
        migrations.RunPython(add_seeds, migrations.RunPython.noop, elidable=False),
        SeedSchedule(
            "Flags: take scheduled steps",
            task="apps.flags.tasks.apply_schedules",
            crontab="* * * * *",
            help_text="Publishes scheduled versions of flags, and takes the steps of rollouts.",
        ),
    ]
