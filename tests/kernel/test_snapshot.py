"""What processes hold in memory follows what is committed, whatever is lost on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import structlog
from django.conf import settings
from django.db import connections, transaction

from layoverhq import snapshot as hot
from layoverhq.snapshot import Snapshot, connect, listener, registry
from layoverhq.tenancy import OPERATOR
from tests.isolation import roles
from tests.tenants.factories import unique

PATIENCE_SECONDS = 5.0


def until(condition: Callable[[], Any]) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS:g} s"
        threading.Event().wait(0.002)


class Notes(Snapshot[list[str]]):
    """The rows of a table of the test's own."""

    name = "test_notes"

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0
        self.fault: Exception | None = None

    def load(self, connection: psycopg.Connection[Any]) -> list[str]:
        self.loads += 1
        if self.fault:
            fault, self.fault = self.fault, None
            raise fault
        rows = connection.execute("select text from public.test_notes order by text").fetchall()
        return [row["text"] for row in rows]


@pytest.fixture(scope="module")
def _table() -> Iterator[None]:
    with roles.connect_as(roles.OWNER) as owner:
        owner.execute("create table public.test_notes (text text primary key, seen int)")
        owner.execute("grant select on public.test_notes to layoverhq_app")
        owner.execute(
            "grant select, insert, update, delete on public.test_notes to layoverhq_operator"
        )
        owner.execute("select feed_snapshot('public.test_notes', 'test_notes', '{text}')")
        # Whichever test comes first finds a version.
        owner.execute("select raise_snapshot('test_notes')")
        yield
        owner.execute("drop table public.test_notes")
        owner.execute("delete from public.snapshot_versions where name = 'test_notes'")


@pytest.fixture
def notes(_table: None) -> Iterator[Notes]:
    made = Notes()
    made.get()
    until(lambda: listener.connected.is_set())
    yield made
    del registry["test_notes"]


@pytest.fixture
def writer(_table: None) -> Iterator[psycopg.Connection[Any]]:
    with roles.connect_as(roles.OPERATOR) as connection:
        yield connection


def add(writer: psycopg.Connection[Any]) -> str:
    text = unique("note")
    writer.execute("insert into test_notes (text) values (%s)", [text])
    return text


def listener_pid() -> int:
    """Return the server process of the listener, once it is our only snapshot connection."""
    pids: list[int] = []

    def alone() -> bool:
        pids[:] = [
            pid
            for (pid,) in superuser.execute(
                "select pid from pg_stat_activity"
                " where application_name = %s and datname = current_database()",
                [f"layoverhq snapshot {os.getpid()}"],
            )
        ]
        return len(pids) == 1

    with roles.connect_as_superuser() as superuser:
        until(alone)
    return pids[0]


def test_snapshot__committed__is_seen_without_asking(notes, writer):
    text = add(writer)
    until(lambda: text in notes.get())


def test_snapshot__uncommitted__is_not_seen_until_it_is(notes, writer):
    with writer.transaction():
        text = add(writer)
        with connect() as connection:
            notes.refresh(connection, at_least=notes.version + 1)
        assert text not in notes.get()
    until(lambda: text in notes.get())


def test_snapshot__rolled_back__is_never_seen(notes, writer):
    version = notes.version
    with writer.transaction(force_rollback=True):
        lost = add(writer)
    text = add(writer)
    until(lambda: text in notes.get())
    assert lost not in notes.get()
    assert notes.version == version + 1


def test_snapshot__column_that_is_not_fed__raises_no_version(notes, writer):
    text = add(writer)
    until(lambda: text in notes.get())
    version, loads = notes.version, notes.loads
    writer.execute("update test_notes set seen = 1")
    assert stored_version() == version
    assert notes.loads == loads


def stored_version() -> int:
    with connect() as connection:
        row = connection.execute(
            "select version from snapshot_versions where name = 'test_notes'"
        ).fetchone()
    assert row is not None
    return int(row["version"])


def test_snapshot__deleted_and_truncated__are_seen(notes, writer):
    text = add(writer)
    until(lambda: text in notes.get())
    writer.execute("delete from test_notes where text = %s", [text])
    until(lambda: text not in notes.get())
    add(writer)
    with roles.connect_as(roles.OWNER) as owner:
        owner.execute("truncate public.test_notes")
    until(lambda: notes.get() == [])


def test_snapshot__older_version__never_replaces_a_newer(notes, writer):
    text = add(writer)
    until(lambda: text in notes.get())
    version, loads = notes.version, notes.loads
    with connect() as connection:
        notes.refresh(connection, at_least=version - 1)
        notes.refresh(connection, at_least=version)
    assert (notes.version, notes.loads) == (version, loads)


def test_snapshot__many_writers_at_once__ends_with_the_last_version(notes):
    def write() -> None:
        with roles.connect_as(roles.OPERATOR) as connection:
            for _ in range(5):
                written.append(add(connection))

    written: list[str] = []
    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    until(lambda: set(written) <= set(notes.get()))
    assert notes.version == stored_version()


def test_snapshot__swapped_while_read__is_whole(notes, writer):
    writer.execute("delete from test_notes")
    seen: set[int] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(len(notes.get()))

    until(lambda: notes.get() == [])
    reader = threading.Thread(target=read)
    reader.start()
    texts = [unique("pair") for _ in range(4)]
    writer.execute("insert into test_notes (text) select unnest(%s::text[])", [texts])
    until(lambda: len(notes.get()) == 4)
    stop.set()
    reader.join(timeout=5)
    assert seen <= {0, 4}


def test_listener__connection_killed__reconnects_and_finds_what_it_missed(notes, writer):
    with structlog.testing.capture_logs():
        pid = listener_pid()
        assert pid
        roles.terminate(pid)
        text = add(writer)
        until(lambda: text in notes.get())
        until(lambda: listener.alive)
        assert listener_pid() != pid
        text = add(writer)
        until(lambda: text in notes.get())


def add_silently() -> str:
    """Change the table as if the notification were lost: only the version moves."""
    text = unique("silent")
    with roles.connect_as(roles.OWNER) as owner, owner.transaction():
        owner.execute("alter table public.test_notes disable trigger user")
        owner.execute("insert into public.test_notes (text) values (%s)", [text])
        owner.execute("alter table public.test_notes enable trigger user")
        owner.execute(
            "update public.snapshot_versions set version = version + 1 where name = 'test_notes'"
        )
    return text


def test_listener__lost_notification__heals_by_the_watermark(notes):
    text = add_silently()
    assert text not in notes.get()
    with connect() as connection:
        listener.reconcile(connection)
    assert text in notes.get()


def test_listener__interval_over__reconciles_by_itself(notes, monkeypatch):
    listener.stop()
    with monkeypatch.context() as patched:
        patched.setattr(hot, "RECONCILE_SECONDS", 0.0)
        listener.start()
        until(lambda: listener.alive)
        text = add_silently()
        until(lambda: text in notes.get())
        listener.stop()
    listener.start()


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "x",
        "[]",
        "null",
        "{}",
        '{"snapshot": "test_notes"}',
        '{"snapshot": [], "version": 1}',
        '{"snapshot": "nobody", "version": 1}',
        '{"snapshot": "test_notes", "version": "x"}',
    ],
)
def test_listener__garbage_notification__changes_nothing_and_goes_on(notes, writer, payload):
    loads, pid = notes.loads, listener_pid()
    with structlog.testing.capture_logs():
        writer.execute("select pg_notify('hot_snapshot', %s)", [payload])
        text = add(writer)
        until(lambda: text in notes.get())
    assert listener_pid() == pid
    assert notes.loads == loads + 1


def test_listener__load_that_fails__is_tried_again(notes, writer):
    with structlog.testing.capture_logs() as logs:
        notes.fault = KeyError("a defect of ours")
        text = add(writer)
        until(lambda: text in notes.get())
        until(lambda: listener.alive)
    assert "snapshot_load_failed" in {line["event"] for line in logs}


def test_listener__stopped_and_started__follows_again(notes, writer):
    listener.stop()
    assert not listener.alive
    text = add(writer)
    assert text not in notes.get()
    listener.start()
    until(lambda: text in notes.get())


def test_snapshot__forgotten__loads_at_the_next_read(notes, writer):
    text = add(writer)
    until(lambda: text in notes.get())
    loads = notes.loads
    notes.forget()
    assert notes.version == -1
    assert text in notes.get()
    assert notes.loads == loads + 1


def test_notification__long_values__names_no_value(notes, writer):
    # Past 8,000 bytes a payload aborts the write, and it is broadcast to every role.
    with roles.connect_as(roles.APP) as other:
        other.execute("listen hot_snapshot")
        secret = unique("secret") + "x" * 9000
        writer.execute("insert into test_notes (text) values (left(%s, 2000))", [secret])
        heard = list(other.notifies(timeout=PATIENCE_SECONDS, stop_after=1))
    assert len(heard) == 1
    assert "secret" not in heard[0].payload
    assert heard[0].payload == f'{{"snapshot" : "test_notes", "version" : {stored_version()}}}'


def test_listener__its_connection__is_the_runtime_roles(notes):
    with roles.connect_as_superuser() as superuser:
        roles_seen = superuser.execute(
            "select distinct usename from pg_stat_activity where application_name = %s",
            [f"layoverhq snapshot {os.getpid()}"],
        ).fetchall()
    assert roles_seen == [("layoverhq_app",)]


def test_snapshot__write_through_django__is_seen_on_commit_only(notes):
    text = unique("orm")
    with transaction.atomic(using=OPERATOR), connections[OPERATOR].cursor() as cursor:
        cursor.execute("insert into test_notes (text) values (%s)", [text])
        assert text not in notes.get()
    until(lambda: text in notes.get())


FORK = """
import os, sys
import django
django.setup()
from apps.tenants.directory import api_keys
from layoverhq.snapshot import listener
api_keys.get()
assert listener.connected.wait(10)
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
assert api_keys.version == -1 and not listener.alive
api_keys.get()
assert listener.connected.wait(10) and listener.alive
os._exit(7)
"""


def test_fork__child__loads_and_listens_for_itself():
    # With the parent's copy and no listener, a revoked key would be good for ever.
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "layoverhq.settings"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 7, process.stderr


def test_connect__url_that_demands_tls__is_obeyed(monkeypatch):
    # The embedded server has no TLS: without the demand it is reached, with it refused.
    connect().close()
    monkeypatch.setitem(settings.DATABASES["default"]["OPTIONS"], "sslmode", "require")
    with pytest.raises(psycopg.OperationalError, match="SSL"):
        connect()
