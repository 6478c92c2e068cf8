"""The event stream, served for real: nothing is lost, nothing is told to the wrong one."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.conf import settings as live_settings
from django.db import connections
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from apps.configs.models import ConfigCategory
from apps.configs.operations import UNSET, Proposal, set_override
from apps.configs.runtime import configs
from apps.configs.stream import hub as streaming
from apps.configs.stream.asgi import EventsApp
from apps.configs.stream.changes import ConfigChanges
from apps.configs.stream.hub import Hub
from apps.configs.stream.places import Place, parsed, written
from apps.configs.stream.sources import events_of
from apps.tenants.directory import api_keys
from apps.tenants.models import ApiKey, Enterprise, Scope
from apps.tenants.operations import resume_enterprise, revoke_api_keys, suspend_enterprise
from layoverhq.errors import PROBLEM_CONTENT_TYPE
from layoverhq.snapshot import Change, connect, listener
from layoverhq.stack import Stack
from layoverhq.stack.ports import free_ports
from layoverhq.tenancy import operator_scope, tenant_scope
from tests.configs import factories as keys
from tests.configs.declared import declare, publish
from tests.isolation import roles
from tests.kernel.test_snapshot import until
from tests.servers import WORKER
from tests.tenants import factories

PATH = "/api/v1/events"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
PATIENCE_SECONDS = 20
STREAMS = 1000
# Each worker looks for its ports in a range of its own.
FIRST_PORT = 18_000 + 500 * (int(WORKER.removeprefix("gw")) + 1 if WORKER != "main" else 0)


class Server:
    """A running `manage.py stream`."""

    command = "stream"

    def __init__(self, environ: dict[str, str], log: Path) -> None:
        self.port = next(free_ports(FIRST_PORT))
        self.log = log
        self._environ = environ
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", self.command],
                cwd=live_settings.BASE_DIR,
                env={**os.environ, **self._environ, "PORT": str(self.port)},
                stderr=log,
                stdout=log,
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(HEALTH)
                return connection.recv(15) == b"HTTP/1.1 200 OK"
        except OSError:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=30)


@contextmanager
def serving(environ: dict[str, str] | None = None, kind: type[Server] = Server) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        server = kind(environ or {}, Path(folder) / "log")
        try:
            yield server
        finally:
            if server.process.poll() is None:
                server.stop()


OPENED: list[EventSource] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


class EventSource:
    """One client, as a program that reads line by line."""

    def __init__(self, server: Server, token: str, last: str = "", query: str = "") -> None:
        self.connection = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS)
        headers = {"Authorization": f"Bearer {token}", "X-Request-ID": "the-tests"}
        if last:
            headers["Last-Event-ID"] = last
        self.connection.request("GET", PATH + query, headers=headers)
        self.response = self.connection.getresponse()
        self.last = last
        OPENED.append(self)

    def block(self) -> dict[str, str]:
        """Return the next block's fields; an empty one at the end of the stream."""
        fields: dict[str, str] = {}
        while line := self.response.readline().decode():
            if line == "\n":
                break
            name, _, value = line.rstrip("\n").partition(":")
            fields[name] = value.strip()
        if "id" in fields:
            self.last = fields["id"]
        return fields

    def event(self) -> dict[str, Any] | None:
        """Return the next event; None at the end of the stream."""
        while block := self.block():
            if "event" in block:
                return {**block, **json.loads(block["data"])}
        return None

    def opened(self) -> EventSource:
        """Read on until all that was missed is told."""
        self.missed: list[dict[str, Any]] = []
        while block := self.block():
            if "event" in block:
                self.missed.append({**block, **json.loads(block["data"])})
            elif "id" in block and "" not in block:
                return self
        raise AssertionError("the stream ended")

    def told(self, number: int) -> list[dict[str, Any]]:
        """Return the first events, whether they were missed or are live to the process."""
        while len(self.missed) < number:
            event = self.event()
            assert event is not None, "the stream ended"
            self.missed.append(event)
        return self.missed

    def close(self) -> None:
        self.response.close()
        self.connection.close()


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
def token(enterprise: Enterprise) -> str:
    """A key that reads configuration and no flags, so that ids have one list."""
    return factories.make_key(enterprise, (Scope.CONFIGS_READ, Scope.CONFIGS_WRITE)).token


@pytest.fixture
def connect_to(server: Server) -> Any:
    """Open clients; a key is a notification away."""

    def connect(token: str, *, status: int = 200, **options: Any) -> EventSource:
        # From now on: what a test prepared may not have reached the process yet.
        options = options or {"last": f"configs={version_now()}"}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            client = EventSource(server, token, **options)
            if client.response.status == status:
                return client.opened() if status == 200 else client
            assert time.monotonic() < deadline, client.response.read()
            client.close()
            time.sleep(0.01)

    return connect


def set_own(enterprise: Enterprise, key: Any, value: Any, version: int = 0) -> None:
    with tenant_scope(enterprise.ref):
        set_override(
            tenant=enterprise.ref, key=key.key, value=value, version=version, reason="the tests"
        )


def version_now() -> int:
    with connect() as connection:
        row = connection.execute(
            "select version from snapshot_versions where name = 'configs'"
        ).fetchone()
    assert row is not None
    return int(row["version"])


# --- what is told


def test_opening__client__gets_headers_a_comment_and_its_place(server, enterprise, token):
    factories.await_key(token)
    until(lambda: EventSource(server, token).response.status == 200)
    client = EventSource(server, token)
    headers = client.response.headers
    assert headers["Content-Type"] == "text/event-stream"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["X-Request-ID"] == "the-tests"
    assert client.block() == {"": "connected", "retry": "2000"}
    assert client.block() == {"id": f"configs={version_now()}"}
    client.close()


def test_own_change__over_the_api__is_told_without_its_value(connect_to, enterprise, token):
    key = declare("string")
    client = connect_to(token)
    put = factories.client_with(token).put(
        f"/api/v1/configs/{key.key}",
        {"value": "hush-hush", "version": 0},
        content_type="application/json",
    )
    assert put.status_code == 201
    event = client.event()
    version = version_now()
    assert event == {
        "event": "config_change",
        "id": f"configs={version}",
        "data": json.dumps({"key": key.key, "version": version, "own": True}),
        "key": key.key,
        "version": version,
        "own": True,
    }
    assert "hush" not in str(event)


def test_platforms_change__every_tenant__is_told(connect_to, enterprise, other_enterprise, token):
    key = declare()
    clients = [connect_to(token), connect_to(factories.make_key(other_enterprise).token)]
    publish((key, 5))
    for client in clients:
        event = client.event()
        assert (event["key"], event["own"]) == (key.key, False)


def test_another_tenants_change__is_told_to_that_one_alone(
    connect_to, enterprise, other_enterprise, token
):
    key, sentinel = declare(), declare()
    mine = connect_to(token)
    others = connect_to(factories.make_key(other_enterprise).token)
    set_own(other_enterprise, key, 5)
    publish((sentinel, 1))
    assert (others.event()["key"], others.event()["key"]) == (key.key, sentinel.key)
    # The first thing that this one hears of is what came after it.
    assert mine.event()["key"] == sentinel.key


def test_invisible_key__is_told_to_nobody(connect_to, enterprise, token):
    hidden, sentinel = declare(tenant_visible=False, tenant_overridable=False), declare()
    client = connect_to(token)
    publish((hidden, 5))
    publish((sentinel, 1))
    assert client.event()["key"] == sentinel.key


def test_key__taken_out_of_sight__is_told_once_more_and_never_again(connect_to, enterprise, token):
    key, sentinel = declare(), declare()
    client = connect_to(token)
    with roles.connect_as(roles.OPERATOR) as operator:
        operator.execute(
            "update config_keys set tenant_visible = false, tenant_overridable = false"
            " where key = %s",
            [key.key],
        )
    assert client.event()["key"] == key.key
    publish((key, 5))
    publish((sentinel, 1))
    assert client.event()["key"] == sentinel.key


def test_secret__changed__is_told_by_name(connect_to, enterprise, token):
    key = declare("string", is_secret=True)
    client = connect_to(token)
    publish((key, "hush-hush", enterprise))
    event = client.event()
    assert (event["key"], event["own"]) == (key.key, True)
    assert "hush" not in str(event)
    assert "sealed" not in str(event)


def test_change_of_several_keys__each_is_told_once_and_resumes_in_between(
    connect_to, enterprise, token
):
    keys = sorted(declare(default_value=0).key for _ in range(3))
    publish(*((key, 1) for key in keys))
    client = connect_to(token)
    # Each has a value already: the change raises several versions, and is told once a key.
    publish(*((key, 2) for key in keys))
    events = [client.event() for _ in keys]
    version = version_now()
    assert [event["key"] for event in events] == keys
    assert [event["id"] for event in events] == [
        f"configs={version}/{keys[0]}",
        f"configs={version}/{keys[1]}",
        f"configs={version}",
    ]
    for number, event in enumerate(events, start=1):
        again = connect_to(token, last=event["id"])
        assert [missed["key"] for missed in again.missed] == keys[number:]


# --- resuming


@pytest.mark.parametrize("by", ["header", "query"])
def test_resume__with_the_last_id__tells_exactly_what_was_missed(
    connect_to, enterprise, other_enterprise, token, by
):
    key, other_key = declare(), declare()
    client = connect_to(token)
    publish((key, 1))
    seen = client.event()
    client.close()
    publish((other_key, 2))
    set_own(other_enterprise, key, 3)
    set_own(enterprise, key, 4)
    where = {"last": seen["id"]} if by == "header" else {"query": f"?last_event_id={seen['id']}"}
    again = connect_to(token, **where)
    told = [(event["key"], event["own"]) for event in again.told(2)]
    assert told == [(other_key.key, False), (key.key, True)]
    assert again.last == f"configs={version_now()}"
    publish((other_key, 5))
    assert again.event()["key"] == other_key.key


def test_resume__place_from_the_opening_alone__misses_nothing(connect_to, enterprise, token):
    key = declare()
    client = connect_to(token)
    client.close()
    publish((key, 1))
    again = connect_to(token, last=client.last)
    assert [event["key"] for event in again.told(1)] == [key.key]


def test_resume__header_and_query__the_header_is_newer(connect_to, enterprise, token):
    key = declare()
    old = connect_to(token).last
    publish((key, 1))
    again = connect_to(token, last=f"configs={version_now()}", query=f"?last_event_id={old}")
    assert again.missed == []


@pytest.mark.parametrize(
    "last",
    [
        "x", "configs", "configs=", "configs=-1", "configs=1.5", "configs=x", "flags=1", "0", "é",
        "configs=99999999999999", "configs=1/../x", "configs=" + "9" * 400, "configs=1 or 1=1",
    ],
)  # fmt: skip
def test_resume__id_that_is_none__is_told_to_begin_anew(connect_to, enterprise, token, last):
    client = connect_to(token, last=last)
    (reset,) = client.missed
    assert reset["event"] == "reset"
    assert reset["id"] == f"configs={reset['version']}"
    assert reset["version"] <= version_now()
    # And it goes on from there.
    key = declare()
    while (event := client.event())["key"] != key.key:
        assert event["version"] > reset["version"]


def test_resume__id_with_a_list_that_is_not_the_keys__is_understood(connect_to, enterprise, token):
    key = declare()
    last = connect_to(token).last
    publish((key, 1))
    again = connect_to(token, last=f"{last};flags=12")
    assert [event["key"] for event in again.told(1)] == [key.key]


def test_resume__changes_forgotten__is_told_to_begin_anew(connect_to, enterprise, token):
    key = declare()
    old = connect_to(token).last
    publish((key, 1))
    kept = f"configs={version_now()}"
    with roles.connect_as(roles.OPERATOR) as operator:
        operator.execute("select forget_snapshot_changes(clock_timestamp() + interval '1 minute')")
    assert [event["event"] for event in connect_to(token, last=old).told(1)] == ["reset"]
    # Nothing is missing after the last that was forgotten.
    publish((key, 2))
    told = connect_to(token, last=kept).told(1)
    assert [event["event"] for event in told] == ["config_change"]


def test_resume__ever_again_while_much_changes__loses_and_repeats_nothing(
    connect_to, enterprise, token
):
    keys = [declare() for _ in range(60)]

    def write() -> None:
        for key in keys:
            set_own(enterprise, key, 1)
        connections.close_all()

    client = connect_to(token)
    writer = threading.Thread(target=write)
    writer.start()
    seen: list[dict[str, Any]] = []
    while len(seen) < len(keys):
        # What it missed and one event that is live; then it is cut without a word.
        seen += client.missed
        if len(seen) < len(keys):
            seen.append(client.event())
        client.close()
        client = connect_to(token, last=seen[-1]["id"])
    writer.join(timeout=20)
    assert [event["key"] for event in seen] == [key.key for key in keys]
    assert client.missed == []


# --- reset, for those who listen


def test_whole_reload__streams_that_stand__are_told_to_begin_anew(connect_to, enterprise, token):
    with operator_scope():
        category = ConfigCategory.objects.create(name=factories.unique("cat"))
    key = declare()
    client = connect_to(token)
    with operator_scope():
        # No list of changes tells what that does.
        ConfigCategory.objects.filter(pk=category.pk).update(is_protected=True)
    reset = client.event()
    assert (reset["event"], reset["id"]) == ("reset", f"configs={version_now()}")
    publish((key, 1))
    assert client.event()["key"] == key.key


# --- who may


def refusal(client: EventSource) -> dict[str, Any]:
    assert client.response.headers["Content-Type"] == PROBLEM_CONTENT_TYPE
    body: dict[str, Any] = json.loads(client.response.read())
    assert body["request_id"] == client.response.headers["X-Request-ID"] == "the-tests"
    return body


@pytest.mark.parametrize("token", ["", "wrong", "x" * 5000, "\u00e9"])
def test_key__that_is_none__is_401(server, token):
    client = EventSource(server, token)
    assert client.response.status == 401
    assert client.response.headers["WWW-Authenticate"] == 'Bearer realm="LayoverHQ"'
    assert refusal(client)["code"] == "not_authenticated"


def test_key__without_the_scope__is_403(connect_to, enterprise):
    others = set(Scope) - {Scope.CONFIGS_READ, Scope.FLAGS_READ}
    client = connect_to(factories.make_key(enterprise, sorted(others)).token, status=403)
    body = refusal(client)
    assert body["code"] == "scope_missing"
    assert Scope.CONFIGS_READ in body["detail"]


def test_enterprise__suspended__is_403_and_its_streams_end(connect_to, enterprise, token):
    client = connect_to(token)
    with operator_scope():
        suspend_enterprise(enterprise=enterprise)
    assert client.event() is None
    assert refusal(connect_to(token, status=403))["code"] == "enterprise_suspended"
    with operator_scope():
        resume_enterprise(enterprise=enterprise)
    connect_to(token)


def test_key__revoked__ends_its_streams_within_a_second_and_no_other(connect_to, enterprise, token):
    issued = factories.make_key(enterprise)
    ended, stays = connect_to(issued.token), connect_to(token)
    with operator_scope():
        revoke_api_keys(keys=[issued.key])
    began = time.monotonic()
    assert ended.event() is None
    assert time.monotonic() - began < 2
    key = declare()
    publish((key, 1))
    assert stays.event() is not None
    assert refusal(connect_to(issued.token, status=401))["code"] == "not_authenticated"


def test_key__expired__ends_its_streams_at_the_next_beat(connect_to, enterprise):
    soon = timezone.now() + timedelta(seconds=2)
    client = connect_to(factories.make_key(enterprise, expires_at=soon).token)
    while client.block():
        pass
    assert soon <= timezone.now() <= soon + timedelta(seconds=3)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", PATH, 405, "method_not_allowed"),
        ("PUT", PATH, 405, "method_not_allowed"),
        ("DELETE", PATH, 405, "method_not_allowed"),
        ("OPTIONS", PATH, 405, "method_not_allowed"),
        ("GET", "/", 404, "not_found"),
        ("GET", "/api/v1/configs", 404, "not_found"),
        ("GET", PATH + "/", 404, "not_found"),
        ("GET", "/api/v1/%00", 404, "not_found"),
        ("GET", "/%ff", 404, "not_found"),
    ],
)
def test_request__that_is_none__is_a_problem(server, token, method, path, status, code):
    connection = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS)
    connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    assert response.status == status
    assert response.headers["Content-Type"] == PROBLEM_CONTENT_TYPE
    body = json.loads(response.read())
    assert (body["status"], body["code"]) == (status, code)
    assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Request-ID"])
    if status == 405:
        assert response.headers["Allow"] == "GET"
    connection.close()


@pytest.mark.parametrize(
    ("query", "field"), [("?colour=blue", "colour"), ("?last_event_id=%ff", "last_event_id")]
)
def test_query__odd__is_400_naming_it(connect_to, enterprise, token, query, field):
    body = refusal(connect_to(token, status=400, query=query))
    assert [error["field"] for error in body["errors"]] == [field]


def test_accept__anything__is_answered_with_events(server, connect_to, enterprise, token):
    connect_to(token)
    connection = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS)
    headers = {"Authorization": f"bearer {token}", "Accept": "application/xml"}
    connection.request("GET", PATH, headers=headers)
    assert connection.getresponse().headers["Content-Type"] == "text/event-stream"
    connection.close()


def test_streams__more_than_a_tenant_may_hold__are_429_until_one_ends(
    connect_to, enterprise, other_enterprise, token
):
    other = factories.make_key(other_enterprise).token
    publish(("stream.per_tenant", 3))
    try:
        held = [connect_to(token) for _ in range(3)]
        client = connect_to(token, status=429)
        body = refusal(client)
        assert body["code"] == "too_many_streams"
        assert "3" in body["detail"]
        assert int(client.response.headers["Retry-After"]) > 0
        # Another tenant's place is its own.
        connect_to(other)
        held[0].close()
        connect_to(token)
    finally:
        publish(("stream.per_tenant", UNSET))


# --- life


def test_beat__idle_client__hears_that_it_stands_and_how_far_it_is(
    connect_to, enterprise, other_enterprise, token
):
    key = declare()
    client = connect_to(token)
    began = time.monotonic()
    block = client.block()
    assert block[""] == "still here"
    assert 0.5 < time.monotonic() - began < 5
    # Changes that do not concern it move its place, so that it never falls behind what is kept.
    set_own(other_enterprise, key, 1)
    version = version_now()
    while block != {"": "still here", "id": f"configs={version}"}:
        block = client.block()
        assert "event" not in block
        assert time.monotonic() - began < PATIENCE_SECONDS


def test_key__used_for_a_stream__is_noted_as_used(connect_to, enterprise):
    issued = factories.make_key(enterprise)
    connect_to(issued.token)

    def used() -> bool:
        with operator_scope():
            return ApiKey.objects.get(pk=issued.key.pk).last_used_at is not None

    until(used)


def test_process__in_the_list__is_a_stream(server):
    with roles.connect_as(roles.OPERATOR) as operator:
        rows = operator.execute(
            "select kind from processes where pid = %s", [server.process.pid]
        ).fetchall()
    assert rows == [("stream",)]


def test_listener__connection_killed__streams_stay_and_hear_what_came_meanwhile(
    connect_to, enterprise, token
):
    key = declare()
    client = connect_to(token)
    with roles.connect_as_superuser() as superuser:
        # This process's own as well.
        ended = superuser.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where application_name ^@ 'layoverhq snapshot' and datname = current_database()"
        ).fetchall()
    assert len(ended) >= 2
    set_own(enterprise, key, 1)
    assert client.event()["key"] == key.key


def test_sigterm__open_streams__end_in_order_and_promptly(enterprise, token):
    factories.await_key(token)
    with serving() as running:
        clients = [EventSource(running, token).opened() for _ in range(50)]
        # A connection without a request, and one whose answer is read: neither holds it up.
        with (
            closing(socket.create_connection(("127.0.0.1", running.port))),
            closing(HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE_SECONDS)) as kept,
        ):
            kept.request("GET", "/healthz")
            assert kept.getresponse().read() == b'{"status": "ok"}'
            began = time.monotonic()
            assert running.stop() == 0
            assert time.monotonic() - began < 10
        for client in clients:
            # By the end of the response, not by a broken connection.
            assert client.event() is None
        with roles.connect_as(roles.OPERATOR) as operator:
            pid = running.process.pid
            assert not operator.execute("select from processes where pid = %s", [pid]).fetchall()
        assert "Traceback" not in running.log.read_text()


def test_sigkill__process_started_again__resumes_where_clients_were(enterprise, token):
    factories.await_key(token)
    keys = [declare() for _ in range(3)]
    with serving() as running:
        clients = [EventSource(running, token).opened() for _ in range(20)]
        set_own(enterprise, keys[0], 1)
        assert {client.event()["key"] for client in clients} == {keys[0].key}
        running.stop(signal.SIGKILL)
        set_own(enterprise, keys[1], 1)
        set_own(enterprise, keys[2], 1)
        running.start()
        for client in clients:
            again = EventSource(running, token, last=client.last).opened()
            assert [event["key"] for event in again.missed] == [keys[1].key, keys[2].key]
            again.close()


def test_port__that_is_none__is_one_line():
    process = subprocess.run(
        [sys.executable, "manage.py", "stream"],
        cwd=live_settings.BASE_DIR,
        env={**os.environ, "PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr == "error: PORT: is 0, not from 1 to 65535\n"


# --- many


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < STREAMS + 200:
        pytest.skip(f"the system allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, STREAMS + 200), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def until_received(sockets: dict[socket.socket, bytes], needle: bytes) -> None:
    """Read from all of them until each has got the bytes."""
    with selectors.DefaultSelector() as selector:
        for connection, got in sockets.items():
            if needle not in got:
                selector.register(connection, selectors.EVENT_READ)
        # Far more than it takes: where others want the processor, threads wait for each other.
        deadline = time.monotonic() + 240
        while selector.get_map():
            left = len(selector.get_map())
            assert time.monotonic() < deadline, f"{left} streams did not get it"
            for ready, _ in selector.select(timeout=5):
                connection = ready.fileobj
                data = connection.recv(65536)
                assert data, sockets[connection]
                sockets[connection] += data
                if needle in sockets[connection]:
                    selector.unregister(connection)


def test_streams__a_thousand_idle_ones__cost_no_threads_and_all_hear_of_a_change(
    many_files, enterprise, token
):
    factories.await_key(token)
    key = declare()
    with serving() as running:
        before = threads_of(running.process.pid)
        request = (
            f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        ).encode()
        sockets: dict[socket.socket, bytes] = {}
        try:
            for _ in range(STREAMS):
                connection = socket.create_connection(("127.0.0.1", running.port), timeout=30)
                connection.sendall(request)
                sockets[connection] = b""
            until_received(sockets, b"id: configs=")
            assert threads_of(running.process.pid) <= before + 1 <= 10
            began, spent = time.monotonic(), processor_seconds(running.process.pid)
            time.sleep(2)
            idle = (processor_seconds(running.process.pid) - spent) / (time.monotonic() - began)
            assert idle < 0.25
            set_own(enterprise, key, 1)
            until_received(sockets, f'"key": "{key.key}"'.encode())
            for got in sockets.values():
                assert got.count(b"event: config_change") == 1
            assert threads_of(running.process.pid) <= before + 1
        finally:
            for connection in sockets:
                connection.close()
        # A place that a client left is free again.
        until(lambda: EventSource(running, token).response.status == 200)
        assert running.stop() == 0


# --- a database that dies


MAKE_TENANT = """
from apps.tenants.models import Scope
from apps.tenants.operations import issue_api_key, onboard_enterprise
from layoverhq.tenancy import operator_scope
with operator_scope():
    enterprise = onboard_enterprise(name="Acme", slug="acme")
    print(issue_api_key(enterprise=enterprise, name="k", scopes=Scope.values).token)
"""

PUBLISH = """
    update system_configs set status = 'superseded'
    where key = 'layover.min_duration' and is_active and tenant_id is null;
    insert into system_configs (key, value) values ('layover.min_duration', '100');
"""


@pytest.mark.stack
def test_postgres__stopped_and_started__streams_stay_and_hear_what_changes_then():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        stack = Stack(Path(folder) / "var", durable=False)
        try:
            endpoints = stack.start()
            environ = {**endpoints.environ(), "VAR_DIR": folder}

            def manage(*arguments: str) -> str:
                return subprocess.run(
                    [sys.executable, "manage.py", *arguments],
                    cwd=live_settings.BASE_DIR,
                    env={**os.environ, **environ},
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout.strip()

            manage("release", "--verbosity=0")
            token = manage("shell", "--verbosity=0", "-c", MAKE_TENANT)
            with serving(environ) as running:
                client = EventSource(running, token).opened()
                stack.stop()
                # Who is up to date is served from memory; what was missed stands in the database.
                newcomer = EventSource(running, token).opened()
                refused = EventSource(running, token, last="configs=1")
                assert refused.response.status == 503
                assert refused.response.headers["Retry-After"]
                assert refusal(refused)["code"] == "unavailable"
                stack.start()
                with psycopg.connect(endpoints.url("layoverhq_operator")) as operator:
                    operator.execute(PUBLISH)
                for stream in (client, newcomer):
                    assert stream.event()["key"] == "layover.min_duration"
                assert "Traceback" not in running.log.read_text()
        finally:
            stack.reset()


# --- in this process


VERSIONS = st.integers(min_value=0, max_value=10**18 - 1)
KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,5}\.[a-z][a-z0-9_]{0,5}", fullmatch=True)


@given(VERSIONS, st.none() | KEYS)
def test_places__written_and_read__are_the_same(version, key):
    places = {"configs": Place(version, key), "flags": Place(7)}
    assert parsed(written(places), {"configs", "flags"}) == places
    mine = {"configs": Place(version, key)}
    assert parsed(f"{written(mine)};flags=7;more=x/y", {"configs"}) == mine


SOURCE = ConfigChanges()
CHANGES = st.lists(
    st.tuples(st.integers(1, 6), st.sampled_from("abcde"), st.booleans()), max_size=30
)


@given(CHANGES, st.integers(0, 30))
def test_events__cut_anywhere_and_resumed__are_each_told_once(rows, cut):
    tenant = uuid4()
    changes = [Change(version, key, tenant if own else None) for version, key, own in sorted(rows)]
    visible = set("abcd")
    whole = events_of(SOURCE, changes, visible)
    assert {event.name for event in whole} == {change.subject for change in changes} & visible
    order = [(event.version, event.name) for event in whole]
    assert order == sorted(order)
    at = whole[cut % len(whole)].after if whole else Place(0)
    told = [event for event in whole if at.covers(event.version, event.name)]
    rest = events_of(SOURCE, [c for c in changes if c.version > at.whole], visible)
    left = [event for event in rest if not at.covers(event.version, event.name)]
    assert [(e.after, e.name) for e in told + left] == [(e.after, e.name) for e in whole]


def serve_here(token: str, send: Any, during: Any, *, capacity: int = 10) -> None:
    """Serve one client in this process, until its stream ends; `during` runs beside it."""

    async def main() -> None:
        hub = Hub(capacity, [SOURCE])
        hub.start()
        scope = {
            "type": "http",
            "method": "GET",
            "path": PATH,
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {token}".encode())],
        }

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            return {}

        task = asyncio.create_task(EventsApp(hub)(scope, receive, send))
        await asyncio.to_thread(during)
        try:
            await asyncio.wait({task}, timeout=PATIENCE_SECONDS)
            assert task.done(), "the stream goes on"
        finally:
            await hub.close()

    asyncio.run(main())


def test_client__that_takes_nothing__is_cut_when_its_queue_is_full(enterprise, token, monkeypatch):
    factories.await_key(token)
    key = declare()
    monkeypatch.setattr(streaming, "QUEUE_LENGTH", 3)
    sent: list[dict[str, Any]] = []
    full = asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if len(sent) > 2:
            # As a socket whose buffers are full.
            await full.wait()

    def change() -> None:
        until(lambda: len(sent) == 2)
        for version in range(10):
            set_own(enterprise, key, version, version)
            # One that overflows before it is stuck is ended in order.
            until(lambda: len(sent) == 3)
        connections.close_all()

    serve_here(token, send, change)
    # Nothing came after what it did not take: no end of the response that would look like order.
    assert len(sent) == 3
    assert sent[-1]["more_body"] is True


def test_watchers__several_threads_refresh__are_told_each_version_once_in_order(enterprise):
    key = declare()
    told: list[int] = []
    directory = configs.directory

    def watch(changes: Any) -> None:
        told.extend(sorted({change.version for change in changes}))

    directory.get()
    before = version_now()
    until(lambda: directory.version >= before)
    directory.watchers.append(watch)
    try:
        stop = threading.Event()

        def refresh() -> None:
            with connect() as connection:
                while not stop.is_set():
                    directory.refresh(connection, at_least=directory.version + 1)

        threads = [threading.Thread(target=refresh) for _ in range(4)]
        for thread in threads:
            thread.start()
        for version in range(30):
            set_own(enterprise, key, version, version)
        after = version_now()
        until(lambda: directory.version >= after)
        stop.set()
        for thread in threads:
            thread.join(timeout=10)
    finally:
        directory.watchers.remove(watch)
    assert told == list(range(before + 1, after + 1))


def test_resume__process_behind_the_database__tells_of_a_key_that_it_does_not_know(
    enterprise, token
):
    known = declare()
    factories.await_key(token)
    principal = api_keys.find(token)

    def change() -> str:
        name = keys.declare(tenant_visible=True).key
        keys.publish(Proposal(name, 1))
        connections.close_all()
        return name

    async def main() -> None:
        hub = Hub(1, [SOURCE])
        feed = hub.feeds["configs"]
        hub.start()
        stream = hub.join(principal)
        behind = feed.version
        listener.stop()
        try:
            name = await asyncio.to_thread(change)
            events = await hub.missed(stream, f"configs={behind - 1}")
            assert feed.version == behind
            assert [event.name for event in events] == [known.key, name]
        finally:
            listener.start()
        while feed.version < events[-1].version:
            await asyncio.sleep(0.01)
        # The live feed tells it as well, and it is not sent again.
        assert await stream.next(PATIENCE_SECONDS) == b""
        hub.leave(stream)
        await hub.close()

    publish((known, 1))
    asyncio.run(main())


def answered_here(token: str, **options: Any) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Return status, headers and body of what a client is answered in this process."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    serve_here(token, send, lambda: until(lambda: len(sent) == 2), **options)
    start, body = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert headers["content-type"] == PROBLEM_CONTENT_TYPE
    return start["status"], headers, json.loads(body["body"])


def test_process__with_as_many_streams_as_can_be__answers_503(enterprise, token):
    factories.await_key(token)
    status, headers, body = answered_here(token, capacity=0)
    assert (status, body["status"], body["code"]) == (503, 503, "unavailable")
    assert int(headers["retry-after"]) > 0


def test_fault__of_ours__is_500_that_does_not_show_it(enterprise, token, monkeypatch, caplog):
    factories.await_key(token)

    def fail(*_: Any) -> None:
        raise KeyError("inside information")

    monkeypatch.setattr(Hub, "join", fail)
    status, _, body = answered_here(token)
    assert (status, body["code"]) == (500, "server_error")
    assert "inside" not in str(body)
    assert "stream_failed" in caplog.text
