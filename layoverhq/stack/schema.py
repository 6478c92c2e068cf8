"""What a migrated database is made of: for those who keep one until that changes."""

import hashlib
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

ROOT = Path(__file__).resolve().parent.parent.parent


def schema_digest() -> str:
    """Return a digest of everything that a migrated database depends on."""
    digest = hashlib.sha256()
    for folder in ("layoverhq", "apps"):
        for path in sorted((ROOT / folder).rglob("*")):
            made_of = path.suffix == ".sql" or path.parent.name in {"migrations", "schema"}
            if made_of and path.is_file() and path.suffix in {".sql", ".py"}:
                digest.update(path.relative_to(ROOT).as_posix().encode())
                digest.update(path.read_bytes())
    digest.update((ROOT / "requirements.txt").read_bytes())
    return digest.hexdigest()[:12]


def drop_database(connection: psycopg.Connection[Any], name: str) -> None:
    """Drop a database that may be in use."""
    connection.execute(
        sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
    )
