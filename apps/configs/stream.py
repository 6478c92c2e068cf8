"""Server-sent events: a tenant is told which of its values changed, the moment they do.

One thread holds all streams of a process. The snapshot's listener hands over what changed; each
stream has a queue with an end, and one that cannot keep up is ended: it resumes where it was.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, cast
from uuid import UUID, uuid4

import psycopg
import structlog
from django.db import close_old_connections, connections
from rest_framework.exceptions import APIException, MethodNotAllowed, NotFound
from rest_framework.response import Response

from apps.configs.runtime import Content, configs
from apps.tenants.api.authentication import admitted, authenticated, require_scope
from apps.tenants.directory import Principal, api_keys
from apps.tenants.models import Scope
from layoverhq import context
from layoverhq.errors import (
    PROBLEM_CONTENT_TYPE,
    DomainError,
    FieldError,
    InvalidInput,
    Unavailable,
    exception_handler,
    problem,
)
from layoverhq.middleware import REQUEST_ID
from layoverhq.query_string import parse_query
from layoverhq.snapshot import Change, changes_since, connect

log = structlog.get_logger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PATH = "/api/v1/events"
RETRY_MS = 2000
LONGEST_ID = 300
# Texts are shared by all streams; a queue holds references.
QUEUE_LENGTH = 4096
# Whoever missed more than this reads everything anew in less time than being told of it.
REPLAYED_VERSIONS = 5000
# How long a stream may take to end in order, before it is cut.
END_SECONDS = 1.0
WATCH_SECONDS = 0.5


class TooManyStreams(DomainError):
    """The enterprise holds as many event streams open as it may."""

    code = "too_many_streams"
    status = 429
    headers: ClassVar[dict[str, str]] = {"Retry-After": "30"}


@dataclass(frozen=True, slots=True)
class Position:
    """How far a client is: at the end of a version, or within it behind the key `key`."""

    version: int
    key: str | None = None

    def __str__(self) -> str:
        return f"configs={self.version}" + (f"/{self.key}" if self.key is not None else "")

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """Return what str() made, whatever a later release appends to it; None for the rest."""
        found = _POSITION.fullmatch(text)
        return cls(int(found[1]), found[2]) if found else None

    @property
    def whole(self) -> int:
        """The last version of which nothing is missing."""
        return self.version if self.key is None else self.version - 1

    def covers(self, version: int, key: str) -> bool:
        """Return whether the client has the event of this key in this version."""
        if version != self.version:
            return version < self.version
        return self.key is None or key <= self.key


_POSITION = re.compile(r"configs=([0-9]{1,18})(?:/([a-z0-9_.]{1,255}))?(?:;[a-z]+=[^;]*)*")


@dataclass(frozen=True, slots=True)
class Event:
    """What is sent of one key in one version, and where the client is after it."""

    version: int
    key: str
    after: Position
    text: bytes


def events_of(changes: Iterable[Change], visible: Container[str]) -> list[Event]:
    """Return the events of one tenant's changes and the platform's, in order.

    A key is told once, as of its last version: setting a value raises two. The last event of a
    version has the version as its id; the others name their key, so that a client resumes in
    between.
    """
    versions: dict[str, int] = {}
    own: set[str] = set()
    for change in changes:
        if change.subject in visible:
            versions[change.subject] = max(change.version, versions.get(change.subject, 0))
            if change.tenant_id is not None:
                own.add(change.subject)
    ordered = sorted((version, key) for key, version in versions.items())
    events = []
    for number, (version, key) in enumerate(ordered, start=1):
        last = number == len(ordered) or ordered[number][0] != version
        after = Position(version, None if last else key)
        data = {"key": key, "version": version, "own": key in own}
        events.append(Event(version, key, after, _text("config_change", after, data)))
    return events


def _reset(version: int) -> Event:
    """Return the event that tells a client to read everything anew."""
    after = Position(version)
    return Event(version, "", after, _text("reset", after, {"version": version}))


def _text(event: str, after: Position, data: dict[str, Any]) -> bytes:
    return f"event: {event}\nid: {after}\ndata: {json.dumps(data)}\n\n".encode()


class Stream:
    """One client: where it is, and what waits to be sent to it."""

    def __init__(self, principal: Principal, position: Position, task: asyncio.Task[Any]) -> None:
        self.principal = principal
        self.position = position
        self.why = ""
        self._task = task
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def offer(self, events: list[Event]) -> None:
        """Queue events; end the stream where there are too many for it."""
        if self.why:
            return
        if self._queue.qsize() + len(events) > QUEUE_LENGTH:
            self.end("too slow")
            return
        for event in events:
            self._queue.put_nowait(event)

    def restart(self, event: Event) -> None:
        """Queue the one event that makes all those before it void."""
        self._clear()
        self.offer([event])

    def end(self, why: str) -> None:
        """End it in order, and by force where its client takes nothing any more."""
        if self.why:
            return
        self.why = why
        self._clear()
        self._queue.put_nowait(None)
        asyncio.get_running_loop().call_later(END_SECONDS, self._task.cancel)

    def _clear(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()

    async def next(self, patience: float) -> bytes | None:
        """Return what is to be sent next, None at the end. Raises TimeoutError if nothing is."""
        async with asyncio.timeout(patience):
            event = await self._queue.get()
        parts = []
        while event is not None:
            if not self.position.covers(event.version, event.key):
                parts.append(event.text)
                self.position = event.after
            if self._queue.empty():
                return b"".join(parts)
            event = self._queue.get_nowait()
        return None


@dataclass(frozen=True, slots=True)
class Log:
    """The changes that are told one by one: those after `forgotten`, up to `version`.

    `visible` are the keys among them that tenants see, as of `version`: the snapshot of this
    process may not have come as far.
    """

    version: int
    forgotten: int
    changes: list[Change]
    visible: frozenset[str]


def read_log(since: int) -> Log:
    """Read what changed after a version, or the last REPLAYED_VERSIONS of that."""
    with connect() as connection, connection.transaction():
        connection.execute("set transaction isolation level repeatable read read only")
        row = connection.execute(
            "select version, forgotten from snapshot_versions where name = %s",
            [configs.directory.name],
        ).fetchone()
        version, forgotten = (row["version"], row["forgotten"]) if row else (0, 0)
        forgotten = max(forgotten, min(since, version), version - REPLAYED_VERSIONS)
        changes = changes_since(connection, configs.directory.name, forgotten)
        rows = connection.execute(
            "select key from config_keys where tenant_visible and key = any(%s)",
            [list({change.subject for change in changes})],
        )
        return Log(version, forgotten, changes, frozenset(row["key"] for row in rows))


class Replays:
    """Reads the log for all who wait at once: after a restart everybody comes back together."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread
        self._waiting: list[tuple[int, asyncio.Future[Log]]] = []
        self._reading: asyncio.Task[None] | None = None

    async def since(self, version: int) -> Log:
        """Return the log after a version, or of more. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Log] = loop.create_future()
        self._waiting.append((version, future))
        if self._reading is None or self._reading.done():
            self._reading = loop.create_task(self._read())
        return await future

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            since = min(version for version, _ in batch)
            try:
                found = await loop.run_in_executor(self._thread, read_log, since)
            except psycopg.Error as error:
                log.warning("replay_failed", error=str(error).strip())
                for _, future in batch:
                    if not future.done():
                        future.set_exception(Unavailable("The database cannot be reached."))
            else:
                for _, future in batch:
                    if not future.done():
                        future.set_result(found)


class Hub:
    """All streams of this process. Its methods run in the event loop, but for one."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.version = -1
        self.closing = False
        self._streams: dict[UUID, set[Stream]] = defaultdict(set)
        self._count = 0
        self._visible: set[str] = set()
        self._used: dict[UUID, Principal] = {}
        # One thread, hence one connection, for the little that is read and written.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stream-database")
        self._replays = Replays(self._thread)

    def start(self) -> None:
        """Load what streams are answered from, and follow it. Blocks."""
        self._loop = asyncio.get_running_loop()
        api_keys.get()
        configs.directory.get()
        configs.directory.watchers.append(self._changed)
        self.version = configs.directory.version
        self._visible = _visible(configs.directory.get())

    async def close(self) -> None:
        """End all streams, those last that take nothing any more."""
        self.closing = True
        configs.directory.watchers.remove(self._changed)
        for stream in self._all():
            stream.end("shutting down")
        deadline = self._loop.time() + 2 * END_SECONDS
        while self._count and self._loop.time() < deadline:
            await asyncio.sleep(0.01)
        self._thread.submit(connections.close_all)
        self._thread.shutdown(wait=False)

    def _changed(self, changes: Iterable[Change] | None) -> None:
        """Take what the listener's thread tells, into the loop's."""
        self._loop.call_soon_threadsafe(self._tell, configs.directory.version, changes)

    def _tell(self, version: int, changes: Iterable[Change] | None) -> None:
        if version <= self.version:
            return
        self.version = version
        if changes is None:
            self._visible = _visible(configs.directory.get())
            anew = _reset(version)
            for stream in self._all():
                stream.restart(anew)
            return
        by_tenant: dict[UUID | None, list[Change]] = defaultdict(list)
        for change in changes:
            by_tenant[change.tenant_id].append(change)
        # Whoever saw a key is told once more when it is taken out of sight.
        shown = self._follow(change.subject for change in by_tenant[None])
        everybodys = events_of(by_tenant[None], shown)
        for tenant_id, streams in self._streams.items():
            events = everybodys
            if tenant_id in by_tenant:
                events = events_of(by_tenant[None] + by_tenant[tenant_id], shown)
            if events:
                for stream in streams:
                    stream.offer(events)

    def _follow(self, keys: Iterable[str]) -> set[str]:
        """Note which keys are visible now; return those that are or were."""
        entries = configs.directory.get().entries
        gone = set()
        for key in keys:
            if key in entries and entries[key].declaration.tenant_visible:
                self._visible.add(key)
            elif key in self._visible:
                gone.add(key)
        if not gone:
            return self._visible
        shown = set(self._visible)
        self._visible -= gone
        return shown

    def join(self, principal: Principal) -> Stream:
        """Add a stream of the running task, from now on. Raises TooManyStreams and Unavailable."""
        if self.closing or self._count >= self.capacity:
            raise Unavailable("There are as many streams here as can be.")
        streams = self._streams[principal.enterprise_id]
        limit = configs.get("stream.per_tenant")
        if len(streams) >= limit:
            raise TooManyStreams(f"At most {limit} event streams at a time.")
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        stream = Stream(principal, Position(self.version), task)
        streams.add(stream)
        self._count += 1
        self._used[principal.key_id] = principal
        return stream

    def leave(self, stream: Stream) -> None:
        """Take a stream out."""
        tenant_id = stream.principal.enterprise_id
        self._streams[tenant_id].discard(stream)
        self._count -= 1
        if not self._streams[tenant_id]:
            del self._streams[tenant_id]

    async def missed(self, stream: Stream, last_event_id: str) -> list[Event]:
        """Return what a client missed that comes back, and set the stream to behind that.

        What happens meanwhile waits in the stream's queue. Raises Unavailable.
        """
        held = Position.parse(last_event_id)
        if held == stream.position:
            return []
        if held is None:
            return [_reset(stream.position.version)]
        found = await self._replays.since(held.whole)
        # An id of the future comes from another database, or from this one before a restore.
        if held.whole < found.forgotten or held.version > found.version:
            return [_reset(stream.position.version)]
        tenants = {None, stream.principal.enterprise_id}
        events = events_of(
            (change for change in found.changes if change.tenant_id in tenants),
            found.visible | self._visible,
        )
        stream.position = Position(max(found.version, stream.position.version))
        return [event for event in events if not held.covers(event.version, event.key)]

    def beat(self, stream: Stream) -> bytes:
        """Return what an idle client is sent: a sign of life, and how far it is."""
        self._used[stream.principal.key_id] = stream.principal
        stream.position = Position(max(self.version, stream.position.version))
        return b": still here\nid: %s\n\n" % str(stream.position).encode()

    def check(self, stream: Stream) -> None:
        """End a stream whose key would be refused now."""
        try:
            principal = admitted(api_keys.standing(stream.principal.key_hash))
            require_scope(principal, Scope.CONFIGS_READ)
        except (APIException, DomainError) as refusal:
            stream.end(str(refusal))

    async def watch(self) -> None:
        """End streams whose key or enterprise changed, and note which keys are used; for ever."""
        known = api_keys.version
        touching: asyncio.Future[None] | None = None
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if known != api_keys.version:
                known = api_keys.version
                for stream in self._all():
                    self.check(stream)
            # Not waited for: a database that hangs must not keep a revoked key alive.
            if self._used and (touching is None or touching.done()):
                used, self._used = list(self._used.values()), {}
                touching = self._loop.run_in_executor(self._thread, _touch, used)

    def _all(self) -> Iterator[Stream]:
        return iter([stream for streams in self._streams.values() for stream in streams])


def _visible(content: Content) -> set[str]:
    return {key for key, entry in content.entries.items() if entry.declaration.tenant_visible}


def _touch(principals: Iterable[Principal]) -> None:
    close_old_connections()
    for principal in principals:
        api_keys.touch(principal)


class EventsApp:
    """The ASGI application: GET /api/v1/events, and /healthz."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        given = _header(scope, b"x-request-id")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex
        with context.bind(request_id=request_id):
            reply = Reply(send, request_id)
            try:
                await self._serve(scope, receive, reply)
            except (APIException, DomainError) as refusal:
                await reply.refuse(refusal)
            except Exception:
                # One stream's fault ends no other's.
                log.exception("stream_failed")
                await reply.fail()
            if reply.status:
                log.info("request", method=scope["method"], path=scope["path"], status=reply.status)

    async def _serve(self, scope: Message, receive: Receive, reply: Reply) -> None:
        if scope["path"] == "/healthz":
            await reply.body(200, "application/json", b'{"status": "ok"}')
            return
        if scope["path"] != PATH:
            raise NotFound
        if scope["method"] != "GET":
            raise MethodNotAllowed(scope["method"])
        principal = authenticated(_header(scope, b"authorization"))
        require_scope(principal, Scope.CONFIGS_READ)
        errors: list[FieldError] = []
        query = parse_query(
            scope["query_string"].decode("latin-1"), {"last_event_id"}, errors, longest=LONGEST_ID
        )
        if errors:
            raise InvalidInput(errors)
        # A client that reconnects sends the header, beside the address that it began with.
        last = _header(scope, b"last-event-id") or query.get("last_event_id", "")
        with context.bind(enterprise_id=principal.enterprise_id):
            await self._stream(principal, last, receive, reply)

    async def _stream(
        self, principal: Principal, last: str, receive: Receive, reply: Reply
    ) -> None:
        stream = self.hub.join(principal)
        began = time.monotonic()
        gone = asyncio.create_task(_gone(receive))
        gone.add_done_callback(lambda _: stream.end("the client left"))
        try:
            events = await self.hub.missed(stream, last) if last else []
            await reply.start(200, "text/event-stream")
            await reply.send(_opening(stream, events))
            while (text := await self._next(stream)) is not None:
                if text:
                    await reply.send(text)
            await reply.finish()
        finally:
            gone.cancel()
            self.hub.leave(stream)
            log.info(
                "stream_ended",
                key_id=str(principal.key_id),
                why=stream.why or "cut",
                seconds=round(time.monotonic() - began, 1),
            )

    async def _next(self, stream: Stream) -> bytes | None:
        try:
            return await stream.next(configs.get("stream.heartbeat"))
        except TimeoutError:
            # A key expires without a notification.
            self.hub.check(stream)
            return None if stream.why else self.hub.beat(stream)


def _opening(stream: Stream, events: list[Event]) -> bytes:
    parts = [b": connected\nretry: %d\n\n" % RETRY_MS, *(event.text for event in events)]
    # An id without data: a client that loses the connection before its first event has a place.
    parts.append(b"id: %s\n\n" % str(stream.position).encode())
    return b"".join(parts)


async def _gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _header(scope: Message, name: bytes) -> str:
    found: bytes = next((value for given, value in scope["headers"] if given.lower() == name), b"")
    return found.decode("latin-1")


class Reply:
    """What is sent to one client."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 0

    async def start(self, status: int, content_type: str, **headers: str) -> None:
        told = {
            "Content-Type": content_type,
            "Cache-Control": "no-store",
            # nginx would collect events before it hands them on.
            "X-Accel-Buffering": "no",
            "X-Content-Type-Options": "nosniff",
            "X-Request-ID": self._request_id,
            **headers,
        }
        encoded = [(name.lower().encode(), value.encode()) for name, value in told.items()]
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def send(self, text: bytes) -> None:
        await self._send({"type": "http.response.body", "body": text, "more_body": True})

    async def finish(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def body(self, status: int, content_type: str, body: bytes, **headers: str) -> None:
        await self.start(status, content_type, **headers)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def refuse(self, refusal: APIException | DomainError) -> None:
        """Answer as the API's views do."""
        answer = cast(Response, exception_handler(refusal, {}))
        headers = {name: str(value) for name, value in answer.headers.items()}
        headers.pop("Content-Type", None)
        if isinstance(refusal, MethodNotAllowed):
            headers["Allow"] = "GET"
        body = json.dumps(answer.data).encode()
        await self.body(answer.status_code, PROBLEM_CONTENT_TYPE, body, **headers)

    async def fail(self) -> None:
        """Answer a defect of ours without showing it, or cut what was begun."""
        if self.status:
            return
        document = problem(500, "Server error", code="server_error")
        with suppress(OSError):
            await self.body(500, PROBLEM_CONTENT_TYPE, json.dumps(document).encode())
