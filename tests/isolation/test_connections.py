"""Tenants that share connections: what one leaves behind, the next must not find."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
from django.db import connection, connections, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.tenants.models import ApiKey, Enterprise
from apps.trips.models import Traveller
from layoverhq import context
from layoverhq.errors import QueryTimeout
from layoverhq.postgres.base import SETTINGS
from layoverhq.tenancy import TenantRef, fetch_in_scope, operator_scope, tenant_scope
from tests.isolation import roles
from tests.servers import ENDPOINTS
from tests.tenants import factories

THREADS = 4
STEPS = 60


@pytest.fixture(scope="module")
def tenants() -> list[Enterprise]:
    """Three enterprises with a key and a traveller each."""
    made = [factories.make_enterprise() for _ in range(3)]
    for enterprise in made:
        factories.make_key(enterprise)
        with tenant_scope(enterprise.ref):
            Traveller.objects.create(enterprise=enterprise, reference="T1", name=enterprise.slug)
    return made


def left_on_connection() -> dict[str, str]:
    """Return every setting of ours that stands outside of a scope, and where names resolve."""
    with connection.cursor() as cursor:
        left = {}
        for name in SETTINGS:
            cursor.execute("select current_setting(%s, true)", [name])
            if value := cursor.fetchone()[0]:
                left[name] = value
        for name, usual in (
            ("search_path", '"$user", public'),
            ("statement_timeout", "0"),
            ("role", "none"),
        ):
            cursor.execute("select current_setting(%s)", [name])
            if (value := cursor.fetchone()[0]) != usual:
                left[name] = value
        return left


def commit(enterprise: Enterprise) -> None:
    with tenant_scope(enterprise.ref):
        Enterprise.objects.get()


def roll_back(enterprise: Enterprise) -> None:
    with tenant_scope(enterprise.ref):
        Enterprise.objects.get()
        transaction.set_rollback(True)


def fail_in_sql(enterprise: Enterprise) -> None:
    with (
        pytest.raises(Exception, match="division by zero"),
        tenant_scope(enterprise.ref),
        connection.cursor() as cursor,
    ):
        cursor.execute("select 1 / 0")


def fail_in_savepoint(enterprise: Enterprise) -> None:
    with tenant_scope(enterprise.ref):
        with (
            pytest.raises(Exception, match="division by zero"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute("select 1 / 0")
        Enterprise.objects.get()


def fetch(enterprise: Enterprise) -> None:
    fetch_in_scope(enterprise.ref, "select 1", {}, timeout_seconds=5)


def fetch_and_fail(enterprise: Enterprise) -> None:
    with pytest.raises(Exception, match="division by zero"):
        fetch_in_scope(enterprise.ref, "select 1 / 0", {}, timeout_seconds=5)


def fetch_too_long(enterprise: Enterprise) -> None:
    with pytest.raises(QueryTimeout):
        fetch_in_scope(enterprise.ref, "select pg_sleep(3)", {}, timeout_seconds=0.01)


WAYS: list[Callable[[Enterprise], None]] = [
    commit, roll_back, fail_in_sql, fail_in_savepoint, fetch, fetch_and_fail, fetch_too_long,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("schema", ["", "tenant_elsewhere"])
def test_scope__however_it_ends__leaves_nothing_on_the_connection(tenants, way, schema):
    enterprise = tenants[0]
    if schema:
        # Where the names lead is of no matter: the setting is.
        enterprise = Enterprise(
            id=enterprise.id, schema_name=schema, isolation=Enterprise.Isolation.DEDICATED
        )
    with context.bind(
        request_id="r1", ip="10.0.0.1", user_agent="agent", reason="why", actor_id=enterprise.id
    ):
        way(enterprise)
    assert left_on_connection() == {}
    assert Enterprise.objects.count() == 0
    assert ApiKey.objects.count() == 0


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(WAYS[:6])), max_size=8))
def test_scopes__any_sequence_on_one_connection__each_sees_itself(tenants, steps):
    for index, way in steps:
        way(tenants[index])
        assert left_on_connection() == {}
        with tenant_scope(tenants[index].ref):
            assert Enterprise.objects.get() == tenants[index]


def see(enterprise: Enterprise) -> None:
    """Assert in each way that there is that this tenant sees itself and nobody else."""
    ref = TenantRef(enterprise.id)
    with tenant_scope(ref):
        assert list(Enterprise.objects.values_list("id", flat=True)) == [enterprise.id]
        assert list(Traveller.objects.values_list("name", flat=True)) == [enterprise.slug]
        assert set(ApiKey.objects.values_list("enterprise_id", flat=True)) == {enterprise.id}
    rows = fetch_in_scope(
        ref,
        "select enterprise_id, current_setting('app.current_enterprise_id') from travellers",
        {},
        timeout_seconds=10,
    )
    assert rows == [(enterprise.id, str(enterprise.id))]


def see_nothing(enterprise: Enterprise) -> None:
    assert not Traveller.objects.exists()
    assert left_on_connection() == {}


def interleave(tenants: list[Enterprise], *, close: bool) -> set[int]:
    """Let threads take the tenants' turns in any order; return the server processes used."""
    faults: list[BaseException] = []
    pids: set[int] = set()
    start = threading.Barrier(THREADS)

    def work(seed: int) -> None:
        chance = random.Random(seed)
        try:
            start.wait(timeout=10)
            for _ in range(STEPS // THREADS):
                enterprise = chance.choice(tenants)
                chance.choice([see, see, see, roll_back, fail_in_savepoint, fail_in_sql])(
                    enterprise
                )
                see_nothing(enterprise)
                with tenant_scope(enterprise.ref), connection.cursor() as cursor:
                    cursor.execute("select pg_backend_pid()")
                    pids.add(cursor.fetchone()[0])
                if close:
                    connections["default"].close()
        except BaseException as fault:  # noqa: BLE001 - handed to the test's own thread
            faults.append(fault)
        finally:
            connections["default"].close()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    if faults:
        raise faults[0]
    return pids


@pytest.fixture
def default_settings() -> Iterator[dict[str, Any]]:
    """The settings of the alias `default`, to change for one test; all threads share them."""
    wrapper = connections["default"]
    wrapper.close()
    kept = dict(wrapper.settings_dict)
    wrapper.settings_dict["OPTIONS"] = dict(kept["OPTIONS"])
    yield wrapper.settings_dict
    wrapper.close()
    if wrapper.settings_dict["OPTIONS"].get("pool"):
        wrapper.close_pool()
    wrapper.settings_dict.clear()
    wrapper.settings_dict.update(kept)


@pytest.mark.parametrize("size", [1, 2])
def test_django_pool__tenants_interleaved_on_its_connections__never_meet(
    tenants, default_settings, size
):
    default_settings["CONN_MAX_AGE"] = 0
    default_settings["OPTIONS"]["pool"] = {"min_size": 1, "max_size": size, "timeout": 20}
    assert 1 <= len(interleave(tenants, close=True)) <= size


def test_persistent_connections__tenants_interleaved__never_meet(tenants, default_settings):
    default_settings["CONN_MAX_AGE"] = None
    assert len(interleave(tenants, close=False)) == THREADS


def test_django_pool__connection_died_while_idle__is_replaced(tenants, default_settings):
    default_settings["CONN_MAX_AGE"] = 0
    default_settings["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 1, "timeout": 20}
    with tenant_scope(tenants[0].ref), connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        (pid,) = cursor.fetchone()
    roles.terminate(pid)
    see(tenants[1])


def test_threads__scopes_open_at_once__see_themselves(tenants):
    # Both scopes are open while both read: contexts must not be the process's.
    both = threading.Barrier(2)
    seen: dict[int, list[Any]] = {}

    def read(index: int) -> None:
        try:
            with tenant_scope(tenants[index].ref):
                both.wait(timeout=10)
                seen[index] = list(Enterprise.objects.values_list("id", flat=True))
                both.wait(timeout=10)
        finally:
            connections["default"].close()

    threads = [threading.Thread(target=read, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert seen == {index: [tenants[index].id] for index in (0, 1)}


def test_operator_scope__around_and_after_a_tenant_scope__has_no_tenants_context(tenants):
    with operator_scope(reason="look"):
        with tenant_scope(tenants[0].ref):
            assert context.current().enterprise_id == tenants[0].id
        assert context.current().enterprise_id is None
        with transaction.atomic(using="operator"), connections["operator"].cursor() as cursor:
            cursor.execute(
                "select current_setting('app.current_enterprise_id', true),"
                " current_setting('app.reason', true)"
            )
            assert cursor.fetchone() in {("", "look"), (None, "look")}


PGBOUNCER = shutil.which("pgbouncer") or (
    "/usr/sbin/pgbouncer" if Path("/usr/sbin/pgbouncer").exists() else ""
)


PGBOUNCER_INI = """\
[databases]
* = host={endpoints.postgres_host} port={endpoints.postgres_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = 2
max_client_conn = 50
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def pgbouncer() -> Iterator[int]:
    """PgBouncer in transaction mode with two server connections; its port."""
    if not PGBOUNCER:
        pytest.skip("PgBouncer is not installed")
    port = free_port()
    identity: dict[str, Any] = {}
    # Not tmp_path: PgBouncer refuses to run as root, and pytest's folders are closed to others.
    with TemporaryDirectory() as folder:
        users, ini = Path(folder, "users.txt"), Path(folder, "pgbouncer.ini")
        users.write_text(f'"{roles.APP}" "{ENDPOINTS.passwords[roles.APP]}"\n')
        ini.write_text(PGBOUNCER_INI.format(endpoints=ENDPOINTS, port=port, users=users))
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            for path in (Path(folder), users, ini):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        process = subprocess.Popen(
            [PGBOUNCER, str(ini)],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            **identity,
        )
        try:
            await_bouncer(process, port)
            yield port
        finally:
            process.terminate()
            process.communicate(timeout=10)


def await_bouncer(process: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        assert process.poll() is None, process.communicate()[1]
        try:
            psycopg.connect(
                host="127.0.0.1",
                port=port,
                user=roles.APP,
                password=ENDPOINTS.passwords[roles.APP],
                dbname=roles.database_name(),
                connect_timeout=2,
            ).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "PgBouncer did not answer within 10 s"
        else:
            return


@pytest.mark.pgbouncer
def test_pgbouncer__tenants_interleaved_in_transaction_mode__never_meet(
    tenants, default_settings, pgbouncer
):
    default_settings["PORT"] = str(pgbouncer)
    default_settings["CONN_MAX_AGE"] = None
    pids = interleave(tenants, close=False)
    # Four clients were served by the two connections of the pool.
    assert 1 <= len(pids) <= 2


@pytest.mark.pgbouncer
def test_pgbouncer__client_after_client__finds_nothing_of_the_one_before(
    tenants, default_settings, pgbouncer
):
    default_settings["PORT"] = str(pgbouncer)
    default_settings["CONN_MAX_AGE"] = 0
    for way in WAYS:
        with context.bind(request_id="r1", reason="why"):
            way(tenants[0])
        connections["default"].close()
        see_nothing(tenants[0])
        connections["default"].close()
        see(tenants[1])
        connections["default"].close()
