"""Which schemas migrations visit: `public`, and those of dedicated enterprises."""

from __future__ import annotations

from typing import Any

from django.db import connections
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
        super().run_migrations(own_schemas() if isinstance(tenants, QuerySet) else tenants)


def get_executor(codename: str | None = None) -> type[DedicatedExecutor]:
    """Return the one executor; django-tenants asks by code name."""
    return DedicatedExecutor
