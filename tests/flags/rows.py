"""Flags and segments as rows, each of the test's own, that this process knows of."""

from __future__ import annotations

from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from apps.flags.runtime import flags
from tests.isolation import roles
from tests.kernel.test_snapshot import until
from tests.tenants.factories import unique

SWITCH = [{"key": "on", "value": True}, {"key": "off", "value": False}]


def version_now() -> int:
    """Return the version of the flags that is committed."""
    with roles.connect_as(roles.OPERATOR) as operator:
        row = operator.execute(
            "select version from snapshot_versions where name = 'flags'"
        ).fetchone()
    assert row is not None
    return int(row[0])


def catch_up() -> int:
    """Let this process know all that is committed; return that version."""
    version = version_now()
    flags.directory.get()
    until(lambda: flags.directory.version >= version)
    return version


def plant_flag(*, known: bool = True, **columns: Any) -> str:
    """Add a flag that tenants see and that is on for everybody; return its name."""
    name = unique("flag")
    standing = {
        "name": name,
        "enabled": True,
        "rollout_percentage": 100,
        "variants": SWITCH,
        "salt": name,
        "tenant_visible": True,
    }
    _insert("feature_flags", {**standing, **columns})
    if known:
        catch_up()
    return name


def plant_segment(**columns: Any) -> str:
    """Add a segment of nobody; return its name."""
    name = unique("segment")
    _insert("flag_segments", {"name": name, **columns})
    catch_up()
    return name


def change(name: str, *, known: bool = True, **columns: Any) -> int:
    """Change a flag; return the version of the flags that did."""
    _update("feature_flags", name, columns)
    return catch_up() if known else version_now()


def change_segment(name: str, *, known: bool = True, **columns: Any) -> int:
    """Change a segment; return the version of the flags that did."""
    _update("flag_segments", name, columns)
    return catch_up() if known else version_now()


def _insert(table: str, columns: dict[str, Any]) -> None:
    with roles.connect_as(roles.OPERATOR) as operator:
        operator.execute(
            sql.SQL("insert into {} ({}) values ({})").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
            ),
            list(map(_stored, columns.values())),
        )


def _update(table: str, name: str, columns: dict[str, Any]) -> None:
    with roles.connect_as(roles.OPERATOR) as operator:
        operator.execute(
            sql.SQL("update {} set {} where name = %s").format(
                sql.Identifier(table),
                sql.SQL(", ").join(
                    sql.SQL("{} = %s").format(sql.Identifier(column)) for column in columns
                ),
            ),
            [*map(_stored, columns.values()), name],
        )


def _stored(value: Any) -> Any:
    return Jsonb(value) if isinstance(value, dict | list) else value
