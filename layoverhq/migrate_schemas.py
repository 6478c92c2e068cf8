"""Which schemas migrations visit: `public`, and those of dedicated enterprises."""

from __future__ import annotations

from typing import Any

from django.db import connections
from django_tenants.migration_executors.standard import StandardExecutor

from layoverhq.tenancy import OWNER


class DedicatedExecutor(StandardExecutor):  # type: ignore[misc]
    """Skip pooled enterprises: they have a schema name reserved and no schema."""

    def run_migrations(self, tenants: Any = None) -> None:
        with connections[OWNER].cursor() as cursor:
            cursor.execute("select nspname from pg_namespace")
            standing = {name for (name,) in cursor.fetchall()}
        super().run_migrations([name for name in tenants or [] if name in standing])


def get_executor(codename: str | None = None) -> type[DedicatedExecutor]:
    """Return the one executor; django-tenants asks by code name."""
    return DedicatedExecutor
