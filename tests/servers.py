"""The suite's own servers, and a database for each worker; loaded before Django's settings.

The schema is migrated once into a template, named by the digest of what makes it; every worker
gets a copy of that.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import psycopg
from psycopg import sql

from layoverhq.stack import Endpoints, Stack
from layoverhq.stack.bootstrap import create_roles_and_database
from layoverhq.stack.schema import drop_database, schema_digest

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE_PREFIX = "template_"
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")


def make_template(endpoints: Endpoints, connection: psycopg.Connection) -> str:
    """Return the template's name, migrating it if what it is made of changed."""
    wanted = TEMPLATE_PREFIX + schema_digest()
    standing = [
        name
        for (name,) in connection.execute(
            "select datname from pg_database where datname ^@ %s", [TEMPLATE_PREFIX]
        )
    ]
    for name in standing:
        if name != wanted:
            drop_database(connection, name)
    if wanted not in standing:
        draft = "draft_" + wanted
        drop_database(connection, draft)
        create_roles_and_database(endpoints.superuser_dsn(), draft, endpoints.passwords)
        subprocess.run(
            [sys.executable, "manage.py", "release", "--verbosity=0"],
            cwd=ROOT,
            env={**os.environ, **endpoints.environ(draft)},
            check=True,
        )
        connection.execute(
            sql.SQL("alter database {} rename to {}").format(
                sql.Identifier(draft), sql.Identifier(wanted)
            )
        )
    return wanted


def make_database(endpoints: Endpoints) -> dict[str, str]:
    """Make this worker's database afresh and return the environment that leads to it."""
    with psycopg.connect(endpoints.superuser_dsn(), autocommit=True) as connection:
        # Workers start at once: one of them makes the template.
        connection.execute("select pg_advisory_lock(hashtextextended('template', 0))")
        template = make_template(endpoints, connection)
        name = f"test_{WORKER}"
        drop_database(connection, name)
        connection.execute(
            sql.SQL("create database {} template {} owner layoverhq_owner").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        create_roles_and_database(endpoints.superuser_dsn(), name, endpoints.passwords)
    environ = endpoints.environ(name)
    number = int(WORKER.removeprefix("gw")) + 1 if WORKER.startswith("gw") else 0
    environ["REDIS_URL"] = environ["REDIS_URL"].rsplit("/", 1)[0] + f"/{number}"
    return environ


os.environ["ENVIRONMENT"] = "test"
os.environ["ENCRYPTION_KEYS"] = f"test:{base64.b64encode(os.urandom(32)).decode()}"
os.environ["VAR_DIR"] = str(ROOT / "var" / "test" / "files" / WORKER)
SERVERS = Stack(ROOT / "var" / "test", durable=False)
# Whoever starts the servers stops them: with xdist that is the controller.
STARTED_HERE = not any(server.pid for server in SERVERS.status())
ENDPOINTS = SERVERS.start()
os.environ.update(make_database(ENDPOINTS))


def pytest_unconfigure() -> None:
    """Stop the servers that this run started."""
    if STARTED_HERE:
        SERVERS.stop()
