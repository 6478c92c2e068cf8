"""Which processes run and what they hold, as each tells of itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.conf import settings

from layoverhq import processes
from layoverhq.snapshot import connect, listener
from tests.isolation import roles
from tests.kernel.test_snapshot import until


@pytest.fixture
def operator_connection() -> Iterator[psycopg.Connection[Any]]:
    with roles.connect_as(roles.OPERATOR) as connection:
        yield connection


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> processes.ThisProcess:
    """Be a process of the test's own, beside the one that runs the tests."""
    this = processes.ThisProcess()
    monkeypatch.setattr(processes, "_this", this)
    return this


def rows(connection: psycopg.Connection[Any], **wanted: Any) -> list[dict[str, Any]]:
    ((column, value),) = wanted.items()
    cursor = connection.execute(
        psycopg.sql.SQL(
            "select id, kind, host, pid, started_at, seen_at, holds from processes where {} = %s"
        ).format(psycopg.sql.Identifier(column)),
        [value],
    )
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def test_report__of_a_process__says_who_it_is_and_what_it_holds(
    somebody, operator_connection, monkeypatch
):
    monkeypatch.setattr(processes, "_kind", "command")
    processes.be("web")
    with connect() as connection:
        processes.report(connection, {"configs": {"version": 3, "pinned": {"web.threads": 1}}})
    (row,) = rows(operator_connection, id=somebody.id)
    assert (row["kind"], row["pid"]) == ("web", os.getpid())
    assert row["started_at"] == somebody.started_at
    assert row["holds"] == {"configs": {"version": 3, "pinned": {"web.threads": 1}}}


def test_report__again__replaces_what_it_holds_and_when_it_was_seen(somebody, operator_connection):
    with connect() as connection:
        processes.report(connection, {"configs": {"version": 3}})
        (before,) = rows(operator_connection, id=somebody.id)
        processes.report(connection, {"configs": {"version": 4}})
    (after,) = rows(operator_connection, id=somebody.id)
    assert after["holds"] == {"configs": {"version": 4}}
    assert after["seen_at"] > before["seen_at"]
    assert after["started_at"] == before["started_at"]


def test_report_end__of_one__leaves_the_others(somebody, operator_connection, monkeypatch):
    with connect() as connection:
        processes.report(connection, {})
        monkeypatch.setattr(processes, "_this", processes.ThisProcess())
        other = processes._this.id
        processes.report(connection, {})
        processes.report_end(connection)
    assert rows(operator_connection, id=other) == []
    assert len(rows(operator_connection, id=somebody.id)) == 1


def test_report__of_any__clears_away_who_was_not_seen_for_a_day(somebody, operator_connection):
    with roles.connect_as_superuser() as superuser:
        for hours in (23, 25):
            superuser.execute(
                "insert into processes (id, kind, host, pid, started_at, seen_at)"
                " values (uuidv7(), 'gone', %s, 1, now(), now() - make_interval(hours => %s))",
                [f"gone-{somebody.id}-{hours}", hours],
            )
    with connect() as connection:
        processes.report(connection, {})
    assert len(rows(operator_connection, host=f"gone-{somebody.id}-23")) == 1
    assert rows(operator_connection, host=f"gone-{somebody.id}-25") == []


def test_listener__that_stops_and_starts__is_reported_gone_and_back(operator_connection):
    listener.start()
    until(lambda: rows(operator_connection, id=processes._this.id))
    listener.stop()
    assert rows(operator_connection, id=processes._this.id) == []
    listener.start()
    until(lambda: rows(operator_connection, id=processes._this.id))


def test_begin_again__after_a_fork__is_another_process(monkeypatch, somebody):
    processes.begin_again()
    assert processes._this.id != somebody.id
    assert processes._this.started_at >= somebody.started_at


FORK = """
import os, sys
import django
django.setup()
from apps.configs.runtime import configs
from layoverhq import processes
from layoverhq.snapshot import listener
configs.directory.get()
assert listener.connected.wait(20)
parent = os.getpid()
child = os.fork()
configs.directory.get()
assert listener.connected.wait(20) and listener.alive
print(os.getpid(), processes._this.id, sorted(configs.directory.facts()), flush=True)
if child:
    sys.stdin.read()
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or listener.stop())
sys.stdin.read()
listener.stop()
os._exit(0)
"""


def test_fork__parent_and_child__are_two_processes_that_end_in_order(operator_connection):
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", FORK],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "layoverhq.settings"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdin
        assert running.stdout
        told = [running.stdout.readline().split()[:2] for _ in range(2)]
        known = {int(pid): UUID(text) for pid, text in told}
        assert running.pid in known
        assert len(set(known.values())) == 2
        for pid, process_id in known.items():

            def holds(process_id: UUID = process_id) -> bool:
                found = rows(operator_connection, id=process_id)
                return bool(found and "configs" in found[0]["holds"])

            until(holds)
            assert rows(operator_connection, id=process_id)[0]["pid"] == pid
        running.stdin.close()
        assert running.wait(timeout=30) == 0
    for process_id in known.values():
        assert rows(operator_connection, id=process_id) == []


def test_processes__for_the_runtime_role__can_be_told_but_not_read(somebody, app_role):
    with connect() as connection:
        processes.report(connection, {})
    for statement in (
        "select from processes",
        "update processes set holds = '{}'",
        "delete from processes",
        "insert into processes (id) values (uuidv7())",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app_role.execute(statement)
