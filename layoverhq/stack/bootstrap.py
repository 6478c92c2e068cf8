"""The database and its three roles, on the embedded server or on any other PostgreSQL 18."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

OWNER = "layoverhq_owner"
OPERATOR = "layoverhq_operator"
APP = "layoverhq_app"
ROLES = (OWNER, OPERATOR, APP)

SQL = Path(__file__).parent / "sql"


def create_roles_and_database(superuser_dsn: str, name: str, passwords: Mapping[str, str]) -> None:
    """Create or correct the three roles, their passwords, and the database with its privileges.

    `passwords` names every role of ROLES. Idempotent. On a managed server, where nobody is a
    superuser, a role that may create roles and databases does as well.
    """
    with psycopg.connect(superuser_dsn, autocommit=True) as server:
        for role in ROLES:
            _make_role(server, role, passwords[role])
        _make_database(server, name)
    with psycopg.connect(make_conninfo(superuser_dsn, dbname=name)) as database:
        _run(
            database,
            "database_privileges",
            database=sql.Identifier(name),
            owner=sql.Identifier(OWNER),
            operator=sql.Identifier(OPERATOR),
            app=sql.Identifier(APP),
        )
        if _answer(database, "has_statistics", library=sql.Literal("%pg_stat_statements%")):
            _run(database, "statistics", operator=sql.Identifier(OPERATOR))


def _make_role(server: psycopg.Connection[Any], role: str, password: str) -> None:
    too_mighty = _answer(server, "role_standing", role=sql.Literal(role))
    statement = "create_role" if too_mighty is None else "set_password"
    _run(
        server,
        statement,
        role=sql.Identifier(role),
        password=sql.Literal(_as_sent(server, role, password)),
    )
    if too_mighty:
        _run(server, "restrict_role", role=sql.Identifier(role))


def _as_sent(server: psycopg.Connection[Any], role: str, password: str) -> str:
    """Return the password's verifier, which is harmless in the server's log and statistics."""
    if not _is_superuser(server):
        # Some managed services take a password in plain text only.
        return password
    return server.pgconn.encrypt_password(
        password.encode(), role.encode(), b"scram-sha-256"
    ).decode()


def _is_superuser(server: psycopg.Connection[Any]) -> bool:
    return server.pgconn.parameter_status(b"is_superuser") == b"on"


def _make_database(server: psycopg.Connection[Any], name: str) -> None:
    if _answer(server, "database_exists", database=sql.Literal(name)):
        return
    if not _is_superuser(server):
        _run(server, "lend_role", role=sql.Identifier(OWNER))
    _run(server, "create_database", database=sql.Identifier(name), owner=sql.Identifier(OWNER))


def _composed(name: str, /, **parts: sql.Composable) -> sql.Composed:
    text = (SQL / f"{name}.sql").read_text(encoding="utf-8")
    return sql.SQL(text).format(**parts)


def _run(connection: psycopg.Connection[Any], name: str, /, **parts: sql.Composable) -> None:
    connection.execute(_composed(name, **parts))


def _answer(connection: psycopg.Connection[Any], name: str, /, **parts: sql.Composable) -> object:
    """Return the first column of the only row, None where there is no row."""
    row = connection.execute(_composed(name, **parts)).fetchone()
    return None if row is None else row[0]
