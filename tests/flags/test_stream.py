"""Flags on the event stream, served for real: whom a change concerns, and where clients resume."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from apps.configs.operations import UNSET
from apps.configs.stream.hub import Hub
from apps.flags.dependents import Dependents
from apps.flags.runtime import flags
from apps.flags.stream import FlagChanges
from apps.tenants.directory import api_keys
from apps.tenants.models import Enterprise, Scope
from layoverhq.snapshot import listener
from tests.configs import test_stream as streams
from tests.configs.declared import declare, publish
from tests.configs.test_stream import OPENED, PATIENCE_SECONDS, EventSource, Server, serving
from tests.flags.rows import change, change_segment, plant_flag, plant_segment, version_now
from tests.isolation import roles
from tests.tenants import factories

FLAGS = (Scope.FLAGS_READ,)
CONFIGS = (Scope.CONFIGS_READ,)
BOTH = (Scope.CONFIGS_READ, Scope.FLAGS_READ)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


@pytest.fixture(scope="module")
def server(_database: None) -> Iterator[Server]:
    """A stream process with a heart that beats each second."""
    publish(("stream.heartbeat", 1))
    with serving() as running:
        yield running
        log = running.log.read_text()
    publish(("stream.heartbeat", UNSET))
    assert "Traceback" not in log, log


@pytest.fixture
def connect(server: Server, enterprise: Enterprise) -> Any:
    """Open a client of the enterprise with these scopes; its key is a notification away."""
    tokens: dict[Sequence[Scope], str] = {}

    def connect(
        scopes: Sequence[Scope], last: str | None = None, *, status: int = 200
    ) -> EventSource:
        token = tokens.get(scopes) or tokens.setdefault(
            scopes, factories.make_key(enterprise, scopes).token
        )
        if last is None:
            # From now on: what a test prepared may not have reached the process yet.
            last = f"configs={streams.version_now()};flags={version_now()}"
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            client = EventSource(server, token, last)
            if client.response.status == status:
                return client.opened() if status == 200 else client
            assert time.monotonic() < deadline, client.response.read()
            client.close()
            time.sleep(0.01)

    return connect


def names(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["flag"] for event in events]


# --- what is told


def test_change__of_a_visible_flag__is_told_by_name_and_nothing_else(connect):
    flag = plant_flag()
    client = connect(FLAGS)
    version = change(flag, rollout_percentage=50)
    assert client.event() == {
        "event": "flag_change",
        "id": f"flags={version}",
        "data": json.dumps({"flag": flag, "version": version}),
        "flag": flag,
        "version": version,
    }


def test_change__of_a_flag_that_tenants_do_not_see__is_told_to_nobody(connect):
    hidden, archived = plant_flag(tenant_visible=False), plant_flag(is_archived=True)
    sentinel = plant_flag()
    client = connect(FLAGS)
    change(hidden, rollout_percentage=50)
    change(archived, rollout_percentage=50)
    change(sentinel, rollout_percentage=50)
    assert client.event()["flag"] == sentinel


@pytest.mark.parametrize("gone", [{"tenant_visible": False}, {"is_archived": True}])
def test_flag__taken_out_of_sight__is_told_once_more_and_never_again(connect, gone):
    flag, sentinel = plant_flag(), plant_flag()
    client = connect(FLAGS)
    change(flag, **gone)
    assert client.event()["flag"] == flag
    change(flag, rollout_percentage=50)
    change(sentinel, rollout_percentage=50)
    assert client.event()["flag"] == sentinel


def test_flag__that_is_killed_or_brought_into_sight__is_told(connect):
    flag = plant_flag(tenant_visible=False)
    client = connect(FLAGS)
    change(flag, tenant_visible=True)
    change(flag, is_killed=True)
    assert names([client.event(), client.event()]) == [flag, flag]


def test_segment__changed__is_told_as_the_flags_that_ask_for_it(connect):
    inner = plant_segment(members=["a"])
    outer = plant_segment(conditions={"$not": {"user": {"$notInGroup": inner}}})
    in_rule = plant_flag(
        rules=[{"id": "r", "conditions": {"user": {"$inGroup": outer}}, "rollout": 10_000,
                "variant": "on"}]
    )  # fmt: skip
    in_conditions = plant_flag(conditions={"$or": [{"user": {"$inGroup": inner}}]})
    plant_flag(conditions={"user": {"$inGroup": inner}}, tenant_visible=False)
    others = plant_flag(conditions={"user": {"$inGroup": plant_segment()}})
    client = connect(FLAGS)
    version = change_segment(inner, members=["b"])
    told = [client.event(), client.event()]
    assert names(told) == sorted([in_rule, in_conditions])
    # The one in between says how far in the version the client is.
    assert [event["id"] for event in told] == [f"flags={version}/{told[0]['flag']}",
                                               f"flags={version}"]  # fmt: skip
    change(others, rollout_percentage=50)
    assert client.event()["flag"] == others
    # Nobody asked for it any more: what asked is told of itself, then no more.
    change(in_rule, rules=[])
    change_segment(outer, conditions={})
    change(others, rollout_percentage=60)
    assert names([client.event(), client.event()]) == [in_rule, others]


def test_prerequisite__changed__is_told_as_the_flags_that_need_it(connect):
    first = plant_flag(tenant_visible=False)
    second = plant_flag(tenant_visible=False, prerequisites=[{"flag": first, "variants": ["on"]}])
    seen = plant_flag(prerequisites=[{"flag": second, "variants": ["on"]}])
    client = connect(FLAGS)
    assert flags.enabled(seen, {})
    change(first, is_killed=True)
    assert client.event()["flag"] == seen
    assert not flags.enabled(seen, {})


def test_whole_reload__is_a_reset_of_flags_alone(connect):
    key, flag = declare(), plant_flag()
    client = connect(BOTH)
    configs_alone = connect(CONFIGS)
    with roles.connect_as(roles.OPERATOR) as operator:
        operator.execute(
            "insert into flag_namespaces (name, salt) values (%s, 's')", [factories.unique("ns")]
        )
    event = client.event()
    assert (event["event"], event["list"], event["version"]) == ("reset", "flags", version_now())
    publish((key, 5))
    assert configs_alone.event()["key"] == client.event()["key"] == key.key
    change(flag, rollout_percentage=50)
    assert client.event()["flag"] == flag


# --- to whom


def test_scopes__each__brings_its_list_and_both_bring_both(connect):
    key, flag = declare(), plant_flag()
    clients = {scopes: connect(scopes) for scopes in (CONFIGS, FLAGS, BOTH)}
    configs_at, flags_at = streams.version_now(), version_now()
    publish((key, 5))
    assert clients[CONFIGS].event()["id"] == f"configs={configs_at + 1}"
    assert clients[BOTH].event()["id"] == f"configs={configs_at + 1};flags={flags_at}"
    change(flag, rollout_percentage=50)
    assert clients[FLAGS].event()["id"] == f"flags={flags_at + 1}"
    assert clients[BOTH].event()["id"] == f"configs={configs_at + 1};flags={flags_at + 1}"
    # And nothing of the other list, but for its place in signs of life.
    assert clients[CONFIGS].block() == {"": "still here", "id": f"configs={configs_at + 1}"}
    while (block := clients[FLAGS].block()) != {"": "still here", "id": f"flags={flags_at + 1}"}:
        assert "event" not in block


def test_scopes__neither__is_403_and_names_both(connect):
    client = connect((Scope.FLIGHTS_READ, Scope.CONFIGS_WRITE, Scope.EVENTS_WRITE), status=403)
    body = json.loads(client.response.read())
    assert body["code"] == "scope_missing"
    assert Scope.CONFIGS_READ in body["detail"]
    assert Scope.FLAGS_READ in body["detail"]


def test_web__asked_for_events_by_a_key_of_flags__knows_the_scope(enterprise):
    response = factories.make_client(enterprise, FLAGS).get(streams.PATH)
    # The stream process has them, for whoever may read either.
    assert (response.status_code, response.json()["code"]) == (404, "not_routed")


def test_key__whose_scopes_change__is_ended_and_comes_back_to_what_it_may_read(connect, enterprise):
    flag = plant_flag()
    client = connect(BOTH)
    with roles.connect_as_superuser() as superuser:
        superuser.execute(
            "update api_keys set scopes = %s where enterprise_id = %s",
            [list(FLAGS), enterprise.pk],
        )
    assert client.event() is None
    again = connect(BOTH, client.last)
    assert again.last == f"flags={version_now()}"
    change(flag, rollout_percentage=50)
    assert again.event()["flag"] == flag


def test_override__of_another_tenant__is_told_without_whose(connect, other_enterprise):
    flag = plant_flag()
    client = connect(FLAGS)
    version = change(flag, tenant_overrides={str(other_enterprise.pk): False})
    event = client.event()
    assert json.loads(event["data"]) == {"flag": flag, "version": version}


# --- resuming


def test_resume__both_lists__each_tells_what_was_missed_of_it(connect):
    key, flag = declare(), plant_flag()
    client, watching = connect(BOTH), connect(BOTH)
    client.close()
    publish((key, 5))
    change(flag, rollout_percentage=50)
    # The process knows of both.
    assert {watching.event()["event"] for _ in range(2)} == {"config_change", "flag_change"}
    again = connect(BOTH, client.last)
    first, second = again.missed
    assert (first["key"], second["flag"]) == (key.key, flag)
    # Cut after the first, it is told the second alone.
    resumed = connect(BOTH, first["id"])
    assert names(resumed.missed) == [flag]
    assert again.last == resumed.last == f"configs={streams.version_now()};flags={version_now()}"
    assert connect(BOTH, again.last).missed == []


def test_resume__id_of_an_earlier_release__tells_configs_and_begins_flags_now(connect):
    key, flag = declare(), plant_flag()
    last, watching = f"configs={streams.version_now()}", connect(BOTH)
    publish((key, 5))
    change(flag, rollout_percentage=50)
    assert {watching.event()["event"] for _ in range(2)} == {"config_change", "flag_change"}
    client = connect(BOTH, last)
    assert [event["key"] for event in client.missed] == [key.key]
    version = change(flag, rollout_percentage=60)
    assert client.event()["version"] == version


def test_resume__in_a_version_of_many_flags__tells_those_behind_the_last(connect):
    segment = plant_segment()
    asking = sorted(plant_flag(conditions={"user": {"$inGroup": segment}}) for _ in range(4))
    client = connect(FLAGS)
    change_segment(segment, members=["x"])
    told = [client.event() for _ in asking]
    assert names(told) == asking
    for number, event in enumerate(told, start=1):
        assert names(connect(FLAGS, event["id"]).missed) == asking[number:]


@pytest.mark.parametrize("last", ["x", "configs=1;flags=x", "flags=1/../x", ";", "other=5"])
def test_resume__id_that_is_none__resets_each_list_and_may_be_cut_in_between(connect, last):
    client = connect(BOTH, last)
    assert [(event["event"], event["list"]) for event in client.missed] == [
        ("reset", "configs"),
        ("reset", "flags"),
    ]
    first, second = client.missed
    assert second["id"] == f"configs={first['version']};flags={second['version']}"
    # Whoever got the first alone has lost nothing of the other list.
    again = connect(BOTH, first["id"])
    assert again.missed
    assert {event["event"] for event in again.missed} <= {"reset", "flag_change"}
    if again.missed[0]["event"] == "flag_change":
        assert set(names(again.missed)) >= {"real_time_weather"}


def test_resume__flags_forgotten__resets_flags_and_resumes_configs(connect):
    key, flag = declare(), plant_flag()
    client, watching = connect(BOTH), connect(BOTH)
    client.close()
    change(flag, rollout_percentage=50)
    with roles.connect_as_superuser() as superuser:
        superuser.execute("update snapshot_versions set forgotten = version where name = 'flags'")
    publish((key, 5))
    assert {watching.event()["event"] for _ in range(2)} == {"config_change", "flag_change"}
    again = connect(BOTH, client.last)
    assert again.missed[0]["key"] == key.key
    assert [(event["event"], event["list"]) for event in again.missed[1:]] == [("reset", "flags")]
    # The first event does not pretend that flags were told.
    flags_then = client.last.partition(";")[2]
    assert again.missed[0]["id"].partition(";")[2] == flags_then


def test_beat__of_both_lists__moves_both_places(connect):
    hidden = plant_flag(tenant_visible=False)
    client = connect(BOTH)
    version = change(hidden, rollout_percentage=50)
    deadline = time.monotonic() + PATIENCE_SECONDS
    wanted = f"configs={streams.version_now()};flags={version}"
    while (block := client.block()) != {"": "still here", "id": wanted}:
        assert "event" not in block
        assert time.monotonic() < deadline


# --- in this process


def test_resume__process_behind_the_database__tells_of_a_flag_that_it_does_not_know(enterprise):
    token = factories.make_key(enterprise, FLAGS).token
    factories.await_key(token)
    principal = api_keys.find(token)
    assert principal is not None
    segment = plant_segment()
    known = plant_flag()

    async def main() -> None:
        hub = Hub(1, [FlagChanges()])
        hub.start()
        stream = hub.join(principal)
        feed = hub.feeds["flags"]
        behind = feed.version
        listener.stop()
        try:
            conditions = {"user": {"$inGroup": segment}}
            asking = plant_flag(known=False, conditions=conditions)
            hidden = plant_flag(known=False, conditions=conditions, tenant_visible=False)
            change(known, known=False, rollout_percentage=50)
            version = change_segment(segment, known=False, members=["a"])
            events = await hub.missed(stream, f"flags={behind - 1}")
            assert feed.version == behind
            told = [(event.name, event.version) for event in events]
            assert told == [(known, version - 1), (asking, version)]
            assert hidden not in str(events)
        finally:
            listener.start()
        while feed.version < version:
            await asyncio.sleep(0.01)
        # The live feed tells it as well, and it is not sent again.
        assert await stream.next(PATIENCE_SECONDS) == b""
        hub.leave(stream)
        await hub.close()

    asyncio.run(main())


def test_touched__flag_that_looks_by_two_ways__is_told_of_the_later():
    inner = plant_segment()
    outer = plant_segment(conditions={"user": {"$inGroup": inner}})
    first = plant_flag(conditions={"user": {"$inGroup": inner}})
    second = plant_flag(
        conditions={"user": {"$inGroup": outer}},
        prerequisites=[{"flag": first, "variants": ["on"]}],
    )
    dependents, content = Dependents(), flags.directory.get()
    touched = dependents.touched(content, {f"segment {inner}": 5, f"segment {outer}": 7})
    assert {first: 5, second: 7}.items() <= touched.items()
    assert dependents.touched(content, {f"flag {first}": 9}) == {first: 9, second: 9}
    assert dependents.touched(content, {f"flag {second}": 9}) == {second: 9}
    # What a flag looks at is taken anew when it changes.
    change(second, conditions={}, prerequisites=[])
    assert dependents.touched(flags.directory.get(), {f"flag {first}": 9}) == {first: 9}


def test_touched__prerequisites_in_a_circle__ends():
    first, second = plant_flag(), plant_flag()
    change(first, prerequisites=[{"flag": second, "variants": ["on"]}])
    change(second, prerequisites=[{"flag": first, "variants": ["on"]}])
    touched = Dependents().touched(flags.directory.get(), {f"flag {first}": 3})
    assert touched == {first: 3, second: 3}
