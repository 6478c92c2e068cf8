"""What stands in pg_catalog after migration holds tenants apart, newcomers included."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import SeparateDatabaseAndState
from django.db.migrations.operations.base import Operation
from psycopg import sql

from layoverhq.migrations import InstallSQL, digest_of, sql_folder
from tests.isolation import catalogue, roles
from tests.servers import ENDPOINTS, drop_database, make_template

PROJECT_APPS = [
    config
    for config in apps.get_app_configs()
    if Path(config.path).is_relative_to(settings.BASE_DIR)
    and ".venv" not in Path(config.path).parts
]


@pytest.fixture(scope="module")
def database() -> Iterator[psycopg.Connection[Any]]:
    with roles.connect_as_superuser() as connection:
        yield connection


def names(connection: psycopg.Connection[Any], query: str, *parameters: Any) -> list[str]:
    """Return the first column: what a test expects to be empty, and shows where it is not."""
    return [row[0] for row in connection.execute(query, parameters).fetchall()]


def test_tenant_tables__catalogue__are_found(database):
    found = {table.name for table in catalogue.tenant_tables(database)}
    assert found >= {
        "enterprises", "domains", "users", "api_keys", "offboardings", "travellers", "audit_log",
        "system_configs", "config_release_tenants", "snapshot_changes", "flag_exposures",
        "tracked_events", "offer_imports", "offer_rejects", "enterprise_moves", "saved_searches",
        "trips", "price_alerts", "alert_events", "webhook_endpoints", "webhook_deliveries",
        "provider_routes", "provider_fetches", "offer_confirmations",
    }  # fmt: skip


def test_tenant_tables__all__have_row_level_security_enabled_and_forced(database):
    for table in catalogue.tenant_tables(database):
        row = database.execute(
            "select relrowsecurity, relforcerowsecurity from pg_class where oid = %s::regclass",
            [f"public.{table.name}"],
        ).fetchone()
        assert row == (True, True), table


def test_tenant_tables__all__have_the_one_policy_on_their_tenant_column(database):
    for table in catalogue.tenant_tables(database):
        row = database.execute(
            "select permissive, roles::text, cmd, qual, with_check from pg_policies"
            " where schemaname = 'public' and tablename = %s and policyname = 'tenant_isolation'",
            [table.name],
        ).fetchone()
        condition = f"({table.column} = ( SELECT current_enterprise_id() AS current_enterprise_id))"
        assert row == ("PERMISSIVE", "{layoverhq_app}", "ALL", condition, condition), table


def test_policies__for_the_runtime_role__are_none_but_the_known(database):
    # Permissive policies add up: one careless newcomer would open a table.
    assert not names(
        database,
        "select format('%%I on %%I: %%s', policyname, tablename, qual) from pg_policies"
        " where (roles && '{layoverhq_app,public}')"
        " and policyname <> 'tenant_isolation'"
        " and not (policyname = 'shared_rows' and cmd = 'SELECT'"
        "   and qual in ('(enterprise_id IS NULL)', '(tenant_id IS NULL)'))",
    )


def test_policies__operator_access__is_for_operator_and_owner_only(database):
    assert not names(
        database,
        "select tablename from pg_policies where policyname = 'operator_access'"
        " and roles <> '{layoverhq_operator,layoverhq_owner}'",
    )


def test_partitions__all__are_granted_to_nobody(database):
    assert not names(
        database,
        "select c.oid::regclass::text from pg_class c"
        " cross join lateral aclexplode(c.relacl) as grants"
        " where c.relispartition and grants.grantee <> c.relowner",
    )


def test_materialised_views_and_sequences__all__are_granted_to_no_login_role_of_ours(database):
    # Identity columns need no grant on their sequence; the operator's come from Django's own.
    assert not names(
        database,
        "select c.oid::regclass::text from pg_class c"
        " cross join lateral aclexplode(c.relacl) as grants"
        " where c.relkind in ('m', 'S') and grants.grantee <> c.relowner",
    )


def test_relations__all__grant_truncate_references_and_triggers_to_nobody(database):
    assert not names(
        database,
        "select format('%%s: %%s to %%s', c.oid::regclass, grants.privilege_type,"
        " grants.grantee::regrole) from pg_class c"
        " cross join lateral aclexplode(c.relacl) as grants"
        " join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"
        " and grants.grantee <> c.relowner"
        " and grants.privilege_type in ('TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN')",
    )


def test_relations__none__is_granted_to_public(database):
    assert not names(
        database,
        "select c.oid::regclass::text from pg_class c"
        " cross join lateral aclexplode(c.relacl) as grants"
        " join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"
        " and grants.grantee = 0"
        " and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')",
    )


def test_default_privileges__none__stand(database):
    # They would grant each new partition behind its parent's policy.
    assert not names(database, "select oid::text from pg_default_acl")


def test_foreign_keys__between_tenant_tables__include_the_tenant(database):
    # A plain one lets one tenant's delete cascade into another's row. The one known deletes
    # nothing, names operators, who are nobody's users, and is closed to tenants by its table's
    # trigger: tests/configs/test_sql.py tries.
    assert not names(
        database,
        """
        select format('%%s.%%I', k.conrelid::regclass, k.conname)
        from pg_constraint k
        join pg_attribute here on here.attrelid = k.conrelid
            and here.attname in ('enterprise_id', 'tenant_id') and not here.attisdropped
        join pg_attribute there on there.attrelid = k.confrelid
            and case k.confrelid::regclass::text
                when 'enterprises' then there.attname = 'id'
                else there.attname in ('enterprise_id', 'tenant_id')
            end
            and not there.attisdropped
        where k.contype = 'f'
            and not exists (
                select
                from unnest(k.conkey, k.confkey) as pair (mine, theirs)
                where pair.mine = here.attnum and pair.theirs = there.attnum
            )
            and not (
                k.conrelid = 'public.system_configs'::regclass
                and k.confrelid = 'public.users'::regclass
                and k.confdeltype = 'a'
            )
        """,
    )


def test_views__all__are_security_invoker(database):
    assert not names(
        database,
        "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind = 'v' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"
        " and not coalesce(c.reloptions, '{}') && '{security_invoker=true,security_invoker=on}'"
        " and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')",
    )


def test_security_definer_functions__all__set_search_path_and_end_it_with_pg_temp(database):
    assert not names(
        database,
        "select p.oid::regprocedure::text from pg_proc p"
        " join pg_namespace n on n.oid = p.pronamespace"
        " where p.prosecdef and n.nspname !~ '^pg_' and not exists ("
        "   select from unnest(p.proconfig) as setting"
        "   where setting ~ '^search_path=.*pg_temp$')",
    )


def test_security_definer_functions__all__are_closed_to_public(database):
    # A trigger function as well: whoever may make a temporary table could fire it by hand.
    assert not names(
        database,
        "select p.oid::regprocedure::text from pg_proc p"
        " join pg_namespace n on n.oid = p.pronamespace"
        " cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as grants"
        " where p.prosecdef and n.nspname !~ '^pg_' and grants.grantee = 0",
    )


def test_security_definer_functions__of_the_runtime_role__are_the_known_ones(database):
    assert set(
        names(
            database,
            "select p.oid::regprocedure::text from pg_proc p"
            " join pg_namespace n on n.oid = p.pronamespace"
            " where p.prosecdef and n.nspname !~ '^pg_'"
            " and has_function_privilege('layoverhq_app', p.oid, 'execute')",
        )
    ) == {
        "api_key_directory()",
        "touch_api_key(uuid)",
        # Whose pages a host name shows.
        "site_directory()",
        # What a process holds for all its tenants, and how it keeps up: see apps/configs/runtime.
        "config_directory(text[])",
        "config_overrides(text[])",
        "config_overrides_since(bigint)",
        "flag_directory(text[])",
        "flag_segment_directory()",
        "flag_experiment_directory()",
        "ranker_directory()",
        "snapshot_changes_since(text,bigint)",
        # What a flag is for a tenant: it reads no flag table itself.
        "evaluate_flag(text,jsonb,integer)",
        "is_feature_enabled(text,uuid,uuid)",
        # What evaluation leaves behind, of all tenants at once; it can read none of it.
        "record_flag_evaluations(jsonb)",
        "record_flag_exposures(jsonb)",
        "record_api_usage(jsonb)",
        # A tenant's own events.
        "record_tracked_events(jsonb)",
        # Weather that it asked for and analyses that it made, which are nobody's own.
        "record_weather(jsonb)",
        "record_weather_failure(text[],text)",
        "kept_layover_analysis(text)",
        "keep_layover_analysis(jsonb)",
        "record_layover_hits(jsonb,bigint,bigint,bigint)",
        # What it tells the operators of itself.
        "report_process(uuid,text,text,integer,timestamp with time zone,jsonb)",
        "report_process_end(uuid)",
    }


def test_roles__runtime_and_operator__own_nothing_and_are_bound_by_policies(database):
    for role in (roles.APP, roles.OPERATOR):
        assert not names(
            database,
            "select pg_describe_object(classid, objid, objsubid) from pg_shdepend"
            " where refobjid = %s::regrole and deptype = 'o'"
            " and dbid = (select oid from pg_database where datname = current_database())",
            role,
        )
    assert database.execute(
        "select bool_or(rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication)"
        " from pg_roles where rolname ^@ 'layoverhq_'"
    ).fetchone() == (False,)


def test_roles__runtime__is_a_member_of_no_role(database):
    assert not names(
        database,
        "select roleid::regrole::text from pg_auth_members where member = %s::regrole",
        roles.APP,
    )
    # Statistics only: pg_monitor reads no table.
    assert names(
        database,
        "select roleid::regrole::text from pg_auth_members where member = %s::regrole",
        roles.OPERATOR,
    ) in ([], ["pg_monitor"])


def test_roles__runtime_and_operator__can_make_nothing_lasting(database):
    for role in (roles.APP, roles.OPERATOR):
        assert database.execute(
            "select has_schema_privilege(%(role)s, 'public', 'create'),"
            " has_database_privilege(%(role)s, current_database(), 'create')",
            {"role": role},
        ).fetchone() == (False, False)
    assert database.execute(
        "select has_database_privilege(%s, current_database(), 'temporary')", [roles.APP]
    ).fetchone() == (False,)


def models_in_public() -> list[Any]:
    return [model for model in apps.get_models(include_auto_created=True) if model._meta.managed]


def test_operator__every_model__may_be_read(database):
    unreadable = [
        model._meta.db_table
        for model in models_in_public()
        if not all(
            database.execute(
                "select has_column_privilege(%s, %s, %s, 'select')",
                [roles.OPERATOR, f"public.{model._meta.db_table}", field.column],
            ).fetchone()[0]
            for field in model._meta.local_concrete_fields
        )
    ]
    assert not unreadable


def test_audit_log__every_role_but_the_owner__may_only_read_it(database):
    for role in (roles.APP, roles.OPERATOR):
        assert names(
            database,
            "select distinct grants.privilege_type from pg_class c"
            " cross join lateral aclexplode(c.relacl) as grants"
            " where c.oid = 'public.audit_log'::regclass and grants.grantee = %s::regrole",
            role,
        ) == ["SELECT"]


def test_runtime_role__grants__touch_tenants_and_reference_tables_only(database):
    # Whatever is granted to the runtime role without a tenant column is read by every tenant.
    open_to_all = set(
        names(
            database,
            "select distinct c.oid::regclass::text from pg_class c"
            " cross join lateral aclexplode(c.relacl) as grants"
            " where grants.grantee = 'layoverhq_app'::regrole and c.relkind in ('r', 'p')"
            " and not c.relrowsecurity",
        )
    )
    assert open_to_all <= {
        "snapshot_versions", "airports", "inventory_loads", "layover_places", "layover_weather",
        "experiences", "weather_observations", "layover_inputs",
        "minimum_connection_times", "arrival_delays", "exchange_rates",
        # Counted of shared offers alone.
        "popular_layover_routes",
        # Declarations only: their values are in system_configs, and a secret has no default.
        "config_keys", "config_categories",
    }  # fmt: skip
    assert not names(
        database,
        "select format('%%s %%s', c.oid::regclass, grants.privilege_type) from pg_class c"
        " cross join lateral aclexplode(c.relacl) as grants"
        " where grants.grantee = 'layoverhq_app'::regrole and c.relkind in ('r', 'p')"
        " and not c.relrowsecurity and grants.privilege_type <> 'SELECT'",
    )


def test_identifiers__in_the_catalogue__were_not_cut(database):
    # PostgreSQL cuts at 63 bytes without an error: a name of 63 is a cut one, or nearly.
    assert not names(
        database,
        """
        select name from (
            select relname::text as name from pg_class where not relispartition
            union
            select conname::text from pg_constraint
            union
            select proname::text from pg_proc
            union
            select tgname::text from pg_trigger
            union
            select polname::text from pg_policy
        ) as named
        -- Django shortens its own, and hashes what it cuts off.
        where octet_length(name) >= 63 and name !~ '_[0-9a-f]{8}_(uniq|fk.*|like)$'
        """,
    )


def installed() -> dict[tuple[str, str], str]:
    """Return the digest that the newest migration pins, by app and name."""
    loader = MigrationLoader(None)
    pins: dict[tuple[str, str], str] = {}
    for key in loader.graph.nodes:
        for ancestor in loader.graph.forwards_plan(key):
            for operation in leaves(loader.disk_migrations[ancestor].operations):
                if isinstance(operation, InstallSQL):
                    pins[operation.app_label, operation.name] = operation.digest
    return pins


def leaves(operations: Sequence[Operation]) -> Iterator[Operation]:
    """Yield the operations that run against the database, also those inside of others."""
    for operation in operations:
        if isinstance(operation, SeparateDatabaseAndState):
            yield from leaves(operation.database_operations)
        else:
            yield operation


def sql_files() -> Iterator[tuple[str, Path]]:
    for config in PROJECT_APPS:
        for path in sorted(sql_folder(config.label).glob("*.sql")):
            yield config.label, path


def test_sql_files__all__are_installed_as_they_stand():
    pins = installed()
    stand = {
        (label, path.stem): digest_of(path.read_text())
        for label, path in sql_files()
        if not path.name.endswith(".drop.sql")
    }
    assert stand == pins


def test_sql_files__all__can_be_dropped():
    paths = {path for _, path in sql_files()}
    for path in paths:
        if path.name.endswith(".drop.sql"):
            assert path.with_name(path.name.replace(".drop", "")) in paths, path
        else:
            assert path.with_suffix(".drop.sql") in paths, path


def test_sql_files__keywords__are_lower_case():
    for _, path in sql_files():
        code = re.sub(r"--.*|'[^']*'", "", path.read_text())
        shouting = re.findall(r"\b(SELECT|CREATE|INSERT|UPDATE|DELETE|FROM|WHERE|GRANT)\b", code)
        assert not shouting, path


def test_models__all__have_their_migrations():
    said = io.StringIO()
    try:
        call_command("makemigrations", check=True, dry_run=True, stdout=said, stderr=said)
    except SystemExit:
        pytest.fail(said.getvalue())


@pytest.fixture
def scratch() -> Iterator[str]:
    """A migrated database of its own, to which the owner's alias leads meanwhile."""
    name = f"scratch_{roles.database_name()}"
    owner = connections["owner"]
    usual = owner.settings_dict["NAME"]
    with psycopg.connect(ENDPOINTS.superuser_dsn(), autocommit=True) as superuser:
        superuser.execute("select pg_advisory_lock(hashtextextended('template', 0))")
        template = make_template(ENDPOINTS, superuser)
        drop_database(superuser, name)
        superuser.execute(
            sql.SQL("create database {} template {} owner layoverhq_owner").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        superuser.execute("select pg_advisory_unlock_all()")
        owner.close()
        owner.settings_dict["NAME"] = name
        try:
            yield name
        finally:
            owner.close()
            owner.settings_dict["NAME"] = usual
            drop_database(superuser, name)


def test_migrations__to_zero_and_back__leave_the_same_catalogue(scratch):
    owner = connections["owner"]
    with roles.connect_as(roles.OWNER, scratch) as look:
        before = catalogue.fingerprint(look)
        seeded = names(look, "select name from django_celery_beat_periodictask order by name")
        policies = names(look, "select parent from partition_policies order by parent")
        assert before
        assert seeded

        executor = MigrationExecutor(owner)
        executor.migrate(
            [
                (config.label, None)
                for config in PROJECT_APPS
                if config.label in executor.loader.migrated_apps
            ]
        )
        left = {
            name
            for kind, name, _ in catalogue.fingerprint(look)
            if kind in {"relation", "function", "view"}
        }
        framework = ("auth_", "django_", "pg_stat_statements")
        assert not [name for name in left if not name.removeprefix("public.").startswith(framework)]

        executor = MigrationExecutor(owner)
        executor.migrate(executor.loader.graph.leaf_nodes())
        after = catalogue.fingerprint(look)
        assert sorted(after - before) == []
        assert sorted(before - after) == []
        assert (
            names(look, "select name from django_celery_beat_periodictask order by name") == seeded
        )
        assert names(look, "select parent from partition_policies order by parent") == policies
