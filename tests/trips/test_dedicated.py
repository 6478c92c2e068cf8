"""A dedicated enterprise's travellers live in its own schema; everything else is the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connections, transaction
from psycopg import errors, sql

from apps.audit.models import AuditEvent
from apps.tenants.models import Enterprise
from apps.tenants.operations import create_enterprise_schema
from apps.trips.models import Traveller
from layoverhq.migrate_schemas import DedicatedExecutor, get_executor
from layoverhq.tenancy import TenantRef, fetch_in_scope, operator_scope, tenant_scope
from tests.isolation import roles
from tests.tenants import factories


def make_dedicated() -> Enterprise:
    enterprise = factories.make_enterprise()
    create_enterprise_schema(enterprise=enterprise)
    with operator_scope():
        Enterprise.objects.filter(pk=enterprise.pk).update(isolation=Enterprise.Isolation.DEDICATED)
        return Enterprise.objects.get(pk=enterprise.pk)


def drop_schema(name: str) -> None:
    with roles.connect_as(roles.OWNER) as owner:
        owner.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def dedicated() -> Iterator[Enterprise]:
    enterprise = make_dedicated()
    yield enterprise
    drop_schema(enterprise.schema_name)


@pytest.fixture(scope="module")
def other_dedicated() -> Iterator[Enterprise]:
    enterprise = make_dedicated()
    yield enterprise
    drop_schema(enterprise.schema_name)


def add(enterprise: Enterprise) -> Traveller:
    with tenant_scope(enterprise.ref):
        return Traveller.objects.create(
            enterprise=enterprise, reference=factories.unique("T"), name="Ann"
        )


def rows_in(schema: str, traveller: Traveller) -> int:
    with roles.connect_as_superuser() as superuser:
        row = superuser.execute(
            sql.SQL("select count(*) from {}.travellers where id = %s").format(
                sql.Identifier(schema)
            ),
            [traveller.pk],
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_ref__dedicated__names_the_schema_and_pooled_none(dedicated, enterprise):
    assert dedicated.ref == TenantRef(dedicated.id, dedicated.schema_name)
    assert enterprise.ref == TenantRef(enterprise.id, "")


def test_schema__made__has_travellers_with_the_same_walls(dedicated):
    with roles.connect_as_superuser() as superuser:
        tables = superuser.execute(
            "select c.relname::text, c.relrowsecurity, c.relforcerowsecurity,"
            " c.relowner::regrole::text"
            " from pg_class c where c.relnamespace = %s::regnamespace and c.relkind in ('r', 'p')"
            " and c.relname <> 'django_migrations'",
            [dedicated.schema_name],
        ).fetchall()
        policies = superuser.execute(
            "select policyname::text, roles::text, qual, with_check from pg_policies"
            " where schemaname = %s and tablename = 'travellers' order by 1",
            [dedicated.schema_name],
        ).fetchall()
        triggers = superuser.execute(
            "select tgname::text from pg_trigger where tgrelid = %s::regclass"
            " and not tgisinternal order by 1",
            [f"{dedicated.schema_name}.travellers"],
        ).fetchall()
        keys = superuser.execute(
            "select confrelid::regclass::text from pg_constraint"
            " where conrelid = %s::regclass and contype = 'f'",
            [f"{dedicated.schema_name}.travellers"],
        ).fetchall()
    assert sorted(tables) == [
        (name, True, True, roles.OWNER)
        for name in ("alert_events", "price_alerts", "saved_searches", "travellers", "trips")
    ]
    condition = "(enterprise_id = ( SELECT current_enterprise_id() AS current_enterprise_id))"
    assert policies == [
        ("operator_access", "{layoverhq_operator,layoverhq_owner}", "true", "true"),
        ("tenant_isolation", "{layoverhq_app}", condition, condition),
    ]
    assert [name for (name,) in triggers] == [
        "home_guard",
        "travellers_audit",
        "travellers_audit_truncate",
    ]
    # Enterprises stay in public: one list of tenants.
    assert keys == [("enterprises",)]


def test_schema__grants__are_those_of_public(dedicated):
    with roles.connect_as_superuser() as superuser:
        acls = [
            superuser.execute(
                "select array(select acl::text from unnest(relacl) as acl order by 1)"
                " from pg_class where oid = %s::regclass",
                [f"{schema}.travellers"],
            ).fetchone()
            for schema in (dedicated.schema_name, "public")
        ]
        creators = superuser.execute(
            "select has_schema_privilege('layoverhq_app', %(schema)s, 'create'),"
            " has_schema_privilege('layoverhq_operator', %(schema)s, 'create')",
            {"schema": dedicated.schema_name},
        ).fetchone()
    assert acls[0] == acls[1]
    assert creators == (False, False)


def test_write__dedicated__lands_in_its_schema(dedicated):
    traveller = add(dedicated)
    assert rows_in(dedicated.schema_name, traveller) == 1
    assert rows_in("public", traveller) == 0
    with tenant_scope(dedicated.ref):
        assert Traveller.objects.filter(pk=traveller.pk).exists()


def test_write__pooled__lands_in_public(dedicated, enterprise):
    traveller = add(enterprise)
    assert rows_in("public", traveller) == 1
    assert rows_in(dedicated.schema_name, traveller) == 0
    with tenant_scope(enterprise.ref):
        assert list(Traveller.objects.all()) == [traveller]


def test_read__dedicated_pooled_dedicated_on_one_connection__each_sees_its_own(
    dedicated, other_dedicated, enterprise
):
    made = {tenant.id: {add(tenant).pk} for tenant in (dedicated, enterprise, other_dedicated)}
    for tenant in (dedicated, enterprise, other_dedicated, enterprise, dedicated):
        with tenant_scope(tenant.ref):
            seen = set(Traveller.objects.values_list("pk", flat=True))
            assert made[tenant.id] <= seen
            assert not seen & set().union(*(v for k, v in made.items() if k != tenant.id))
            with connections["default"].cursor() as cursor:
                cursor.execute("show search_path")
                path = cursor.fetchone()[0]
        assert path == (f'"{tenant.schema_name}", public' if tenant.is_dedicated else "public")


def test_fetch_in_scope__dedicated__reads_its_schema(dedicated):
    traveller = add(dedicated)
    rows = fetch_in_scope(
        dedicated.ref,
        "select tableoid::regclass::text from travellers where id = %(id)s",
        {"id": traveller.pk},
        timeout_seconds=5,
    )
    assert rows == [("travellers",)]
    assert (
        fetch_in_scope(
            TenantRef(dedicated.id),
            "select 1 from travellers where id = %(id)s",
            {"id": traveller.pk},
            timeout_seconds=5,
        )
        == []
    )


def test_context__after_a_dedicated_scope__leaves_the_usual_path(dedicated):
    with tenant_scope(dedicated.ref):
        transaction.set_rollback(True)
    with connections["default"].cursor() as cursor:
        cursor.execute("show search_path")
        assert cursor.fetchone() == ('"$user", public',)


def test_policy__another_tenants_schema_addressed_directly__shows_nothing(
    dedicated, other_dedicated
):
    # Schemas are no wall by themselves: the policy is.
    add(dedicated)
    address = sql.SQL("{}.travellers").format(sql.Identifier(dedicated.schema_name))
    with roles.connect_as(roles.APP) as app:
        for context in ("", str(other_dedicated.id)):
            with roles.acting_as(app, context):
                assert app.execute(sql.SQL("select from {}").format(address)).fetchall() == []
                assert app.execute(sql.SQL("delete from {}").format(address)).rowcount == 0
                with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
                    app.execute(
                        sql.SQL(
                            "insert into {} (enterprise_id, reference, name) values (%s, 'x', 'x')"
                        ).format(address),
                        [dedicated.id],
                    )


@pytest.mark.parametrize(
    "schema",
    ['x", pg_temp, "y', "tenant_nowhere", "x'; select 1; --", 'a"; drop schema public; --'],
)
def test_scope__odd_schema_name__is_a_name_and_nothing_else(enterprise, schema):
    with tenant_scope(TenantRef(enterprise.id, schema)), connections["default"].cursor() as cursor:
        cursor.execute("show search_path")
        quoted = schema.replace('"', '""')
        assert cursor.fetchone() == (f'"{quoted}", public',)
        assert Enterprise.objects.count() == 1


def test_audit__in_an_own_schema__names_it_and_the_tenant(dedicated):
    traveller = add(dedicated)
    with operator_scope():
        event = AuditEvent.objects.get(row_id=str(traveller.pk))
    assert event.table_name == f"{dedicated.schema_name}.travellers"
    assert event.enterprise_id == dedicated.id


def test_create_schema__standing_already__is_left_as_it_is(dedicated):
    traveller = add(dedicated)
    create_enterprise_schema(enterprise=dedicated)
    assert rows_in(dedicated.schema_name, traveller) == 1


def visited(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []

    def note(args: Any, options: Any, codename: Any, schema_name: str, **kwargs: Any) -> None:
        seen.append(schema_name)

    monkeypatch.setattr("django_tenants.migration_executors.standard.run_migrations", note)
    call_command("migrate_schemas", verbosity=0)
    return seen


def test_migrate_schemas__visits__public_and_own_schemas_only(dedicated, enterprise, monkeypatch):
    seen = visited(monkeypatch)
    assert seen[0] == "public"
    assert dedicated.schema_name in seen
    assert enterprise.schema_name not in seen
    with roles.connect_as_superuser() as superuser:
        standing = {name for (name,) in superuser.execute("select nspname::text from pg_namespace")}
    assert set(seen) <= standing


def test_migrate_schemas__pooled_enterprise__gets_no_schema(enterprise):
    assert get_executor() is DedicatedExecutor
    call_command("migrate_schemas", verbosity=0)
    with roles.connect_as_superuser() as superuser:
        assert (
            superuser.execute(
                "select 1 from pg_namespace where nspname = %s", [enterprise.schema_name]
            ).fetchone()
            is None
        )


def test_onboard__schema_name__is_reserved_and_makes_none(enterprise):
    assert enterprise.schema_name == "tenant_" + enterprise.slug.replace("-", "_")
    assert enterprise.isolation == Enterprise.Isolation.POOLED


def test_migrate_schemas__schema_that_lags_behind__is_brought_up(dedicated):
    with roles.connect_as(roles.OWNER) as owner:
        schema = sql.Identifier(dedicated.schema_name)
        for model in apps.get_app_config("trips").get_models():
            table = sql.Identifier(dedicated.schema_name, model._meta.db_table)
            owner.execute(sql.SQL("drop table {} cascade").format(table))
        applied = sql.SQL("select app, name from {}.django_migrations order by 1, 2").format(schema)
        before = owner.execute(applied).fetchall()
        owner.execute(
            sql.SQL("delete from {}.django_migrations where app in ('trips', 'flights')").format(
                schema
            )
        )
        call_command("migrate_schemas", verbosity=0)
        # What is shared stands in public alone, and is known to need nothing here.
        assert owner.execute(applied).fetchall() == before
        assert not owner.execute(
            "select from pg_tables where schemaname = %s and tablename = 'flights'",
            [dedicated.schema_name],
        ).fetchall()
    traveller = add(dedicated)
    assert rows_in(dedicated.schema_name, traveller) == 1
