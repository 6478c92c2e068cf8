"""Groups of permissions, seeded by migrations; afterwards they are the operators'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib.auth.management import create_permissions
from django.db import router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

# The migrations that a seeding migration depends on.
AUTH_MIGRATIONS = [
    ("auth", "0012_alter_user_first_name_max_length"),
    ("contenttypes", "0002_remove_content_type_name"),
]


class SeedGroups(Operation):
    """Add groups of an app's permissions, by name, unless they exist."""

    reduces_to_sql = False
    reversible = True

    def __init__(self, groups: Mapping[str, Sequence[str]]) -> None:
        self.groups = groups

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Leave the model state alone: this is data."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        alias = schema_editor.connection.alias
        if not router.allow_migrate(alias, app_label):
            return
        # Django makes permissions after all migrations; these are needed now.
        config: Any = to_state.apps.get_app_config(app_label)
        config.models_module = True
        create_permissions(config, verbosity=0, using=alias, apps=to_state.apps)
        config.models_module = None
        group_model: Any = to_state.apps.get_model("auth", "Group")
        permissions: Any = to_state.apps.get_model("auth", "Permission")
        own = permissions.objects.using(alias).filter(content_type__app_label=app_label)
        for name, codenames in self.groups.items():
            group, made = group_model.objects.using(alias).get_or_create(name=name)
            if made:
                # The relation's own manager would ask the router, and so the runtime role.
                group_model.permissions.through.objects.using(alias).bulk_create(
                    group_model.permissions.through(group_id=group.pk, permission_id=pk)
                    for pk in own.filter(codename__in=codenames).values_list("pk", flat=True)
                )

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Leave the groups: operators may have changed them, and people belong to them."""

    def describe(self) -> str:
        return f"Add the groups {', '.join(self.groups)}"

    @property
    def migration_name_fragment(self) -> str:
        return "groups"

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return type(self).__qualname__, [self.groups], {}
