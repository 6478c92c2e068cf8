"""One tenant against another, with bare SQL, as the runtime role and past its grants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import errors, sql

from tests.isolation import catalogue, roles
from tests.isolation.catalogue import TenantTable
from tests.isolation.planters import PLANTERS, plant
from tests.tenants import factories


@dataclass(frozen=True)
class Field:
    """Two tenants with rows in every table, and shared rows where a table has them."""

    attacker: UUID
    victim: UUID
    tables: list[TenantTable]
    shared: frozenset[str]


@pytest.fixture(scope="module")
def superuser() -> Iterator[psycopg.Connection[Any]]:
    with roles.connect_as_superuser() as connection:
        yield connection


@pytest.fixture(scope="module")
def app() -> Iterator[psycopg.Connection[Any]]:
    with roles.connect_as(roles.APP) as connection:
        yield connection


@pytest.fixture(scope="module")
def field(superuser: psycopg.Connection[Any]) -> Iterator[Field]:
    tables = catalogue.tenant_tables(superuser)
    missing = [table.name for table in tables if table.name not in PLANTERS]
    assert not missing, f"tests/isolation/planters.py plants no row in {missing}"
    shared = frozenset(
        table.name for table in tables if catalogue.has_shared_rows(superuser, table)
    )
    enterprises = [factories.make_enterprise().id, factories.make_enterprise().id]
    with roles.connect_as(roles.OPERATOR) as operator:
        for table in tables:
            for enterprise_id in enterprises:
                plant(operator, table.name, enterprise_id)
            if table.name in shared:
                plant(operator, table.name, None)
        yield Field(*enterprises, tables, shared)
        # Other tests count what is for sale to everybody.
        for statement in (
            "delete from flights where provider = 'planted'",
            "delete from flight_layovers where airport = 'QQQ'",
        ):
            if not shared.isdisjoint(statement.split()):
                operator.execute(statement)


def compose(text: str, table: TenantTable, **more: sql.Composable) -> sql.Composed:
    return sql.SQL(text).format(
        table=sql.Identifier(table.name), column=sql.Identifier(table.column), **more
    )


def column_of(connection: psycopg.Connection[Any], table: TenantTable) -> list[Any]:
    """Return whose rows the connection sees."""
    return [
        tenant
        for (tenant,) in connection.execute(
            compose("select distinct {column} from {table}", table)
        ).fetchall()
    ]


def count_of(superuser: psycopg.Connection[Any], table: TenantTable, tenant: UUID) -> int:
    row = superuser.execute(
        compose("select count(*) from {table} where {column} = %s", table), [tenant]
    ).fetchone()
    assert row is not None
    return int(row[0])


def shared_tables(field: Field) -> list[TenantTable]:
    """Return the tables with rows that belong to nobody."""
    return [table for table in field.tables if table.name in field.shared]


def may(connection: psycopg.Connection[Any], table: TenantTable, privilege: str) -> bool:
    row = connection.execute(
        "select has_table_privilege(%(role)s, %(table)s, %(privilege)s)"
        " or has_any_column_privilege(%(role)s, %(table)s, %(privilege)s)"
        if privilege != "delete"
        else "select has_table_privilege(%(role)s, %(table)s, %(privilege)s)",
        {"role": roles.APP, "table": f"public.{table.name}", "privilege": privilege},
    ).fetchone()
    assert row is not None
    return bool(row[0])


@contextmanager
def everything_granted(
    superuser: psycopg.Connection[Any], table: TenantTable, enterprise_id: UUID | None
) -> Iterator[psycopg.Connection[Any]]:
    """Act as the runtime role, were it granted all there is: the policies stand alone."""
    with roles.undone(superuser):
        superuser.execute(compose("grant all on {table} to layoverhq_app", table))
        superuser.execute("set local role layoverhq_app")
        superuser.execute(
            "select set_config('app.current_enterprise_id', %s, true)", [str(enterprise_id or "")]
        )
        yield superuser


def test_field__every_table__has_rows_of_both_tenants(field, superuser):
    # Without rows to see, all that follows would prove nothing.
    for table in field.tables:
        assert count_of(superuser, table, field.attacker), table
        assert count_of(superuser, table, field.victim), table


def test_read__with_own_context__shows_own_and_shared_rows_only(field, app, superuser):
    for table in field.tables:
        if not may(superuser, table, "select"):
            with roles.acting_as(app, field.attacker), pytest.raises(errors.InsufficientPrivilege):
                column_of(app, table)
            continue
        allowed = {field.attacker} | ({None} if table.name in field.shared else set())
        with roles.acting_as(app, field.attacker):
            assert set(column_of(app, table)) == allowed, table


def test_read__policies_alone__show_own_and_shared_rows_only(field, superuser):
    for table in field.tables:
        allowed = {field.attacker} | ({None} if table.name in field.shared else set())
        with everything_granted(superuser, table, field.attacker) as granted:
            assert set(column_of(granted, table)) == allowed, table


def test_read__naming_the_victim__finds_nothing(field, superuser):
    for table in field.tables:
        with everything_granted(superuser, table, field.attacker) as granted:
            assert count_of(granted, table, field.victim) == 0, table


@pytest.mark.parametrize("planned", ["seqscan", "indexscan"])
def test_read__leaky_predicate__meets_own_rows_only(field, superuser, planned):
    # A condition that tells what it sees must not run before the policy's.
    other = {"seqscan": "indexscan", "indexscan": "seqscan"}[planned]
    for table in field.tables:
        with everything_granted(superuser, table, field.attacker) as granted:
            granted.execute(sql.SQL("set local {} = off").format(sql.Identifier(f"enable_{other}")))
            granted.execute(
                compose(
                    "select count(*) from {table}"
                    " where 1 / ({column} is distinct from {victim})::int > 0",
                    table,
                    victim=sql.Literal(field.victim),
                )
            )


def test_read__without_context__shows_shared_rows_only(field, superuser, app):
    for table in field.tables:
        allowed = [None] if table.name in field.shared else []
        with everything_granted(superuser, table, None) as granted:
            assert column_of(granted, table) == allowed, table
        if may(superuser, table, "select"):
            assert column_of(app, table) == allowed, table


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "x",
        "null",
        "' or true --",
        "00000000-0000-0000-0000-000000000000",
        "' or enterprise_id is not null or '1'='1",
        "{victim}' or '1'='1",
        "{victim},{attacker}",
        "{{{victim}",
        "%",
        "{victim}/*",
    ],
)
def test_context__garbage__widens_nothing(field, app, value):
    text = value.replace("{victim}", str(field.victim)).replace("{attacker}", str(field.attacker))
    for table in field.tables:
        try:
            with roles.acting_as(app, text):
                seen = column_of(app, table)
        except (errors.InvalidTextRepresentation, errors.InsufficientPrivilege):
            continue
        assert set(seen) <= {None}, (table, text)


def names_of(connection: psycopg.Connection[Any], table: TenantTable) -> sql.Composed:
    """Return the list of columns of an insert into the table."""
    return sql.SQL(", ").join(map(sql.Identifier, catalogue.insertable_columns(connection, table)))


def copied_row(
    connection: psycopg.Connection[Any], table: TenantTable, tenant: sql.Composable
) -> sql.Composed:
    """Return an insert of a tenant's row, taken from a visible one and re-labelled."""
    return compose(
        "insert into {table} ({columns}) select {columns} from ("
        " select (jsonb_populate_record(r, jsonb_build_object({name}, {tenant}::uuid))).*"
        " from {table} r where {column} is not null limit 1) as copied",
        table,
        columns=names_of(connection, table),
        name=sql.Literal(table.column),
        tenant=tenant,
    )


def test_insert__for_another_tenant__refused(field, app, superuser):
    for table in field.tables:
        statement = copied_row(superuser, table, sql.Literal(field.victim))
        with roles.acting_as(app, field.attacker), pytest.raises(errors.InsufficientPrivilege):
            app.execute(statement)
        with (
            everything_granted(superuser, table, field.attacker) as granted,
            pytest.raises(errors.InsufficientPrivilege, match="row-level security"),
        ):
            granted.execute(statement)


def test_insert__of_a_shared_row__refused(field, superuser):
    for table in shared_tables(field):
        with (
            everything_granted(superuser, table, field.attacker) as granted,
            pytest.raises(errors.InsufficientPrivilege, match="row-level security"),
        ):
            granted.execute(copied_row(superuser, table, sql.SQL("null")))


def test_insert__without_context__refused(field, superuser):
    for table in field.tables:
        with roles.undone(superuser):
            superuser.execute(
                compose(
                    "create temporary table loot on commit drop as"
                    " select * from {table} where {column} = {victim} limit 1",
                    table,
                    victim=sql.Literal(field.victim),
                )
            )
            superuser.execute(compose("grant all on {table} to layoverhq_app", table))
            superuser.execute("grant all on loot to layoverhq_app")
            superuser.execute("set local role layoverhq_app")
            with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
                superuser.execute(
                    compose(
                        "insert into {table} ({columns}) select {columns} from loot",
                        table,
                        columns=names_of(superuser, table),
                    )
                )


def test_update__of_the_victims_rows__touches_none(field, app, superuser):
    for table in field.tables:
        statement = compose(
            "update {table} set {column} = {column} where {column} = {victim}"
            " or {column} is distinct from {attacker}",
            table,
            victim=sql.Literal(field.victim),
            attacker=sql.Literal(field.attacker),
        )
        with everything_granted(superuser, table, field.attacker) as granted:
            assert granted.execute(statement).rowcount == 0, table
        granted_columns = catalogue.updatable_columns(superuser, table, roles.APP)
        if table.column not in granted_columns:
            with roles.acting_as(app, field.attacker), pytest.raises(errors.InsufficientPrivilege):
                app.execute(statement)
        for column in granted_columns:
            with roles.acting_as(app, field.attacker):
                touched = app.execute(
                    compose(
                        "update {table} set {mine} = {mine} where {column} = {victim}"
                        " or {column} is distinct from {attacker}",
                        table,
                        mine=sql.Identifier(column),
                        victim=sql.Literal(field.victim),
                        attacker=sql.Literal(field.attacker),
                    )
                )
                assert touched.rowcount == 0, (table, column)


def test_update__moving_an_own_row_to_the_victim__refused(field, app, superuser):
    for table in field.tables:
        statement = compose(
            "update {table} set {column} = {victim} where {column} = {attacker}",
            table,
            victim=sql.Literal(field.victim),
            attacker=sql.Literal(field.attacker),
        )
        with (
            everything_granted(superuser, table, field.attacker) as granted,
            pytest.raises(errors.InsufficientPrivilege, match="row-level security"),
        ):
            granted.execute(statement)
        with roles.acting_as(app, field.attacker), pytest.raises(errors.InsufficientPrivilege):
            app.execute(statement)


def test_update__making_an_own_row_shared__refused(field, superuser):
    for table in shared_tables(field):
        with (
            everything_granted(superuser, table, field.attacker) as granted,
            pytest.raises(errors.InsufficientPrivilege, match="row-level security"),
        ):
            granted.execute(
                compose(
                    "update {table} set {column} = null where {column} = {mine}",
                    table,
                    mine=sql.Literal(field.attacker),
                )
            )


def test_delete__of_the_victims_rows__touches_none(field, app, superuser):
    for table in field.tables:
        statement = compose(
            "delete from {table} where {column} is distinct from {attacker}",
            table,
            attacker=sql.Literal(field.attacker),
        )
        with everything_granted(superuser, table, field.attacker) as granted:
            assert granted.execute(statement).rowcount == 0, table
        with roles.acting_as(app, field.attacker):
            if may(app, table, "delete"):
                assert app.execute(statement).rowcount == 0, table
            else:
                with pytest.raises(errors.InsufficientPrivilege):
                    app.execute(statement)
        assert count_of(superuser, table, field.victim), table


def test_select_for_update__of_the_victims_rows__locks_none(field, superuser):
    for table in field.tables:
        with everything_granted(superuser, table, field.attacker) as granted:
            locked = granted.execute(
                compose(
                    "select {column} from {table} where {column} = {victim} for update",
                    table,
                    victim=sql.Literal(field.victim),
                )
            )
            assert locked.fetchall() == [], table


def copied_out(app: psycopg.Connection[Any], statement: sql.Composed) -> set[str]:
    with app.cursor().copy(statement) as copy:
        return {bytes(row).decode().strip() for row in copy}


def test_copy_to__tenant_table__has_own_rows_only(field, app, superuser):
    for table in field.tables:
        whole = compose("copy {table} ({column}) to stdout", table)
        query = compose("copy (select {column} from {table}) to stdout", table)
        if not may(superuser, table, "select"):
            for statement in (whole, query):
                with pytest.raises(errors.InsufficientPrivilege):
                    copied_out(app, statement)
            continue
        allowed = {str(field.attacker)} | ({r"\N"} if table.name in field.shared else set())
        with roles.acting_as(app, field.attacker):
            assert copied_out(app, query) == allowed, table
            # Of a partitioned table, COPY takes the parent only, which is empty.
            assert copied_out(app, whole) <= allowed, table


def test_copy_from__into_a_tenant_table__refused(field, app, superuser):
    for table in field.tables:
        statement = compose("copy {table} ({column}) from stdin", table)
        with (
            roles.acting_as(app, field.attacker),
            pytest.raises((errors.InsufficientPrivilege, errors.FeatureNotSupported)),
            app.cursor().copy(statement) as copy,
        ):
            copy.write_row([field.victim])
        with (
            everything_granted(superuser, table, field.attacker) as granted,
            pytest.raises(errors.FeatureNotSupported, match="row-level security"),
            granted.cursor().copy(statement) as copy,
        ):
            copy.write_row([field.victim])


@pytest.mark.parametrize(
    "program", ["copy (select 1) to program 'true'", "copy (select 1) to '/tmp/x'"]
)
def test_copy__to_the_server__refused(app, program):
    with pytest.raises(errors.InsufficientPrivilege):
        app.execute(program)


@pytest.mark.parametrize(
    "statement",
    [
        "select from {partition}",
        "update {partition} set {column} = null",
        "delete from {partition}",
        "truncate {partition}",
        "insert into {partition} default values",
    ],
)
@pytest.mark.parametrize("role", [roles.APP, roles.OPERATOR])
def test_partitions__addressed_directly__refused(superuser, role, statement):
    with roles.connect_as(role) as connection:
        for partition in catalogue.partitions(superuser):
            name = sql.SQL(".").join(map(sql.Identifier, partition.split(".")))
            column = superuser.execute(
                "select attname from pg_attribute where attrelid = %s::regclass and attnum = 1",
                [partition],
            ).fetchone()
            assert column is not None
            text = sql.SQL(statement).format(partition=name, column=sql.Identifier(column[0]))
            with roles.undone(connection), pytest.raises(errors.InsufficientPrivilege):
                connection.execute(text)


def test_truncate__any_tenant_table__refused_to_both_roles(field):
    for role in (roles.APP, roles.OPERATOR):
        with roles.connect_as(role) as connection:
            for table in field.tables:
                with roles.undone(connection), pytest.raises(errors.InsufficientPrivilege):
                    connection.execute(compose("truncate {table} cascade", table))


def test_statistics__of_tenant_tables__are_not_shown(field, app, superuser):
    # Most common values are values: pg_stats hides them where policies bind the reader.
    for table in field.tables:
        superuser.execute(compose("analyze {table}", table))
    with roles.acting_as(app, field.attacker):
        seen = app.execute(
            "select tablename from pg_stats where tablename = any(%s)",
            [[table.name for table in field.tables]],
        ).fetchall()
    assert seen == []


@pytest.mark.parametrize(
    "statement",
    [
        "set role layoverhq_operator",
        "set role layoverhq_owner",
        "set role postgres",
        "set session authorization layoverhq_operator",
        "set session authorization postgres",
        "set row_security = off; select count(*) from api_keys",
        "alter table api_keys no force row level security",
        "alter table api_keys disable row level security",
        "drop policy tenant_isolation on api_keys",
        "create policy mine on api_keys using (true)",
        "alter role layoverhq_app bypassrls",
        "grant layoverhq_operator to layoverhq_app",
        "grant select on users_groups to public",
        "create table public.mine (id int)",
        "create temporary table mine (id int)",
        "create schema mine",
        "create extension dblink",
        "create function public.mine() returns int language sql return 1",
        "create or replace function public.current_enterprise_id() returns uuid"
        " language sql return null",
        "drop function public.current_enterprise_id() cascade",
        "create trigger mine after insert on travellers"
        " for each row execute function audit_trigger_function()",
        "create rule mine as on insert to travellers do instead nothing",
        "alter table travellers disable trigger all",
        "set session_replication_role = replica",
        "select pg_read_file('/etc/passwd')",
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'layoverhq_owner'"
        " union all select pg_terminate_backend(1) where false; reset role;"
        " set local role layoverhq_owner",
        "select * from pg_authid",
        "select passwd from pg_shadow",
    ],
)
def test_runtime_role__reaching_beyond__refused(app, statement):
    with (
        roles.undone(app),
        pytest.raises((errors.InsufficientPrivilege, errors.InvalidParameterValue)),
    ):
        app.execute(statement)


def test_row_security_off__on_a_tenant_table__is_an_error_not_a_way_out(field, app):
    with roles.acting_as(app, field.attacker):
        app.execute("set local row_security = off")
        with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
            app.execute("select id from api_keys")


def test_operators_functions__called_by_the_runtime_role__refused(app, superuser):
    closed = superuser.execute(
        "select p.oid::regprocedure::text,"
        " format('%%s(%%s)', p.oid::regproc, ("
        "   select string_agg('null::' || format_type(t, null), ', ')"
        "   from unnest(p.proargtypes) as t))"
        " from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname = 'public' and p.prorettype <> 'trigger'::regtype"
        " and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')"
        " and not has_function_privilege('layoverhq_app', p.oid, 'execute')",
        [],
    ).fetchall()
    called = {signature.partition("(")[0] for signature, _ in closed}
    assert called >= {
        "maintain_partitions", "ensure_month_partitions", "create_month_partition",
        "erase_audit_values", "enable_audit", "enable_tenant_isolation", "feed_snapshot",
    }  # fmt: skip
    for signature, call in closed:
        with roles.undone(app), pytest.raises(errors.InsufficientPrivilege):
            app.execute(sql.SQL("select " + call))
        assert signature


def test_users__runtime_role__cannot_read_password_hashes(field, app):
    for expression in ("password", "users.*", "users", "to_jsonb(users)"):
        with (
            roles.acting_as(app, field.attacker),
            pytest.raises(errors.InsufficientPrivilege),
        ):
            app.execute(sql.SQL("select {} from users").format(sql.SQL(expression)))
    with roles.acting_as(app, field.attacker), pytest.raises(errors.InsufficientPrivilege):
        app.execute("select id from users where password ^@ 'argon2'")
    with roles.acting_as(app, field.attacker), pytest.raises(errors.InsufficientPrivilege):
        app.execute("select id from users order by password")


def test_api_keys__runtime_role__reads_hashes_of_own_keys_only(field, app):
    with roles.acting_as(app, field.attacker):
        rows = app.execute("select enterprise_id, key_hash from api_keys").fetchall()
    assert {tenant for tenant, _ in rows} == {field.attacker}


@pytest.mark.parametrize(
    "table",
    [
        "users_groups", "users_user_permissions", "auth_group", "django_session",
        "django_admin_log", "django_celery_beat_periodictask", "partition_policies",
        "django_migrations", "offboardings", "flight_providers", "provider_routes",
        "provider_fetches", "provider_rejects",
    ],
)  # fmt: skip
def test_operators_tables__read_by_the_runtime_role__refused(app, table):
    with pytest.raises(errors.InsufficientPrivilege):
        app.execute(sql.SQL("select from {}").format(sql.Identifier(table)))


def test_snapshot_versions__written_by_the_runtime_role__refused(app):
    with pytest.raises(errors.InsufficientPrivilege):
        app.execute("update snapshot_versions set version = 0")


def test_foreign_keys__probed_by_a_tenant__tell_nothing_of_others_rows(field, app):
    # The policy answers before the constraint: known and unknown enterprises look alike.
    answers = []
    for target in (field.victim, "00000000-0000-7000-8000-000000000000"):
        with (
            roles.acting_as(app, field.attacker),
            pytest.raises(errors.InsufficientPrivilege) as refusal,
        ):
            app.execute(
                "insert into travellers (enterprise_id, reference, name) values (%s, 'x', 'x')",
                [target],
            )
        answers.append(str(refusal.value))
    assert answers[0] == answers[1]


def test_uniqueness__of_a_tenants_references__is_its_own(field, app):
    reference = factories.unique("R")
    for tenant in (field.attacker, field.victim):
        with app.transaction():
            app.execute("select set_config('app.current_enterprise_id', %s, true)", [str(tenant)])
            app.execute(
                "insert into travellers (enterprise_id, reference, name) values (%s, %s, 'x')",
                [tenant, reference],
            )


def test_on_conflict__with_the_victims_row__does_not_update_it(field, superuser):
    table = TenantTable("travellers", "enterprise_id")
    victims = superuser.execute(
        "select id, reference from travellers where enterprise_id = %s limit 1", [field.victim]
    ).fetchone()
    assert victims is not None
    with (
        everything_granted(superuser, table, field.attacker) as granted,
        pytest.raises((errors.InsufficientPrivilege, errors.UniqueViolation)),
    ):
        granted.execute(
            "insert into travellers (id, enterprise_id, reference, name)"
            " values (%s, %s, 'x', 'stolen')"
            " on conflict (id) do update set name = 'stolen'",
            [victims[0], field.attacker],
        )
    assert superuser.execute(
        "select name from travellers where id = %s", [victims[0]]
    ).fetchone() == ("Ann",)


def test_operator__tenants_rows__needs_its_explicit_policy(field, superuser):
    with roles.undone(superuser):
        superuser.execute("drop policy operator_access on public.api_keys")
        superuser.execute("set local role layoverhq_operator")
        assert superuser.execute("select count(*) from api_keys").fetchone() == (0,)


def test_operator__temporary_trigger__cannot_write_events_or_versions():
    for function in ("audit_trigger_function", "notify_snapshot"):
        with (
            roles.connect_as(roles.OPERATOR) as operator,
            roles.undone(operator),
        ):
            operator.execute("create temporary table forged (id uuid)")
            with pytest.raises(errors.InsufficientPrivilege):
                operator.execute(
                    sql.SQL(
                        "create trigger forged after insert on forged"
                        " for each row execute function {}('{{}}')"
                    ).format(sql.Identifier(function))
                )


def test_operator__shadowing_a_table_by_a_temporary_one__fools_no_definer_function(field):
    with roles.connect_as(roles.OPERATOR) as operator, roles.undone(operator):
        operator.execute(
            "create temporary table partition_policies"
            " (parent text, months_ahead int, months_kept int)"
        )
        operator.execute("insert into pg_temp.partition_policies values ('audit_log', 1, 0)")
        dropped = operator.execute(
            "select partition from public.maintain_partitions('2030-01-01')"
            " where action = 'dropped' and partition ^@ 'audit_log'"
        ).fetchall()
        assert dropped == []


def test_operator__shortening_the_audit_trails_keeping__refused():
    with roles.connect_as(roles.OPERATOR) as operator:
        for statement in (
            "update partition_policies set months_kept = 0 where parent = 'audit_log'",
            "update partition_policies set parent = 'audit_log' where parent = 'flights'",
            "insert into partition_policies values ('audit_log', 1, 0)",
            "delete from partition_policies",
        ):
            with roles.undone(operator), pytest.raises(errors.InsufficientPrivilege):
                operator.execute(statement)
