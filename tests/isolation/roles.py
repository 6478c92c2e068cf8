"""Bare connections of each database role, past Django and past any context."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connections

from tests.servers import ENDPOINTS

APP = "layoverhq_app"
OPERATOR = "layoverhq_operator"
OWNER = "layoverhq_owner"


def database_name() -> str:
    """Return this worker's database."""
    return str(connections["default"].settings_dict["NAME"])


def connect_as(role: str, database: str = "") -> psycopg.Connection[Any]:
    """Open a connection that logs in as the role, in autocommit."""
    return psycopg.connect(ENDPOINTS.url(role, database or database_name()), autocommit=True)


def connect_as_superuser(database: str = "") -> psycopg.Connection[Any]:
    """Open a connection of the server's superuser, in autocommit."""
    return psycopg.connect(ENDPOINTS.superuser_dsn(database or database_name()), autocommit=True)


@contextmanager
def undone(connection: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """Run the block in a transaction that is always rolled back."""
    with connection.transaction(force_rollback=True):
        yield connection


@contextmanager
def acting_as(
    connection: psycopg.Connection[Any], enterprise_id: object | None
) -> Iterator[psycopg.Connection[Any]]:
    """Run the block in a transaction with this enterprise's context, then roll it back."""
    with undone(connection):
        connection.execute(
            "select set_config('app.current_enterprise_id', %s, true)", [str(enterprise_id or "")]
        )
        yield connection


def terminate(pid: int) -> None:
    """End a server process and wait until it is gone."""
    with connect_as_superuser() as superuser:
        superuser.execute("select pg_terminate_backend(%s, 5000)", [pid])
