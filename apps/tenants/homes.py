"""Where the rows of the apps live that can have an own schema (settings.TENANT_APPS)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.utils import OperationalError
from psycopg import errors

from layoverhq import context
from layoverhq.errors import Unavailable
from layoverhq.tenancy import TenantRef, tenant_scope


class EnterpriseMoving(Unavailable):
    """The enterprise's rows are being moved."""

    code = "enterprise_moving"


@contextmanager
def home_scope(tenant: TenantRef, *, actor_id: UUID | None = None) -> Iterator[TenantRef]:
    """Run the block as tenant_scope does, where the enterprise's own rows are; yields that place.

    Everything that touches TENANT_APPS' tables runs in one. `tenant` may be of before a move: the
    database says where the rows are now, and they stay there until the block ends. Raises
    EnterpriseMoving where a move takes longer than two seconds.
    """
    with tenant_scope(tenant, actor_id=actor_id):
        with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            try:
                cursor.execute("select enter_home()")
            except OperationalError as error:
                if isinstance(error.__cause__, errors.LockNotAvailable):
                    raise EnterpriseMoving from error
                raise
            (home,) = cursor.fetchone()
        if home is None:
            raise LookupError(f"there is no enterprise {tenant.id}")
        with context.bind(schema=home):
            yield TenantRef(tenant.id, home)
