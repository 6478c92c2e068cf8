"""Install readable `.sql` files as reversible, digest-pinned migration operations."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from django.apps import apps
from django.db import router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState


class SQLDigestMismatch(Exception):
    """No text of the SQL file has the digest that the migration pins."""


def sql_folder(app_label: str) -> Path:
    """Return the folder that holds an app's SQL."""
    return Path(apps.get_app_config(app_label).path) / "sql"


def digest_of(text: str) -> str:
    """Return the digest that a migration pins: 16 hexadecimal digits of SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def pinned_text(app_label: str, name: str, digest: str) -> str:
    """Return the SQL with this digest: today's text, or the one that a later release replaced."""
    folder = sql_folder(app_label)
    for path in (folder / f"{name}.sql", folder / "replaced" / f"{name}.{digest}.sql"):
        if path.exists() and digest_of(text := path.read_text()) == digest:
            return text
    found = digest_of((folder / f"{name}.sql").read_text())
    raise SQLDigestMismatch(
        f"{app_label}/sql/{name}.sql has digest {found}, but a migration pins {digest}: "
        "pin the new text (before its first release) or move the old one to sql/replaced/ "
        "and install the new one in a new migration"
    )


class InstallSQL(Operation):
    """Run `<app>/sql/<name>.sql`; going back, run `<name>.drop.sql` or the text that it replaced.

    `digest` pins the text. `replaces` is the digest of the text that stood there before.
    """

    reduces_to_sql = True
    reversible = True

    def __init__(self, app_label: str, name: str, *, digest: str, replaces: str = "") -> None:
        self.app_label = app_label
        self.name = name
        self.digest = digest
        self.replaces = replaces

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Leave the model state alone: a CreateModel beside this operation tells it."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        self._run(schema_editor, app_label, pinned_text(self.app_label, self.name, self.digest))

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        if self.replaces:
            text = pinned_text(self.app_label, self.name, self.replaces)
        else:
            text = (sql_folder(self.app_label) / f"{self.name}.drop.sql").read_text()
        self._run(schema_editor, app_label, text)

    def _run(self, schema_editor: BaseDatabaseSchemaEditor, app_label: str, text: str) -> None:
        # The routers decide for SQL as they do for models: not every app lives in every schema.
        if router.allow_migrate(schema_editor.connection.alias, app_label):
            schema_editor.execute(text, params=None)

    def describe(self) -> str:
        return f"Install {self.app_label}/sql/{self.name}.sql"

    @property
    def migration_name_fragment(self) -> str:
        return self.name

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        keywords = {"digest": self.digest}
        if self.replaces:
            keywords["replaces"] = self.replaces
        return type(self).__qualname__, [self.app_label, self.name], keywords
