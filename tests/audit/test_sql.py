"""The trail has every change, whole and by whom, and nobody can bend it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from django.db import connections, transaction
from psycopg import errors, sql

from apps.audit.models import AuditEvent
from apps.tenants import operations
from apps.tenants.models import ApiKey, Enterprise, Scope, User
from apps.trips.models import Traveller
from layoverhq import context
from layoverhq.tenancy import atomic, operator_scope, tenant_scope
from tests.isolation import catalogue, roles
from tests.tenants import factories


def events(table: str, row_id: Any) -> list[AuditEvent]:
    """Return what the trail has of a row, in order."""
    with operator_scope():
        return list(AuditEvent.objects.all().about(table, row_id).order_by("at", "id"))


def test_insert__row__is_kept_whole(enterprise):
    (event,) = events("enterprises", enterprise.id)
    assert event.operation == "INSERT"
    assert event.old_values is None
    assert event.new_values["slug"] == enterprise.slug
    assert set(event.new_values) == {
        field.column for field in Enterprise._meta.local_concrete_fields
    }
    assert event.enterprise_id == enterprise.id
    assert event.database_role == roles.OPERATOR


def test_update__row__has_both_versions_and_what_changed(enterprise):
    with operator_scope():
        operations.suspend_enterprise(enterprise=enterprise)
    event = events("enterprises", enterprise.id)[-1]
    assert event.operation == "UPDATE"
    assert (event.old_values["status"], event.new_values["status"]) == ("active", "suspended")
    assert event.changed_columns == ["status"]
    assert event.old_values["name"] == event.new_values["name"] == enterprise.name


def test_update__that_changes_nothing__is_no_event(enterprise):
    with operator_scope():
        Enterprise.objects.filter(pk=enterprise.pk).update(name=enterprise.name)
    assert [event.operation for event in events("enterprises", enterprise.id)] == ["INSERT"]


def test_update__of_ignored_columns_alone__is_no_event(enterprise):
    key = factories.make_key(enterprise).key
    with operator_scope(), connections["operator"].cursor() as cursor:
        cursor.execute("update api_keys set last_used_at = now() where id = %s", [key.id])
    assert [event.operation for event in events("api_keys", key.id)] == ["INSERT"]


def test_delete__row__is_kept_as_it_was(enterprise):
    with tenant_scope(enterprise.ref):
        traveller = Traveller.objects.create(enterprise=enterprise, reference="T1", name="Ann")
        row_id = traveller.pk
        traveller.delete()
    event = events("travellers", row_id)[-1]
    assert (event.operation, event.new_values, event.changed_columns) == ("DELETE", None, [])
    assert event.old_values["name"] == "Ann"
    assert event.database_role == roles.APP


def test_rolled_back__change__is_no_event(enterprise):
    with operator_scope(), atomic():
        operations.suspend_enterprise(enterprise=enterprise)
        transaction.set_rollback(True, using="operator")
    assert len(events("enterprises", enterprise.id)) == 1


def test_context__of_the_change__is_in_the_event(enterprise):
    actor = factories.make_operator()
    with (
        context.bind(request_id="r1", ip="192.0.2.7", user_agent="agent"),
        operator_scope(actor_id=actor.id, reason="did not pay"),
    ):
        operations.suspend_enterprise(enterprise=enterprise)
    event = events("enterprises", enterprise.id)[-1]
    assert (event.request_id, event.ip_address, event.user_agent, event.reason) == (
        "r1", "192.0.2.7", "agent", "did not pay",
    )  # fmt: skip
    assert event.user_id == actor.id


def test_context__none__is_null_and_not_empty(enterprise):
    (event,) = events("enterprises", enterprise.id)
    assert (event.request_id, event.ip_address, event.user_agent, event.reason, event.user_id) == (
        (None,) * 5
    )


def test_context__odd_words__are_kept_as_said(enterprise):
    words = 'it\'s "50%" \\ off; drop table users; -- é\U0001f6eb\n'
    with operator_scope(reason=words):
        operations.suspend_enterprise(enterprise=enterprise)
    assert events("enterprises", enterprise.id)[-1].reason == words


def test_bulk_statement__each_row__is_an_event():
    slugs = [factories.unique("bulk") for _ in range(3)]
    with operator_scope():
        made = operations.onboard_enterprises(
            enterprises=[operations.NewEnterprise(slug, slug) for slug in slugs]
        )
    assert [len(events("enterprises", enterprise.id)) for enterprise in made] == [1, 1, 1]


SECRET_HASH = "argon2$argon2id$v=19$m=102400"


def trail_text() -> str:
    """Return every row of the trail, whole, as text."""
    with roles.connect_as_superuser() as superuser:
        return "\n".join(
            row for (row,) in superuser.execute("select a::text from audit_log a").fetchall()
        )


def test_secrets__in_every_operation__never_enter_the_trail(enterprise):
    issued = factories.make_key(enterprise)
    with operator_scope():
        user = User.objects.create_user(
            f"{factories.unique('ann')}@example.com", "first secret words", enterprise=enterprise
        )
        first = user.password
        user.set_password("second secret words")
        user.save()
        second = user.password
        key_hash = bytes(ApiKey.objects.get(pk=issued.key.pk).key_hash).hex()
        operations.revoke_api_keys(keys=[issued.key])
        with connections["operator"].cursor() as cursor:
            cursor.execute("delete from api_keys where id = %s", [issued.key.pk])
            cursor.execute("delete from users where id = %s", [user.pk])
    text = trail_text()
    assert str(issued.key.pk) in text
    for secret in (first, second, key_hash, issued.token, "secret words", SECRET_HASH):
        assert secret not in text
    changed = [event for event in events("users", user.pk) if event.operation == "UPDATE"]
    # That the password changed is told, though not what it was.
    assert changed[0].changed_columns == ["password"]
    assert changed[0].old_values["password"] == changed[0].new_values["password"] == "[redacted]"
    for event in events("api_keys", issued.key.pk):
        for values in (event.old_values, event.new_values):
            assert values is None or values["key_hash"] == "[redacted]"


def test_secrets__by_name__are_redacted_on_every_enrolled_table():
    with roles.connect_as_superuser() as superuser:
        enrolled = superuser.execute(
            "select t.tgrelid::regclass::text, t.tgargs,"
            " (select array_agg(a.attname::text) from pg_attribute a"
            "   where a.attrelid = t.tgrelid and a.attnum > 0 and not a.attisdropped)"
            " from pg_trigger t where not t.tgisinternal and t.tgname ~ '_audit$'"
            " and t.tgparentid = 0"
        ).fetchall()
    assert enrolled
    for table, options, columns in enrolled:
        enrolment = json.loads(bytes(options).rstrip(b"\x00"))
        redacted = enrolment["redacted"]
        secret = {
            name
            for name in columns
            if any(word in name for word in ("password", "secret", "hash", "token", "ciphertext"))
        } - {"search_hash", "archive_sha256", "is_secret", "old_secret_until"}
        assert secret <= set(redacted), table
        # Where a flag says which rows are secret, the trail asks it.
        if "is_secret" in columns and "value" in columns:
            assert (enrolment["secret_value"], enrolment["secret_when"]) == ("value", "is_secret")


def test_tables__that_people_change__are_enrolled_whole():
    with roles.connect_as_superuser() as superuser:
        for table in (
            "enterprises", "domains", "users", "users_groups", "users_user_permissions",
            "api_keys", "offboardings", "travellers", "config_categories", "config_keys",
            "config_change_sets", "config_release_tenants", "system_configs",
        ):  # fmt: skip
            triggers = superuser.execute(
                "select tgname::text, tgenabled::text from pg_trigger"
                " where tgrelid = %s::regclass and not tgisinternal and tgname ~ '_audit'"
                " order by 1",
                [f"public.{table}"],
            ).fetchall()
            assert triggers == [(f"{table}_audit", "O"), (f"{table}_audit_truncate", "O")]


@pytest.fixture
def table() -> Iterator[str]:
    """An enrolled table with a key of two columns, in a transaction of nobody."""
    name = "audited_" + factories.unique("t").replace("-", "_")
    with roles.connect_as(roles.OWNER) as owner:
        owner.execute(
            sql.SQL(
                "create table public.{} (code text, day date, seats int, pin text, seen int,"
                " enterprise_id uuid, primary key (day, code))"
            ).format(sql.Identifier(name))
        )
        owner.execute(
            "select enable_audit(%s::regclass, redacted => '{pin}', ignored => '{seen}')",
            [f"public.{name}"],
        )
        yield name
        owner.execute(sql.SQL("drop table public.{}").format(sql.Identifier(name)))


def owner_runs(table: str, statement: str) -> None:
    with roles.connect_as(roles.OWNER) as owner:
        owner.execute(sql.SQL(statement).format(sql.Identifier(table)))


def trail(table: str) -> list[tuple[Any, ...]]:
    with roles.connect_as_superuser() as superuser:
        return superuser.execute(
            "select operation, row_id, changed_columns, old_values, new_values from audit_log"
            " where table_name = %s order by at, id",
            [table],
        ).fetchall()


def test_key__of_several_columns__is_a_document_in_key_order(table):
    owner_runs(table, "insert into public.{} values ('X', '2026-03-01', 5, '1234', 0)")
    ((operation, row_id, changed, old, new),) = trail(table)
    assert operation == "INSERT"
    assert json.loads(row_id) == {"day": "2026-03-01", "code": "X"}
    assert (changed, old) == ([], None)
    assert (new["seats"], new["pin"]) == (5, "[redacted]")


def test_redacted__null__stays_null_and_a_change_is_told(table):
    owner_runs(table, "insert into public.{} (code, day) values ('X', '2026-03-01')")
    owner_runs(table, "update public.{} set pin = '1234', seen = 1")
    owner_runs(table, "update public.{} set pin = '5678'")
    owner_runs(table, "update public.{} set seen = 2")
    found = trail(table)
    assert [row[0] for row in found] == ["INSERT", "UPDATE", "UPDATE"]
    assert (found[1][3]["pin"], found[1][4]["pin"]) == (None, "[redacted]")
    assert [row[2] for row in found[1:]] == [["pin"], ["pin"]]
    assert "1234" not in str(found)
    assert "5678" not in str(found)


def test_key__changed__is_told_under_the_new_one(table):
    owner_runs(table, "insert into public.{} (code, day) values ('X', '2026-03-01')")
    owner_runs(table, "update public.{} set code = 'Y'")
    _, row_id, changed, old, new = trail(table)[-1]
    assert json.loads(row_id)["code"] == "Y"
    assert changed == ["code"]
    assert (old["code"], new["code"]) == ("X", "Y")


def test_truncate__table__is_one_event_without_rows(table):
    owner_runs(table, "insert into public.{} (code, day) values ('X', '2026-03-01')")
    owner_runs(table, "truncate public.{}")
    assert trail(table)[-1] == ("TRUNCATE", None, [], None, None)


def test_settings__left_empty_by_an_earlier_transaction__do_no_harm(table):
    # PostgreSQL leaves '' behind where a local setting ended; '' is neither uuid nor inet.
    with roles.connect_as(roles.OWNER) as owner:
        for name in ("app.current_enterprise_id", "app.current_user_id", "app.current_ip"):
            owner.execute("select set_config(%s, '', false)", [name])
        owner.execute(
            sql.SQL("insert into public.{} (code, day) values ('X', '2026-03-01')").format(
                sql.Identifier(table)
            )
        )
    assert len(trail(table)) == 1


def test_tenant__of_the_row__outranks_that_of_the_context(table, enterprise, other_enterprise):
    with roles.connect_as(roles.OWNER) as owner, owner.transaction():
        owner.execute(
            "select set_config('app.current_enterprise_id', %s, true)", [str(other_enterprise.id)]
        )
        for code, tenant in (("X", enterprise.id), ("Y", None)):
            owner.execute(
                sql.SQL(
                    "insert into public.{} (code, day, enterprise_id) values (%s, '2026-03-01', %s)"
                ).format(sql.Identifier(table)),
                [code, tenant],
            )
    with roles.connect_as_superuser() as superuser:
        told = superuser.execute(
            "select enterprise_id from audit_log where table_name = %s order by row_id", [table]
        ).fetchall()
    assert [tenant for (tenant,) in told] == [enterprise.id, other_enterprise.id]


@pytest.mark.parametrize("role", [roles.APP, roles.OPERATOR])
@pytest.mark.parametrize(
    "statement",
    [
        "update audit_log set reason = 'forged'",
        "delete from audit_log",
        "truncate audit_log",
        "insert into audit_log (table_name, operation) values ('enterprises', 'DELETE')",
        "drop table audit_log",
        "alter table audit_log disable trigger all",
        "alter table enterprises disable trigger enterprises_audit",
        "drop trigger enterprises_audit on enterprises",
        "select audit_trigger_function()",
        "set session_replication_role = replica",
    ],
)
def test_trail__every_serving_role__may_not_bend_it(role, statement):
    with (
        roles.connect_as(role) as connection,
        roles.undone(connection),
        pytest.raises((errors.InsufficientPrivilege, errors.FeatureNotSupported)),
    ):
        connection.execute(statement)


def test_events__tenant__sees_its_own_only(enterprise, other_enterprise):
    with tenant_scope(enterprise.ref):
        Traveller.objects.create(enterprise=enterprise, reference="T1", name="Ann")
        seen = set(AuditEvent.objects.values_list("enterprise_id", flat=True))
        assert seen == {enterprise.id}
        assert AuditEvent.objects.filter(table_name="travellers").count() == 1
    with tenant_scope(other_enterprise.ref):
        assert not AuditEvent.objects.filter(table_name="travellers").exists()
    assert AuditEvent.objects.count() == 0


def test_partitions__this_month_and_three_ahead__stand():
    with roles.connect_as_superuser() as superuser:
        standing = set(catalogue.partitions(superuser))
    today = date.today()
    for ahead in range(4):
        month = today.month - 1 + ahead
        name = f"public.audit_log_y{today.year + month // 12}m{month % 12 + 1:02}"
        assert name in standing


def test_event__its_time__is_the_clocks_and_in_its_partition(enterprise):
    (event,) = events("enterprises", enterprise.id)
    with roles.connect_as_superuser() as superuser:
        row = superuser.execute(
            "select tableoid::regclass::text, abs(extract(epoch from clock_timestamp() - at)) < 60"
            " from audit_log where id = %s",
            [event.id],
        ).fetchone()
    assert row == (f"audit_log_{event.at:y%Ym%m}", True)


def test_erase_audit_values__one_enterprise__blanks_its_values_and_keeps_the_deeds(
    enterprise, other_enterprise
):
    for tenant in (enterprise, other_enterprise):
        with context.bind(ip="192.0.2.7"), tenant_scope(tenant.ref):
            Traveller.objects.create(enterprise=tenant, reference="T1", name="Ann")
    with roles.connect_as(roles.OWNER) as owner:
        erased = owner.execute("select erase_audit_values(%s)", [enterprise.id]).fetchone()
        again = owner.execute("select erase_audit_values(%s)", [enterprise.id]).fetchone()
    assert (erased, again) == ((1,), (0,))
    with operator_scope():
        mine = AuditEvent.objects.get(table_name="travellers", enterprise_id=enterprise.id)
        other = AuditEvent.objects.get(table_name="travellers", enterprise_id=other_enterprise.id)
    assert (mine.operation, mine.old_values, mine.new_values, mine.ip_address) == (
        "INSERT", None, None, None,
    )  # fmt: skip
    assert other.new_values["name"] == "Ann"
    # That the enterprise was a customer stays told.
    assert events("enterprises", enterprise.id)[0].new_values["slug"] == enterprise.slug


@pytest.mark.parametrize("role", [roles.APP, roles.OPERATOR])
def test_erase_audit_values__serving_role__may_not(role, enterprise):
    with roles.connect_as(role) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute("select erase_audit_values(%s)", [enterprise.id])


def test_concurrent_writers__each_event__has_its_own_context():
    enterprises = [factories.make_enterprise() for _ in range(4)]

    def write(enterprise: Enterprise) -> None:
        try:
            for number in range(5):
                with context.bind(request_id=enterprise.slug), tenant_scope(enterprise.ref):
                    Traveller.objects.create(
                        enterprise=enterprise, reference=f"T{number}", name=enterprise.slug
                    )
        finally:
            connections["default"].close()

    threads = [threading.Thread(target=write, args=(enterprise,)) for enterprise in enterprises]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    for enterprise in enterprises:
        with operator_scope():
            told = AuditEvent.objects.filter(
                table_name="travellers", enterprise_id=enterprise.id
            ).values_list("request_id", "new_values__name")
            assert list(told) == [(enterprise.slug, enterprise.slug)] * 5


def test_scopes__of_a_key__are_told_in_the_event(enterprise):
    key = factories.make_key(enterprise, [Scope.ACCOUNT_READ]).key
    (event,) = events("api_keys", key.pk)
    assert event.new_values["scopes"] == [Scope.ACCOUNT_READ]


def test_event__rendered__says_what_happened(enterprise):
    (event,) = events("enterprises", enterprise.id)
    assert str(event).startswith("enterprises added at 2")
