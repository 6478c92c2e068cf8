"""What code is answered, and that it keeps up with the database whatever gets lost or broken."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import structlog
from django.utils import timezone
from psycopg import sql
from psycopg.types.json import Jsonb

from apps.configs import operations, queries
from apps.configs.models import ConfigKey
from apps.configs.operations import UNSET, Proposal
from apps.configs.runtime import (
    ABSENT,
    ByTenant,
    SecretUnreadable,
    UndeclaredKey,
    configs,
    override_config,
)
from apps.tenants.models import Enterprise
from layoverhq import snapshot as hot
from layoverhq.snapshot import Change, connect, listener
from layoverhq.tenancy import atomic, operator_scope
from tests.configs.factories import (
    await_undeclared,
    await_value,
    catch_up,
    declare,
    draft,
    key_name,
    other_process,
    publish,
    set_value,
    stored_version,
)
from tests.isolation import roles
from tests.kernel.test_snapshot import listener_pid, until
from tests.tenants.factories import make_enterprise


@pytest.fixture(autouse=True)
def _following() -> None:
    """Begin each test with the present in memory, and a listener."""
    configs.directory.get()
    listener.start()
    until(lambda: listener.connected.is_set())
    catch_up()


# --- answers


@pytest.mark.parametrize(
    ("value_type", "schema", "value", "answer"),
    [
        ("string", {}, "ünï", "ünï"),
        ("number", {"type": "integer"}, 30.0, 30),
        ("number", {}, 30, 30),
        ("number", {}, 0.5, 0.5),
        ("boolean", {}, False, False),
        ("array", {}, [1, ["a", None]], (1, ("a", None))),
        ("json", {}, {"a": [1, {"b": True}]}, {"a": (1, {"b": True})}),
    ],
)
def test_get__of_each_type__is_typed_by_the_declaration(value_type, schema, value, answer):
    defaulted = declare(value_type, schema=schema, default_value=value)
    key = declare(value_type, schema=schema)
    set_value(key, value)
    for one in (key, defaulted):
        await_value(one, answer)
        found = configs.get(one.key)
        assert (found, type(found)) == (answer, type(found))
        assert isinstance(found, Mapping) or type(found) is type(answer)
        # The same object each time: reading costs no copy.
        assert configs.get(one.key) is found


def test_get__neither_value_nor_default__is_none():
    key = declare()
    await_value(key, None)


def test_get__undeclared_key__raises_and_names_it(enterprise):
    name = key_name()
    for attempt in (
        lambda: configs.get(name),
        lambda: configs.get(name, enterprise),
        lambda: configs.together("layover.min_duration", name),
    ):
        with pytest.raises(UndeclaredKey, match=name):
            attempt()


def test_get__collections__cannot_be_changed_for_others():
    key, items = declare("json"), declare("array")
    set_value(key, {"a": {"b": [1, {"c": 2}]}})
    set_value(items, [[1], {"a": 1}])
    await_value(key, {"a": {"b": (1, {"c": 2})}})
    await_value(items, ((1,), {"a": 1}))
    found, listed = configs.get(key.key), configs.get(items.key)
    for attempt in (
        lambda: found.__setitem__("a", 1),
        lambda: found["a"].__setitem__("x", 1),
        lambda: found["a"]["b"][1].pop("c"),
        lambda: found.update(a=1),
        lambda: listed.append(1),
        lambda: listed[0].append(1),
        lambda: listed[1].clear(),
    ):
        with pytest.raises(AttributeError):
            attempt()
    with pytest.raises(TypeError):
        found["a"]["b"][1]["c"] = 3
    with pytest.raises(TypeError):
        listed[1]["a"] = 3
    assert configs.get(key.key) == {"a": {"b": (1, {"c": 2})}}
    assert configs.get(items.key) == ((1,), {"a": 1})


def test_get__for_a_tenant__is_its_own_then_the_platforms_then_the_default(
    enterprise, other_enterprise
):
    key = declare(default_value=1)
    await_value(key, 1, enterprise)
    set_value(key, 2)
    await_value(key, 2, enterprise)
    set_value(key, 3, enterprise)
    await_value(key, 3, enterprise)
    assert (configs.get(key.key), configs.get(key.key, other_enterprise)) == (2, 2)
    set_value(key, UNSET)
    await_value(key, 1, other_enterprise)
    assert configs.get(key.key, enterprise) == 3
    set_value(key, UNSET, enterprise)
    await_value(key, 1, enterprise)


def test_get__staged_release__reaches_who_it_should_and_ends(enterprise, other_enterprise):
    key = declare(default_value=1)
    release = draft(Proposal(key.key, 2))
    await_value(key, 1, enterprise)
    with operator_scope():
        operations.stage_release(change_set=release, enterprises=[enterprise])
    await_value(key, 2, enterprise)
    assert configs.get(key.key) == configs.get(key.key, other_enterprise) == 1
    with operator_scope():
        operations.change_audience(change_set=release, percentage=0, enterprises=[other_enterprise])
    await_value(key, 2, other_enterprise)
    assert configs.get(key.key, enterprise) == 1
    with operator_scope():
        operations.withdraw_release(change_set=release)
    await_value(key, 1, other_enterprise)


def test_get__key_withdrawn__is_undeclared_at_once():
    key = declare(default_value=1)
    await_value(key, 1)
    with operator_scope():
        operations.withdraw_declaration(key=ConfigKey.objects.get(pk=key.pk))
    await_undeclared(key)
    with pytest.raises(UndeclaredKey):
        configs.get(key.key)


# --- override_config


def test_override_config__for_a_block__holds_and_is_taken_back(enterprise):
    key, other = declare(default_value=1), declare("json", default_value={"a": 1})
    await_value(other, {"a": 1})
    with override_config({key.key: 2, other.key: {"b": [1]}}):
        assert configs.get(key.key) == configs.get(key.key, enterprise) == 2
        assert configs.get(other.key) == {"b": (1,)}
        with override_config({key.key: 3}):
            assert configs.get(key.key) == 3
            assert configs.get(other.key) == {"b": (1,)}
        assert configs.get(key.key) == 2
    assert configs.get(key.key) == 1
    assert configs.get(other.key) == {"a": 1}


def test_override_config__for_a_tenant__is_its_alone(enterprise, other_enterprise):
    key = declare(default_value=1)
    await_value(key, 1)
    with override_config({key.key: 2}, tenant=enterprise):
        assert configs.get(key.key, enterprise) == 2
        assert configs.get(key.key) == configs.get(key.key, other_enterprise) == 1
        with override_config({key.key: 3}):
            assert configs.get(key.key, enterprise) == 2
            assert configs.get(key.key, other_enterprise) == 3
    assert configs.get(key.key, enterprise) == 1


def test_override_config__block_that_raises__is_taken_back():
    key = declare(default_value=1)
    await_value(key, 1)
    with pytest.raises(ZeroDivisionError), override_config({key.key: 2}):
        raise ZeroDivisionError
    assert configs.get(key.key) == 1


def test_override_config__what_cannot_be__is_refused_whole():
    key, fine = declare(schema={"maximum": 5}), declare(default_value=1)
    await_value(fine, 1)
    for values, error in (
        ({fine.key: 2, key.key: 6}, ValueError),
        ({fine.key: 2, key.key: "6"}, ValueError),
        ({fine.key: 2, key_name(): 1}, UndeclaredKey),
    ):
        with pytest.raises(error), override_config(values):
            pytest.fail("the block ran")
        assert configs.get(fine.key) == 1


def test_override_config__while_others_change__lets_them_through():
    key, other = declare(default_value=1), declare(default_value=1)
    await_value(other, 1)
    with override_config({key.key: 2}):
        set_value(other, 5)
        set_value(key, 6)
        await_value(other, 5)
        assert configs.get(key.key) == 2
    await_value(key, 6)


def test_override_config__of_a_secret__takes_it_plain():
    key = declare("string", is_secret=True)
    set_value(key, "sealed hush")
    await_value(key, "sealed hush")
    with override_config({key.key: "plain hush"}):
        assert configs.get(key.key) == "plain hush"
    assert configs.get(key.key) == "sealed hush"


# --- keeping up


@contextmanager
def advances(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[frozenset[str]]]:
    """Record what the directory reads anew; loading the whole is recorded as no keys at all."""
    read: list[frozenset[str]] = []
    advance, load = configs.directory.advance, configs.directory.load

    def noting_advance(content: Any, changes: Sequence[Change], news: Any) -> Any:
        read.append(frozenset(change.subject for change in changes))
        return advance(content, changes, news)

    def noting_load(connection: Any) -> Any:
        read.append(frozenset())
        return load(connection)

    with monkeypatch.context() as patched:
        patched.setattr(configs.directory, "advance", noting_advance)
        patched.setattr(configs.directory, "load", noting_load)
        yield read


def test_change__of_one_key__rereads_that_key_alone(monkeypatch, enterprise):
    still, moving = declare("json", default_value={"a": 1}), declare(default_value=1)
    await_value(moving, 1)
    kept, kept_for_tenant = configs.get(still.key), configs.get(still.key, enterprise)
    entry = configs.directory.get().entries[still.key]
    with advances(monkeypatch) as read:
        set_value(moving, 2)
        set_value(moving, 3, enterprise)
        await_value(moving, 2)
        await_value(moving, 3, enterprise)
    assert read
    assert frozenset().union(*read) == {moving.key}
    assert configs.directory.get().entries[still.key] is entry
    # What was resolved of it is still in memory.
    assert configs.get(still.key) is kept
    assert configs.get(still.key, enterprise) is kept_for_tenant


def test_change__memo_of_old_content__never_reaches_the_new(enterprise):
    key = declare(default_value=1)
    await_value(key, 1, enterprise)
    assert configs.get(key.key) == 1
    old = configs.directory.get()
    assert old.value(key.key, None) == old.value(key.key, enterprise.pk) == 1
    set_value(key, 2)
    await_value(key, 2, enterprise)
    assert configs.get(key.key) == 2
    # A reader that took the old content before the swap goes on with it.
    old.entries[key.key].known.clear()
    assert old.value(key.key, None) == old.value(key.key, enterprise.pk) == 1
    old.entries[key.key].known[None] = "poison"
    old.entries[key.key].known[enterprise.pk.int] = "poison"
    assert configs.get(key.key) == configs.get(key.key, enterprise) == 2


def test_content__changed_while_somebody_fills_its_memo__stays_whole(enterprise):
    # Dicts that grow while they are copied raise RuntimeError, if they are copied carelessly.
    content = configs.directory.get()
    tenants = [make_enterprise().pk for _ in range(3)]
    keys = list(content.entries)
    stop = threading.Event()

    def fill() -> None:
        while not stop.is_set():
            for key in keys[:50]:
                content.entries[key].known.clear()
                for tenant in tenants:
                    content.value(key, tenant)

    filler = threading.Thread(target=fill)
    with structlog.testing.capture_logs():
        filler.start()
        try:
            for _ in range(300):
                copy = content.changed({"layover.min_duration": None})
                assert "layover.min_duration" not in copy.entries
                assert len(copy.entries) == len(content.entries) - 1
        finally:
            stop.set()
            filler.join(timeout=10)
    assert "layover.min_duration" in content.entries


def test_change__rolled_back__is_never_seen():
    key, marker = declare(default_value=1), declare(default_value=1)
    await_value(marker, 1)
    seen: list[Change] = []
    before = stored_version()
    until(lambda: configs.directory.version == before)

    def watch(changes: Any) -> None:
        # Of the swap before it may be told as well: watchers come after it.
        seen.extend(change for change in changes or () if change.version > before)

    configs.directory.watchers.append(watch)
    try:
        with operator_scope(), pytest.raises(ZeroDivisionError), atomic():
            publish_in_this_transaction(key, 666)
        set_value(marker, 2)
        until(lambda: seen)
    finally:
        configs.directory.watchers.remove(watch)
    assert configs.get(key.key) == 1
    assert {change.subject for change in seen} == {marker.key}
    assert {change.version for change in seen} == {before + 1}


def publish_in_this_transaction(key: ConfigKey, value: Any) -> None:
    operations.publish_change_set(change_set=draft(Proposal(key.key, value)))
    raise ZeroDivisionError


def test_change__of_several_keys__is_never_seen_by_half(enterprise):
    one, two = declare(default_value=0), declare(default_value=0)
    await_value(two, 0)
    last = 60
    mixed: list[tuple[Any, ...]] = []
    seen: set[Any] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            for tenant in (None, enterprise):
                pair = configs.together(one.key, two.key, tenant=tenant)
                seen.add(pair[0])
                if pair[0] != pair[1]:
                    mixed.append(pair)

    readers = [threading.Thread(target=read) for _ in range(2)]
    usual = sys.getswitchinterval()
    # Threads take turns in the midst of everything.
    sys.setswitchinterval(1e-5)
    for reader in readers:
        reader.start()
    try:
        for number in range(1, last + 1):
            publish(
                Proposal(one.key, number),
                Proposal(two.key, number),
                Proposal(one.key, -number, enterprise),
                Proposal(two.key, -number, enterprise),
            )
        await_value(one, last)
    finally:
        sys.setswitchinterval(usual)
        stop.set()
        for reader in readers:
            reader.join(timeout=10)
    assert mixed == []
    assert len(seen) > 10


def test_second_process__sees_a_commit(enterprise):
    key = declare(default_value=1)
    with other_process() as other:
        assert other.get(key) == 1
        set_value(key, 2)
        set_value(key, 3, enterprise)
        until(lambda: other.get(key) == 2)
        until(lambda: other.get(key, enterprise) == 3)
        set_value(key, UNSET)
        until(lambda: other.get(key) == 1)


# --- what is lost on the way


def test_listener__killed_while_values_change__heals_when_it_is_back(enterprise):
    key = declare(default_value=0)
    await_value(key, 0)
    with structlog.testing.capture_logs():
        for number in range(1, 4):
            pid = listener_pid()
            roles.terminate(pid)
            set_value(key, number)
            set_value(key, -number, enterprise)
            await_value(key, number)
            await_value(key, -number, enterprise)
            assert listener_pid() != pid


@contextmanager
def deaf_listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Run a listener whose LISTEN is lost, as behind a pooler; yields what it hears."""
    heard: list[str] = []

    def deaf() -> Any:
        connection = connect()
        execute = connection.execute

        def without_listen(query: Any, *args: Any, **kwargs: Any) -> Any:
            return execute(
                "unlisten *" if query == "listen hot_snapshot" else query, *args, **kwargs
            )

        monkeypatch.setattr(connection, "execute", without_listen)
        return connection

    def obey(self: Any, connection: Any, payload: str) -> bool:
        heard.append(payload)
        return True

    listener.stop()
    try:
        with monkeypatch.context() as patched:
            patched.setattr(hot, "RECONCILE_SECONDS", 0.1)
            patched.setattr(hot, "connect", deaf)
            patched.setattr(type(listener), "_obey", obey)
            listener.start()
            until(lambda: listener.connected.is_set())
            yield heard
            listener.stop()
    finally:
        listener.start()


def test_listener__whose_listen_is_lost__heals_within_the_interval(monkeypatch, enterprise):
    key = declare(default_value=0)
    await_value(key, 0)
    with deaf_listener(monkeypatch) as heard:
        set_value(key, 1)
        await_value(key, 1)
        set_value(key, 2, enterprise)
        await_value(key, 2, enterprise)
        assert heard == []


def test_changes__forgotten_before_they_were_seen__bring_the_whole(monkeypatch, enterprise):
    key, other = declare(default_value=0), declare(default_value=0)
    await_value(other, 0)
    listener.stop()
    set_value(key, 1)
    set_value(key, 2, enterprise)
    with roles.connect_as(roles.OPERATOR) as operator:
        operator.execute("select forget_snapshot_changes(%s)", [timezone.now()])
    set_value(other, 3)
    told: list[Any] = []
    configs.directory.watchers.append(told.append)
    try:
        with advances(monkeypatch) as read:
            listener.start()
            await_value(other, 3)
            until(lambda: told)
    finally:
        configs.directory.watchers.remove(told.append)
    assert read == [frozenset()]
    assert told == [None]
    assert configs.get(key.key) == 1
    assert configs.get(key.key, enterprise) == 2


def test_changes__missed_and_not_forgotten__are_caught_up_one_by_one(monkeypatch, enterprise):
    key, other = declare(default_value=0), declare(default_value=0)
    await_value(other, 0)
    listener.stop()
    set_value(key, 1)
    set_value(other, 2, enterprise)
    with advances(monkeypatch) as read:
        listener.start()
        await_value(other, 2, enterprise)
    assert read == [{key.key, other.key}]
    assert configs.get(key.key) == 1


def test_tables__emptied_by_hand__are_read_as_they_are(monkeypatch):
    # TRUNCATE tells no keys.
    with advances(monkeypatch) as read, roles.connect_as(roles.OWNER) as owner:
        owner.execute("select raise_snapshot('configs', true)")
        until(lambda: frozenset() in read)
    assert configs.get("layover.min_duration") is not None


# --- what needs a restart


def test_restart__key_that_needs_it__stays_as_the_process_found_it():
    key, marker = declare(default_value=1, requires_restart=True), declare(default_value=0)
    await_value(key, 1)
    set_value(key, 2)
    with operator_scope():
        explained = queries.explain_config(key.key, None)
    assert explained[0].value == 2
    with other_process() as other:
        assert other.get(key) == 2
        until(lambda: [holder.version for holder in holders(key, other.pid)] == [1])
        set_value(key, 3)
        set_value(marker, 1)
        until(lambda: other.get(marker) == 1)
        await_value(marker, 1)
        # Both follow, and neither changed its mind.
        assert other.get(key) == 2
        assert configs.get(key.key) == 1
        # Nor does loading everything anew.
        with roles.connect_as(roles.OWNER) as owner:
            owner.execute("select raise_snapshot('configs', true)")
        set_value(marker, 2)
        until(lambda: other.get(marker) == 2)
        assert other.get(key) == 2
        (holder,) = holders(key, other.pid)
        assert (holder.kind, holder.version) == ("other", 1)
        pid = other.pid
    assert holders(key, pid) == []
    with other_process() as restarted:
        assert restarted.get(key) == 3
        until(lambda: [holder.version for holder in holders(key, restarted.pid)] == [2])


def holders(key: ConfigKey, pid: int) -> list[queries.RunningProcess]:
    with operator_scope():
        return [holder for holder in queries.processes_with(key.key) if holder.pid == pid]


def test_processes_with__process_that_died_without_a_word__is_gone_after_a_while():
    key = declare(requires_restart=True)
    with roles.connect_as_superuser() as superuser:
        for number, seconds in enumerate((80, 100)):
            superuser.execute(
                "insert into processes (id, kind, host, pid, started_at, seen_at, holds) values"
                " (uuidv7(), 'web', 'dead', %s, now(), now() - make_interval(secs => %s), %s)",
                [number, seconds, Jsonb({"configs": {"version": 9, "pinned": {key.key: 7}}})],
            )
    with operator_scope():
        found = queries.processes_with(key.key)
    dead = [(holder.pid, holder.version) for holder in found if holder.host == "dead"]
    assert dead == [(0, 7)]


def test_processes_with__key_that_needs_no_restart__names_none():
    key = declare(default_value=1)
    await_value(key, 1)
    with operator_scope():
        assert queries.processes_with(key.key) == []


# --- what is broken in the table


@contextmanager
def corrupted(key: ConfigKey, value: str, tenant: Enterprise | None = None) -> Iterator[None]:
    """Let a value be this JSON text, past every constraint, by a superuser's hand."""
    replace_value = (
        "update system_configs set value = %s::jsonb"
        " where key = %s and tenant_id is not distinct from %s and is_active"
    )
    where = [key.key, tenant.pk if tenant else None]
    with roles.connect_as_superuser() as superuser:
        usual, definition = superuser.execute(
            "select c.value::text, pg_get_constraintdef(k.oid)"
            " from system_configs c cross join pg_constraint k"
            " where c.key = %s and c.tenant_id is not distinct from %s and c.is_active"
            " and k.conname = 'system_configs_value_typed'",
            where,
        ).fetchone() or (None, None)
        assert usual
        with superuser.transaction():
            superuser.execute(
                "alter table system_configs drop constraint system_configs_value_typed"
            )
            superuser.execute(replace_value, [value, *where])
        try:
            catch_up()
            yield
        finally:
            with superuser.transaction():
                superuser.execute(replace_value, [usual, *where])
                superuser.execute(
                    sql.SQL(
                        "alter table system_configs add constraint system_configs_value_typed {}"
                    ).format(sql.SQL(definition))
                )
            catch_up()


CORRUPT = {
    "another type": '"text"',
    "an object": '{"a": 1}',
    "beyond 2^53": "1e20",
    "beyond every float": "1e400",
    "out of bounds": "99",
    "a list": "[1, [2]]",
    "a switch": "true",
}


@pytest.mark.parametrize("value", CORRUPT.values(), ids=CORRUPT)
def test_corrupt_value__platforms__degrades_to_the_default_and_says_so(
    enterprise, other_enterprise, value
):
    key = declare(default_value=5, schema={"maximum": 10, "type": "integer"})
    healthy = declare(default_value=1)
    set_value(key, 6)
    set_value(key, 7, enterprise)
    await_value(key, 7, enterprise)
    with corrupted(key, value):
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                assert configs.get(key.key) == 5
                assert configs.get(key.key, other_enterprise) == 5
        # Nobody else's value suffers, and no other key.
        assert configs.get(key.key, enterprise) == 7
        assert configs.get(healthy.key) == 1
        assert configs.together(key.key, healthy.key) == (5, 1)
        # Once for each who met it, not once a read.
        alerts = [line for line in logs if line["event"] == "config_value_unusable"]
        assert sorted((line["key"], line["tenant_id"]) for line in alerts) == sorted(
            [(key.key, ""), (key.key, str(other_enterprise.pk))]
        )
        assert all(line["log_level"] == "error" for line in alerts)
        assert set(configs.faults()) >= {(key.key, None), (key.key, other_enterprise.pk)}
        assert (key.key, enterprise.pk) not in configs.faults()
    await_value(key, 6)
    assert (key.key, None) not in configs.faults()


def test_corrupt_value__of_a_tenant__degrades_for_that_tenant_alone(enterprise, other_enterprise):
    key = declare(default_value=5)
    set_value(key, 6)
    set_value(key, 7, enterprise)
    await_value(key, 7, enterprise)
    with corrupted(key, '"text"', enterprise), structlog.testing.capture_logs():
        assert configs.get(key.key, enterprise) == 5
        assert configs.get(key.key) == configs.get(key.key, other_enterprise) == 6
        assert [found for found in configs.faults() if found[0] == key.key] == [
            (key.key, enterprise.pk)
        ]


def test_corrupt_value__null__counts_as_none():
    key = declare(default_value=5)
    set_value(key, 6)
    await_value(key, 6)
    with corrupted(key, "null"), structlog.testing.capture_logs():
        assert configs.get(key.key) == 5


def test_corrupt_value__faults__finds_it_before_anybody_reads_it():
    key = declare(default_value=5)
    set_value(key, 6)
    with corrupted(key, '"text"'), structlog.testing.capture_logs():
        assert (key.key, None) in configs.faults()


@pytest.mark.parametrize(
    "schema",
    [{"pattern": "("}, {"$ref": "#/nowhere"}, {"minimum": "x"}, {"allOf": 5}, {"pattern": "(a+)+"}],
    ids=str,
)
def test_corrupt_schema__planted_by_hand__degrades_its_key_alone(schema):
    key, healthy = declare("string", default_value="default"), declare(default_value=1)
    set_value(key, "value")
    await_value(key, "value")
    with structlog.testing.capture_logs() as logs, roles.connect_as(roles.OPERATOR) as operator:
        operator.execute(
            "update config_keys set schema = %s where key = %s", [Jsonb(schema), key.key]
        )
        await_value(key, "default")
        assert configs.get(healthy.key) == 1
        assert (key.key, None) in configs.faults()
    assert key.key in {line["key"] for line in logs if line["event"] == "config_value_unusable"}


@pytest.mark.parametrize(
    "sealed",
    ['"sealed:test:AAAA"', '"sealed:nobody:AAAA"', '"plain"', '""', "5", "null", '"sealed:test:%"'],
)
def test_corrupt_secret__raises_for_that_key_alone(enterprise, sealed):
    key = declare("string", is_secret=True)
    healthy, tenants = declare("string", is_secret=True), declare(default_value=1)
    set_value(key, "hush")
    set_value(key, "tenant's hush", enterprise)
    set_value(healthy, "other hush")
    await_value(healthy, "other hush")
    with corrupted(key, sealed), structlog.testing.capture_logs():
        if sealed == "null":
            assert configs.get(key.key) is None
        else:
            for _ in range(2):
                with pytest.raises(SecretUnreadable, match=key.key):
                    configs.get(key.key)
                with pytest.raises(SecretUnreadable, match=key.key):
                    configs.together(healthy.key, key.key)
            assert (key.key, None) in configs.faults()
        assert configs.get(key.key, enterprise) == "tenant's hush"
        assert configs.get(healthy.key) == "other hush"
        assert configs.get(tenants.key) == 1
    await_value(key, "hush")


# --- content by itself


def test_entry__layers__come_in_the_guides_order(enterprise):
    key = declare(default_value=1)
    set_value(key, 2)
    await_value(key, 2)
    entry = configs.directory.get().entries[key.key]
    assert list(entry.layers(None)) == [2]
    assert list(replace(entry, platform=ABSENT).layers(None)) == []
    owned = replace(entry, overrides=ByTenant({enterprise.pk.int: 3}))
    assert list(owned.layers(enterprise.pk)) == [3, 2]
    assert list(owned.layers(None)) == [2]


def test_directory__many_tenants_overrides__share_their_ids(enterprise):
    one, two = declare(), declare()
    set_value(one, 1, enterprise)
    set_value(two, 1, enterprise)
    await_value(two, 1, enterprise)
    configs.directory.forget()
    entries = configs.directory.get().entries
    # Kept by number: see ByTenant.
    (first,), (second,) = entries[one.key].overrides._values, entries[two.key].overrides._values
    assert first is second
