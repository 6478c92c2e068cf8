"""A scope is a transaction; nothing of it outlives it."""

from __future__ import annotations

import pytest
from django.db import connection, transaction

from apps.tenants.models import Enterprise
from layoverhq import context
from layoverhq.errors import QueryTimeout
from layoverhq.tenancy import ScopeConflict, fetch_in_scope, operator_scope, tenant_scope


def setting(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("select current_setting(%s, true)", [name])
        return cursor.fetchone()[0] or ""


def test_tenant_scope__inside__sees_only_itself(enterprise, other_enterprise):
    with tenant_scope(enterprise.ref):
        assert list(Enterprise.objects.values_list("id", flat=True)) == [enterprise.id]


def test_tenant_scope__after_commit__leaves_nothing(enterprise):
    with context.bind(request_id="r1", ip="10.0.0.1"), tenant_scope(enterprise.ref):
        assert setting("app.current_enterprise_id") == str(enterprise.id)
        assert setting("app.request_id") == "r1"
        assert setting("search_path") == "public"
    assert setting("app.current_enterprise_id") == ""
    assert setting("app.request_id") == ""
    assert setting("app.current_ip") == ""
    assert Enterprise.objects.count() == 0


def test_tenant_scope__after_rollback__leaves_nothing(enterprise):
    with pytest.raises(ZeroDivisionError), tenant_scope(enterprise.ref):
        1 / Enterprise.objects.exclude(id=enterprise.id).count()
    assert setting("app.current_enterprise_id") == ""
    assert Enterprise.objects.count() == 0


def test_tenant_scope__in_another_tenants__refused(enterprise, other_enterprise):
    with (
        tenant_scope(enterprise.ref),
        pytest.raises(ScopeConflict),
        tenant_scope(other_enterprise.ref),
    ):
        pass


def test_tenant_scope__in_bare_transaction__refused(enterprise):
    with transaction.atomic(), pytest.raises(ScopeConflict), tenant_scope(enterprise.ref):
        pass


def test_tenant_scope__in_its_own__joins(enterprise):
    with tenant_scope(enterprise.ref), tenant_scope(enterprise.ref):
        assert Enterprise.objects.count() == 1


def test_tenant_scope__inside_operator_scope__uses_runtime_role(enterprise, other_enterprise):
    with operator_scope():
        assert Enterprise.objects.filter(id__in=[enterprise.id, other_enterprise.id]).count() == 2
        with tenant_scope(enterprise.ref):
            assert Enterprise.objects.count() == 1


def test_fetch_in_scope__query__one_round_trip_and_no_trace(enterprise):
    rows = fetch_in_scope(
        enterprise.ref,
        "select id, %(word)s from enterprises where %(percent)s = '%%'",
        {"word": "O'Hare", "percent": "%"},
        timeout_seconds=5,
    )
    assert rows == [(enterprise.id, "O'Hare")]
    assert setting("app.current_enterprise_id") == ""
    assert setting("statement_timeout") == "0"


def test_fetch_in_scope__too_slow__times_out_and_connection_serves_on(enterprise):
    with pytest.raises(QueryTimeout):
        fetch_in_scope(enterprise.ref, "select pg_sleep(5)", {}, timeout_seconds=0.05)
    assert fetch_in_scope(enterprise.ref, "select 1", {}, timeout_seconds=5) == [(1,)]


def test_tenant_scope__connection_died_while_idle__reconnects(enterprise):
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        (pid,) = cursor.fetchone()
    terminate(pid)
    with tenant_scope(enterprise.ref):
        assert Enterprise.objects.count() == 1
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        (pid,) = cursor.fetchone()
    terminate(pid)
    assert fetch_in_scope(enterprise.ref, "select 1", {}, timeout_seconds=5) == [(1,)]


def terminate(pid: int) -> None:
    import psycopg

    from tests.servers import ENDPOINTS

    with psycopg.connect(ENDPOINTS.superuser_dsn(), autocommit=True) as superuser:
        superuser.execute("select pg_terminate_backend(%s, 5000)", [pid])
