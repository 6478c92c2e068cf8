"""What every process asks of its surroundings before it serves."""

from __future__ import annotations

from django.conf import settings
from django.core import checks
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.utils import Error as DatabaseError

from layoverhq.environment import EnvironmentProblem, require_reachable

SERVING = (DEFAULT_DB_ALIAS, "operator")


def verify() -> None:
    """Refuse to serve with a role that row-level security does not bind, or with weak secrets.

    Raises EnvironmentProblem with one line that names the variable.
    """
    if settings.PRODUCTION:
        for message in checks.run_checks(tags=["layoverhq"], include_deployment_checks=True):
            name, _, fault = message.msg.partition(" ")
            raise EnvironmentProblem(name, fault)
    require_reachable(*(settings.DATABASES[alias]["VARIABLE"] for alias in SERVING))
    for alias in SERVING:
        verify_isolation(alias)


def verify_isolation(alias: str) -> None:
    """Ask the database, as this alias's role, whether it holds tenants apart."""
    variable = settings.DATABASES[alias]["VARIABLE"]
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute(
                "select role_breaks_rls, role_sees_all, unguarded_tables"
                " from tenant_isolation_state()"
            )
            breaks_rls, sees_all, unguarded = cursor.fetchone()
    except DatabaseError as error:
        raise EnvironmentProblem(
            variable,
            "the database is not migrated: run `manage.py release` first"
            f" ({str(error).splitlines()[0]})",
        ) from error
    finally:
        connections[alias].close()
    if breaks_rls:
        raise EnvironmentProblem(
            variable,
            "its role is superuser or BYPASSRLS, so that row-level security would not bind it; "
            "use a role without either",
        )
    if sees_all and alias == DEFAULT_DB_ALIAS:
        raise EnvironmentProblem(
            variable,
            "its role is the operator's or the owner's, which sees every tenant's rows; "
            "use layoverhq_app's",
        )
    if unguarded:
        raise EnvironmentProblem(
            variable, f"tables without forced row-level security: {', '.join(unguarded)}"
        )
