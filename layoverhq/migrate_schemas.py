"""Which schemas migrations visit: `public`, and those of dedicated enterprises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import QuerySet
from django_tenants.migration_executors.standard import StandardExecutor

from layoverhq.tenancy import OWNER


def own_schemas() -> list[str]:
    """Return the schemas besides `public` that migrations made tables in."""
    with connections[OWNER].cursor() as cursor:
        cursor.execute(
            "select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relname = 'django_migrations' and c.relkind = 'r'"
            " and n.nspname <> 'public' order by n.nspname"
        )
        return [name for (name,) in cursor.fetchall()]


class DedicatedExecutor(StandardExecutor):  # type: ignore[misc]
    """Skip pooled enterprises: they have a schema name reserved and no schema."""

    def run_migrations(self, tenants: Any = None) -> None:
        # All tenants come as a query, which would run as the runtime role and find none.
        schemas = own_schemas() if isinstance(tenants, QuerySet) else list(tenants or ())
        if own := [schema for schema in schemas if schema != self.PUBLIC_SCHEMA_NAME]:
            shared = _shared_migrations()
            for schema in own:
                _enter_migrations(schema, shared)
        super().run_migrations(schemas)


def _shared_migrations() -> list[tuple[str, str]]:
    """Return the migrations that make nothing in an own schema, as app and name.

    Those of shared apps are refused there by the router, one operation after another; to walk
    through them all the same takes seconds for each schema.
    """
    own = {apps.get_app_config(name.rpartition(".")[2]).label for name in settings.TENANT_APPS}
    return [key for key in MigrationLoader(None).disk_migrations if key[0] not in own]


def _enter_migrations(schema: str, migrations: Sequence[tuple[str, str]]) -> None:
    """Record migrations in an own schema as applied."""
    owner: Any = connections[OWNER]
    # With public beside it, the recorder would find the table there.
    owner.set_schema(schema, include_public=False)
    try:
        recorder = MigrationRecorder(owner)
        recorder.ensure_schema()
        applied = recorder.applied_migrations()
        recorder.migration_qs.bulk_create(
            recorder.Migration(app=app, name=name)
            for app, name in migrations
            if (app, name) not in applied
        )
    finally:
        owner.set_schema_to_public()


def get_executor(codename: str | None = None) -> type[DedicatedExecutor]:
    """Return the one executor; django-tenants asks by code name."""
    return DedicatedExecutor
