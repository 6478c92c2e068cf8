"""The database backend: django-tenants', with everything that is set made transaction-local."""

from __future__ import annotations

from typing import Any

import structlog
from django.db.utils import InterfaceError, OperationalError
from django_tenants.postgresql_backend import base as django_tenants_backend
from django_tenants.utils import get_tenant_database_alias

from layoverhq import context
from layoverhq.environment import EnvironmentProblem

log = structlog.get_logger(__name__)

# The names are the database's interface: policies and the audit trigger read them.
SETTINGS = {
    "app.current_enterprise_id": "enterprise_id",
    "app.current_user_id": "actor_id",
    "app.current_ip": "ip",
    "app.current_user_agent": "user_agent",
    "app.request_id": "request_id",
    "app.reason": "reason",
}


def begin_statement(
    *, timeout_ms: int = 0, one_snapshot: bool = False
) -> tuple[str, dict[str, str]]:
    """Return BEGIN with the current context as one text, and its parameters by name.

    Everything is set with `is_local`, so that nothing outlives the transaction on a connection
    that the next client may get. `one_snapshot`: it only reads, and all of it the same state.
    """
    begin = "begin isolation level repeatable read, read only" if one_snapshot else "begin"
    bound = context.current()
    pairs = [
        (name, str(value)) for name, field in SETTINGS.items() if (value := getattr(bound, field))
    ]
    if bound.enterprise_id:
        quoted = '"' + bound.schema.replace('"', '""') + '", public' if bound.schema else "public"
        pairs.append(("search_path", quoted))
    if timeout_ms:
        pairs.append(("statement_timeout", str(timeout_ms)))
    if not pairs:
        return begin, {}
    parameters: dict[str, str] = {}
    calls = []
    for number, (name, value) in enumerate(pairs):
        parameters |= {f"setting_{number}": name, f"value_{number}": value}
        calls.append(f"set_config(%(setting_{number})s, %(value_{number})s, true)")
    return f"{begin}; select {', '.join(calls)}", parameters


class NotConfigured(EnvironmentProblem, OperationalError):
    """There is no URL, so that the database is as good as away."""


class DatabaseWrapper(django_tenants_backend.DatabaseWrapper):
    """Send the context with BEGIN, in one round trip; never set anything for the session."""

    def get_connection_params(self) -> dict[str, Any]:
        if not self.settings_dict["NAME"]:
            raise NotConfigured(
                self.settings_dict["VARIABLE"],
                "is not set, and no embedded servers were started here (`make up` does)",
            )
        return super().get_connection_params()  # type: ignore[no-any-return]

    def _handle_search_path(self, cursor: Any = None) -> None:
        # Migrations run in one tenant's schema at a time, on a connection that serves nobody else.
        # Everywhere else the search path belongs to the transaction: see begin_statement.
        if self.alias == get_tenant_database_alias():
            super()._handle_search_path(cursor)

    def _start_transaction_under_autocommit(self) -> None:
        statement, parameters = begin_statement()
        self.run_reconnecting(statement, parameters)

    def run_reconnecting(self, statement: str, parameters: Any) -> Any:
        """Run the first statement of a transaction, once more on a fresh connection if needed.

        A connection that died while idle (the server restarted) is found out here, where
        nothing has been done yet. Returns the open cursor.
        """
        try:
            return self._run(statement, parameters)
        except (OperationalError, InterfaceError):
            if self.connection is None or not self.connection.closed:
                raise
            log.warning("database_reconnect", alias=self.alias)
            self.close()
            self.connect()
            return self._run(statement, parameters)

    def _run(self, statement: str, parameters: Any) -> Any:
        cursor = self.cursor()
        try:
            cursor.execute(statement, parameters or None)
        except BaseException:
            cursor.close()
            raise
        return cursor
