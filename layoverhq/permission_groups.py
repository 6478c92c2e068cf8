"""Groups of permissions, seeded by migrations; afterwards they are the operators'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib.auth.management import create_permissions
from django.db.migrations.state import ProjectState

from layoverhq.seeds import Seed

# The migrations that a seeding migration depends on.
AUTH_MIGRATIONS = [
    ("auth", "0012_alter_user_first_name_max_length"),
    ("contenttypes", "0002_remove_content_type_name"),
]


class SeedGroups(Seed):
    """Add groups of an app's permissions, by name, unless they exist."""

    def __init__(self, groups: Mapping[str, Sequence[str]]) -> None:
        self.groups = groups

    def add(self, app_label: str, state: ProjectState, alias: str) -> None:
        # Django makes permissions after all migrations; these are needed now.
        config: Any = state.apps.get_app_config(app_label)
        config.models_module = True
        create_permissions(config, verbosity=0, using=alias, apps=state.apps)
        config.models_module = None
        group_model: Any = state.apps.get_model("auth", "Group")
        permissions: Any = state.apps.get_model("auth", "Permission")
        own = permissions.objects.using(alias).filter(content_type__app_label=app_label)
        for name, codenames in self.groups.items():
            group, made = group_model.objects.using(alias).get_or_create(name=name)
            if made:
                # The relation's own manager would ask the router, and so the runtime role.
                group_model.permissions.through.objects.using(alias).bulk_create(
                    group_model.permissions.through(group_id=group.pk, permission_id=pk)
                    for pk in own.filter(codename__in=codenames).values_list("pk", flat=True)
                )

    def describe(self) -> str:
        return f"Add the groups {', '.join(self.groups)}"

    @property
    def migration_name_fragment(self) -> str:
        return "groups"

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return type(self).__qualname__, [self.groups], {}
