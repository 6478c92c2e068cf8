"""Questions to pg_catalog about what stands after migration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

OURS = "n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"

TENANT_TABLES = """
    select n.nspname, c.relname, a.attname
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and not a.attisdropped
    where c.relkind in ('r', 'p')
        and not c.relispartition
        and n.nspname = 'public'
        and case c.relname
            when 'enterprises' then a.attname = 'id'
            -- the guide calls it tenant_id in system_configs
            else a.attname in ('enterprise_id', 'tenant_id')
        end
    order by c.relname
"""

PARTITIONS = """
    select format('%I.%I', n.nspname, c.relname)
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where c.relispartition and c.relkind in ('r', 'p')
    order by 1
"""


@dataclass(frozen=True, slots=True)
class TenantTable:
    """A table with rows of tenants, and the column that tells whose."""

    name: str
    column: str

    def __str__(self) -> str:
        return self.name


def tenant_tables(connection: psycopg.Connection[Any]) -> list[TenantTable]:
    """Return every table that holds tenants' rows."""
    return [
        TenantTable(name, column)
        for _schema, name, column in connection.execute(TENANT_TABLES).fetchall()
    ]


def partitions(connection: psycopg.Connection[Any]) -> list[str]:
    """Return every partition, schema-qualified and quoted."""
    return [name for (name,) in connection.execute(PARTITIONS).fetchall()]


def insertable_columns(connection: psycopg.Connection[Any], table: TenantTable) -> list[str]:
    """Return the columns that an insert may name: all but the generated ones."""
    return [
        name
        for (name,) in connection.execute(
            "select attname from pg_attribute where attrelid = %s::regclass"
            " and attnum > 0 and not attisdropped and attgenerated = '' order by attnum",
            [f"public.{table.name}"],
        ).fetchall()
    ]


def updatable_columns(
    connection: psycopg.Connection[Any], table: TenantTable, role: str
) -> list[str]:
    """Return the columns that a role may update."""
    return [
        name
        for name in insertable_columns(connection, table)
        if connection.execute(
            "select has_column_privilege(%s, %s::regclass, %s, 'update')",
            [role, f"public.{table.name}", name],
        ).fetchone()
        == (True,)
    ]


def has_shared_rows(connection: psycopg.Connection[Any], table: TenantTable) -> bool:
    """Return whether tenants may read the rows that belong to nobody."""
    row = connection.execute(
        "select exists (select from pg_policies where tablename = %s and policyname = %s)",
        [table.name, "shared_rows"],
    ).fetchone()
    assert row is not None
    return bool(row[0])


FINGERPRINT = """
    select 'relation', format('%I.%I', n.nspname, c.relname),
        concat_ws(' ', c.relkind, c.relrowsecurity, c.relforcerowsecurity, c.reloptions,
            (
                select string_agg(acl::text, ',' order by acl::text)
                from unnest(c.relacl) as acl
            ))
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'public' and c.relkind <> 'i' and c.relkind <> 'I'
    union all
    select 'column', format('%I.%I', a.attrelid::regclass, a.attname),
        concat_ws(' ', row_number() over (partition by a.attrelid order by a.attnum),
            format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
            pg_get_expr(d.adbin, d.adrelid),
            (
                select string_agg(acl::text, ',' order by acl::text)
                from unnest(a.attacl) as acl
            ))
    from pg_attribute a
    join pg_class c on c.oid = a.attrelid
    join pg_namespace n on n.oid = c.relnamespace
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where n.nspname = 'public' and a.attnum > 0 and not a.attisdropped
        and c.relkind in ('r', 'p', 'v', 'm', 'c')
    union all
    select 'constraint', format('%s %I', coalesce(c.conrelid::regclass::text, ''), c.conname),
        pg_get_constraintdef(c.oid)
    from pg_constraint c join pg_namespace n on n.oid = c.connamespace
    where n.nspname = 'public'
    union all
    select 'index', format('%I', indexname), indexdef from pg_indexes where schemaname = 'public'
    union all
    select 'policy', format('%I %I', tablename, policyname),
        concat_ws(' ', permissive, roles, cmd, qual, with_check)
    from pg_policies where schemaname = 'public'
    union all
    select 'trigger', format('%s %I', t.tgrelid::regclass, t.tgname), pg_get_triggerdef(t.oid)
    from pg_trigger t where not t.tgisinternal
    union all
    select 'function', p.oid::regprocedure::text,
        concat_ws(' ', pg_get_functiondef(p.oid),
            (
                select string_agg(acl::text, ',' order by acl::text)
                from unnest(p.proacl) as acl
            ))
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'public' and p.prokind <> 'a'
        and not exists (
            select from pg_depend d where d.objid = p.oid and d.deptype = 'e'
        )
    union all
    select 'view', viewname, definition from pg_views where schemaname = 'public'
"""


def fingerprint(connection: psycopg.Connection[Any]) -> set[tuple[str, str, str]]:
    """Return all that migrations made in `public`, comparable between databases."""
    return {(kind, name, text) for kind, name, text in connection.execute(FINGERPRINT).fetchall()}
