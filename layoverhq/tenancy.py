"""How a tenant and a database role are chosen: by scope, never by session."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias, cast
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import Model
from django.db.utils import OperationalError
from psycopg.errors import QueryCanceled

from layoverhq import context
from layoverhq.errors import QueryTimeout
from layoverhq.postgres.base import DatabaseWrapper, begin_statement

OPERATOR = "operator"
OWNER = "owner"

# What runs a query with its parameters, by name, and returns the rows.
Fetch: TypeAlias = Callable[[str, Mapping[str, Any]], list[tuple[Any, ...]]]

_alias: ContextVar[str] = ContextVar("database_alias", default=DEFAULT_DB_ALIAS)


class ScopeConflict(RuntimeError):
    """A tenant scope was opened inside another tenant's scope or a bare transaction."""


@dataclass(frozen=True, slots=True)
class TenantRef:
    """What a scope needs to know of an enterprise; `schema` is empty for a pooled one."""

    id: UUID
    schema: str = ""


class RoleRouter:
    """Send queries to the role that the running code may use; migrate with the owner only."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str:
        return _alias.get()

    def db_for_write(self, model: type[Model], **hints: Any) -> str:
        return _alias.get()

    def allow_relation(self, one: Model, other: Model, **hints: Any) -> bool:
        # Three roles, one database.
        return True

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return None if db == OWNER else False


def current_alias() -> str:
    """Return the alias that the running code uses."""
    return _alias.get()


def enter_operator() -> None:
    """Use the operator's role from here on: for processes that do nothing else, such as beat."""
    _alias.set(OPERATOR)


@contextmanager
def operator_scope(**facts: Any) -> Iterator[None]:
    """Run the block as the operator's role; `facts` go into the context (actor_id, reason …)."""
    token = _alias.set(OPERATOR)
    try:
        with context.bind(enterprise_id=None, schema="", **facts):
            yield
    finally:
        _alias.reset(token)


def atomic() -> transaction.Atomic:
    """Return a transaction on the current alias (Django's own default is always `default`)."""
    return transaction.atomic(using=_alias.get())


@contextmanager
def tenant_scope(tenant: TenantRef, *, actor_id: UUID | None = None) -> Iterator[None]:
    """Run the block as this tenant: a transaction of the runtime role that sees its rows only.

    A scope may be nested in one of the same tenant, and joins it.
    """
    if connections[DEFAULT_DB_ALIAS].in_atomic_block:
        if context.current().enterprise_id != tenant.id:
            raise ScopeConflict(
                "a tenant scope is a transaction of its own: open it outside of other "
                "tenants' scopes and of atomic()"
            )
        yield
        return
    facts: dict[str, Any] = {"enterprise_id": tenant.id, "schema": tenant.schema}
    if actor_id:
        facts["actor_id"] = actor_id
    token = _alias.set(DEFAULT_DB_ALIAS)
    try:
        with context.bind(**facts), transaction.atomic(using=DEFAULT_DB_ALIAS):
            yield
    finally:
        _alias.reset(token)


def lead_to_schema(schema: str) -> None:
    """Let the operator's running transaction find an own schema's tables from here on.

    `schema` is empty for `public`.
    """
    path = '"' + schema.replace('"', '""') + '", public' if schema else "public"
    with connections[OPERATOR].cursor() as cursor:
        cursor.execute("select set_config('search_path', %s, true)", [path])


@contextmanager
def within_schema(schema: str) -> Iterator[None]:
    """Run the block in a transaction of the operator's role that finds an own schema's tables."""
    with transaction.atomic(using=OPERATOR):
        lead_to_schema(schema)
        yield


def fetch_in_scope(
    tenant: TenantRef, query: str, parameters: Mapping[str, Any], *, timeout_seconds: float
) -> list[tuple[Any, ...]]:
    """Run one reading query as this tenant in one round trip: BEGIN, context, query, COMMIT.

    `parameters` are bound by name (`%(name)s`). Raises QueryTimeout past `timeout_seconds`.
    """
    with context.bind(enterprise_id=tenant.id, schema=tenant.schema):
        begin, settings = begin_statement(timeout_ms=int(timeout_seconds * 1000))
    with _transaction_by_hand(timeout_seconds) as connection:
        cursor = connection.run_reconnecting(
            f"{begin};\n{query};\ncommit", {**settings, **parameters}
        )
        return _rows_of_third(cursor)


@contextmanager
def snapshot_scope(tenant: TenantRef, *, timeout_seconds: float) -> Iterator[Fetch]:
    """Read as this tenant: all that is asked for in the block sees the same state.

    Yields a function of a query and its parameters (`%(name)s`). The first call has to be a
    query, and opens the transaction in its own round trip; nothing can be written. Raises
    QueryTimeout for a query past `timeout_seconds`.
    """
    with context.bind(enterprise_id=tenant.id, schema=tenant.schema):
        begin, settings = begin_statement(timeout_ms=int(timeout_seconds * 1000), one_snapshot=True)
    with _transaction_by_hand(timeout_seconds) as connection:
        begun = False

        def fetch(query: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
            nonlocal begun
            if not begun:
                begun = True
                return _rows_of_third(
                    connection.run_reconnecting(f"{begin};\n{query}", {**settings, **parameters})
                )
            with connection.cursor() as cursor:
                cursor.execute(query, parameters)
                rows = cursor.fetchall() if cursor.description else []
                return cast(list[tuple[Any, ...]], rows)

        yield fetch


@contextmanager
def _transaction_by_hand(timeout_seconds: float) -> Iterator[DatabaseWrapper]:
    """Hand out the runtime role's connection; what is open on it in the end is rolled back."""
    connection = cast(DatabaseWrapper, connections[DEFAULT_DB_ALIAS])
    if connection.in_atomic_block:
        raise ScopeConflict("this is a transaction of its own: open it outside of others")
    connection.ensure_connection()
    try:
        yield connection
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise QueryTimeout(f"The query took longer than {timeout_seconds:g} s.") from error
        raise
    finally:
        # A failed statement leaves the explicit transaction open; ending it is free otherwise.
        if connection.connection is not None and not connection.connection.closed:
            connection.connection.rollback()


def _rows_of_third(cursor: Any) -> list[tuple[Any, ...]]:
    """Return what came after BEGIN and its settings."""
    with cursor:
        cursor.nextset()
        cursor.nextset()
        return cast(list[tuple[Any, ...]], cursor.fetchall())
