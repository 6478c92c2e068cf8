"""Rows that migrations add unless they stand: afterwards they are the operators'."""

from __future__ import annotations

from typing import Any

from django.db import router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django_tenants.utils import get_public_schema_name


def _is_wanted(schema_editor: BaseDatabaseSchemaEditor, app_label: str) -> bool:
    """Return whether the rows belong where the migration runs: `public`, and no own schema."""
    connection: Any = schema_editor.connection
    in_public = connection.schema_name == get_public_schema_name()
    return in_public and bool(router.allow_migrate(connection.alias, app_label))


class Seed(Operation):
    """Data that a migration adds: a deploy never overwrites an operator's edit."""

    reduces_to_sql = False
    reversible = True

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
        if _is_wanted(schema_editor, app_label):
            self.add(app_label, to_state, alias)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        alias = schema_editor.connection.alias
        if _is_wanted(schema_editor, app_label):
            self.remove(to_state, alias)

    def add(self, app_label: str, state: ProjectState, alias: str) -> None:
        """Add what is missing."""
        raise NotImplementedError

    def remove(self, state: ProjectState, alias: str) -> None:
        """Leave what operators may have changed; it goes with its tables."""
