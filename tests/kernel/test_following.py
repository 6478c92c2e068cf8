"""Snapshots that follow change by change, and the list of changes that they follow."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import structlog

from layoverhq import tasks
from layoverhq.snapshot import Change, FollowingSnapshot, connect, listener, registry
from tests.isolation import roles
from tests.kernel.test_snapshot import until

NAME = "test_ledger"


class Ledger(FollowingSnapshot[Mapping[str, int]]):
    """A table of the test's own, by subject."""

    name = NAME

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0
        self.advances: list[frozenset[str]] = []

    def load(self, connection: psycopg.Connection[Any]) -> Mapping[str, int]:
        self.loads += 1
        rows = connection.execute("select subject, value from public.test_ledger").fetchall()
        return {row["subject"]: row["value"] for row in rows}

    changed = (
        "select subject, value from public.test_ledger where subject in ("
        "select subject from snapshot_changes_since(%(snapshot)s, %(held)s))",
    )

    def advance(
        self,
        content: Mapping[str, int],
        changes: Sequence[Change],
        news: Sequence[list[Any]],
    ) -> Mapping[str, int]:
        self.advances.append(frozenset(change.subject for change in changes))
        return {**content, **{row["subject"]: row["value"] for row in news[0]}}


@pytest.fixture
def owner() -> Iterator[psycopg.Connection[Any]]:
    with roles.connect_as(roles.OWNER) as connection:
        connection.execute("create table public.test_ledger (subject text primary key, value int)")
        connection.execute("grant select on public.test_ledger to layoverhq_app")
        connection.execute("select raise_snapshot(%s, true)", [NAME])
        yield connection
        connection.execute("drop table public.test_ledger")
        connection.execute("delete from public.snapshot_changes where snapshot = %s", [NAME])
        connection.execute("delete from public.snapshot_versions where name = %s", [NAME])


@pytest.fixture
def ledger(owner: psycopg.Connection[Any]) -> Iterator[Ledger]:
    made = Ledger()
    made.get()
    listener.start()
    until(lambda: listener.connected.is_set())
    yield made
    del registry[NAME]


@pytest.fixture
def told(ledger: Ledger) -> list[Sequence[Change] | None]:
    """What the ledger's watchers are told."""
    heard: list[Sequence[Change] | None] = []
    ledger.watchers.append(heard.append)
    return heard


def write(
    connection: psycopg.Connection[Any], *values: tuple[str, int], tenant: UUID | None = None
) -> int:
    """Change the table and log it, in one transaction; return the version."""
    with connection.transaction():
        return write_here(connection, *values, tenant=tenant)


def write_here(
    connection: psycopg.Connection[Any], *values: tuple[str, int], tenant: UUID | None = None
) -> int:
    row = connection.execute("select raise_snapshot(%s)", [NAME]).fetchone()
    assert row is not None
    for subject, value in values:
        connection.execute(
            "insert into public.test_ledger values (%s, %s)"
            " on conflict (subject) do update set value = excluded.value",
            [subject, value],
        )
        connection.execute(
            "insert into public.snapshot_changes (snapshot, version, subject, tenant_id)"
            " values (%s, %s, %s, %s)",
            [NAME, row[0], subject, tenant],
        )
    return int(row[0])


def test_following__a_change__reads_what_it_names_and_leaves_the_old_content(ledger, owner):
    write(owner, ("a", 1), ("b", 1))
    until(lambda: ledger.get() == {"a": 1, "b": 1})
    old = ledger.get()
    write(owner, ("b", 2))
    until(lambda: ledger.get() == {"a": 1, "b": 2})
    assert old == {"a": 1, "b": 1}
    assert ledger.advances == [{"a", "b"}, {"b"}]
    assert ledger.loads == 1


def test_following__unlogged_change__is_not_read_over_again(ledger, owner):
    # The list says what to read: a row that no entry names waits for the whole.
    owner.execute("insert into public.test_ledger values ('quiet', 1)")
    write(owner, ("a", 1))
    until(lambda: ledger.get() == {"a": 1})
    owner.execute("select raise_snapshot(%s, true)", [NAME])
    until(lambda: ledger.get() == {"a": 1, "quiet": 1})
    assert ledger.loads == 2


def test_watchers__after_the_swap__are_told_of_each_change_in_order(ledger, told, owner):
    tenant = uuid4()
    held: list[Any] = []
    ledger.watchers.append(lambda changes: held.append((ledger.version, dict(ledger.get()))))
    first = write(owner, ("a", 1))
    until(lambda: len(told) == 1)
    second = write(owner, ("b", 2), ("c", 3), tenant=tenant)
    until(lambda: len(held) == 2)
    assert told == [
        [Change(first, "a", None)],
        [Change(second, "b", tenant), Change(second, "c", tenant)],
    ]
    assert held == [(first, {"a": 1}), (second, {"a": 1, "b": 2, "c": 3})]


def test_watchers__several_changes_missed__are_told_of_all_at_once(ledger, told, owner):
    listener.stop()
    versions = [write(owner, (subject, 1)) for subject in ("x", "a", "x")]
    listener.start()
    until(lambda: told)
    assert told == [
        [Change(version, subject, None) for version, subject in zip(versions, "xax", strict=True)]
    ]
    assert ledger.advances == [{"x", "a"}]


def test_watchers__whole_loaded__are_told_that_nobody_knows_what(ledger, told, owner):
    owner.execute("select raise_snapshot(%s, true)", [NAME])
    until(lambda: told)
    assert told == [None]
    assert ledger.loads == 2


def test_watchers__first_load_or_nothing_new__are_told_nothing(ledger, told, owner):
    with connect() as connection:
        ledger.refresh(connection, at_least=ledger.version)
        listener.reconcile(connection)
    ledger.forget()
    ledger.get()
    assert told == []


def test_watchers__one_that_fails__stops_neither_content_nor_listener(ledger, told, owner):
    def fail(changes: Any) -> None:
        raise KeyError("a defect of ours")

    ledger.watchers.append(fail)
    with structlog.testing.capture_logs() as logs:
        write(owner, ("a", 1))
        until(lambda: ledger.get() == {"a": 1})
        until(lambda: logs)
    ledger.watchers.remove(fail)
    write(owner, ("a", 2))
    until(lambda: ledger.get() == {"a": 2})
    assert listener.alive
    until(lambda: len(told) == 2)
    assert {line["event"] for line in logs} == {"snapshot_load_failed"}


# --- forgetting


def forget(before: datetime) -> int:
    with roles.connect_as(roles.OPERATOR) as operator:
        row = operator.execute("select forget_snapshot_changes(%s)", [before]).fetchone()
    assert row is not None
    return int(row[0])


def stored(owner: psycopg.Connection[Any]) -> tuple[int, int, list[int]]:
    """Return the version, the version up to which changes are forgotten, and those listed."""
    row = owner.execute(
        "select version, forgotten from public.snapshot_versions where name = %s", [NAME]
    ).fetchone()
    assert row is not None
    listed = owner.execute(
        "select version from public.snapshot_changes where snapshot = %s order by 1", [NAME]
    ).fetchall()
    return (*row, [version for (version,) in listed])


def age(owner: psycopg.Connection[Any], version: int, days: int) -> None:
    owner.execute(
        "update public.snapshot_changes set changed_at = changed_at - make_interval(days => %s)"
        " where snapshot = %s and version = %s",
        [days, NAME, version],
    )


def test_forget__old_changes__go_and_say_up_to_where(ledger, owner):
    versions = [write(owner, ("a", number), ("b", number)) for number in range(4)]
    for version in versions[:2]:
        age(owner, version, 10)
    assert forget(datetime.now(UTC) - timedelta(days=7)) >= 4
    assert stored(owner) == (
        versions[3], versions[1], [versions[2], versions[2], versions[3], versions[3]],
    )  # fmt: skip
    # There is nothing more to forget of it.
    forget(datetime.now(UTC) - timedelta(days=7))
    assert stored(owner)[1] == versions[1]


def test_forget__clock_that_ran_backwards__leaves_no_gap_in_the_list(ledger, owner):
    # An older version with a younger time: what is listed must be all that came after.
    versions = [write(owner, ("a", number)) for number in range(3)]
    age(owner, versions[1], 10)
    forget(datetime.now(UTC) - timedelta(days=7))
    assert stored(owner) == (versions[2], versions[1], [versions[2]])


def test_forget__who_missed_more__loads_the_whole_and_who_did_not_goes_on(ledger, told, owner):
    listener.stop()
    first = write(owner, ("a", 1))
    age(owner, first, 10)
    write(owner, ("b", 1))
    forget(datetime.now(UTC) - timedelta(days=7))
    listener.start()
    until(lambda: ledger.get() == {"a": 1, "b": 1})
    assert (ledger.loads, ledger.advances) == (2, [])
    until(lambda: told == [None])
    write(owner, ("c", 1))
    until(lambda: "c" in ledger.get())
    assert (ledger.loads, ledger.advances) == (2, [{"c"}])


def test_forget__by_the_task__keeps_a_week(ledger, owner):
    old, young = write(owner, ("a", 1)), write(owner, ("b", 1))
    age(owner, old, 8)
    age(owner, young, 6)
    with structlog.testing.capture_logs() as logs:
        tasks.forget_snapshot_changes()
    assert stored(owner) == (young, old, [young])
    assert logs[-1]["event"] == "snapshot_changes_forgotten"


def test_forget__while_somebody_writes__waits_for_the_turn(ledger, owner):
    done: list[int] = []
    with owner.transaction():
        version = write_here(owner, ("a", 1))
        forgetting = threading.Thread(
            target=lambda: done.append(forget(datetime.now(UTC) + timedelta(days=1)))
        )
        forgetting.start()
        await_waiting(1)
        assert done == []
    forgetting.join(timeout=20)
    # It saw what the other had committed meanwhile.
    assert stored(owner) == (version, version, [])
    assert done[0] >= 1


# --- versions


def await_waiting(count: int) -> None:
    """Wait until so many transactions wait for another's row."""
    with roles.connect_as_superuser() as superuser:

        def waiting() -> bool:
            row = superuser.execute(
                "select count(*) from pg_stat_activity"
                " where wait_event_type = 'Lock' and datname = current_database()"
            ).fetchone()
            return row == (count,)

        until(waiting)


def test_raise_snapshot__second_writer__waits_and_gets_the_next_version(ledger, owner):
    versions: list[int] = []

    def write_second() -> None:
        with roles.connect_as(roles.OWNER) as second:
            versions.append(write(second, ("b", 2)))

    with owner.transaction():
        first = write_here(owner, ("a", 1))
        thread = threading.Thread(target=write_second)
        thread.start()
        await_waiting(1)
        # Whoever reads in between knows of neither.
        with connect() as reader:
            ledger.refresh(reader, at_least=first)
        assert (ledger.version, dict(ledger.get())) == (first - 1, {})
    thread.join(timeout=20)
    assert versions == [first + 1]
    until(lambda: ledger.get() == {"a": 1, "b": 2})
    assert ledger.version == first + 1


def test_raise_snapshot__writer_that_gives_up__leaves_no_gap(ledger, owner):
    versions: list[int] = []

    def write_second() -> None:
        with roles.connect_as(roles.OWNER) as second:
            versions.append(write(second, ("b", 2)))

    with owner.transaction(force_rollback=True):
        lost = write_here(owner, ("a", 1))
        thread = threading.Thread(target=write_second)
        thread.start()
        await_waiting(1)
    thread.join(timeout=20)
    assert versions == [lost]
    until(lambda: ledger.get() == {"b": 2})


def test_raise_snapshot__many_writers__versions_come_in_the_order_of_commits(ledger, told, owner):
    def write_some(writer: int) -> None:
        with roles.connect_as(roles.OWNER) as connection:
            for number in range(10):
                write(connection, (f"{writer}", number), (f"{writer}.{number}", number))

    threads = [threading.Thread(target=write_some, args=[writer]) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    until(lambda: len(ledger.get()) == 44)
    assert {value for subject, value in ledger.get().items() if "." not in subject} == {9}
    until(lambda: sum(len(changes or ()) for changes in told) == 80)
    seen = [change.version for changes in told for change in changes or ()]
    # None twice, none too late, none left out.
    assert seen == sorted(seen)
    assert sorted(set(seen)) == list(range(seen[0], seen[0] + 40))
    assert ledger.loads == 1


@pytest.mark.parametrize("role", [roles.APP, roles.OPERATOR])
@pytest.mark.parametrize(
    "statement",
    [
        "select raise_snapshot('configs')",
        "select raise_snapshot('configs', true)",
        "insert into snapshot_changes (snapshot, version, subject) values ('configs', 1, 'x')",
        "delete from snapshot_changes",
        "update snapshot_versions set forgotten = version",
    ],
)
def test_versions__by_hand_of_a_login_role__are_out_of_reach(role, statement):
    with (
        roles.connect_as(role) as connection,
        roles.undone(connection),
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)
