"""All streams of a process, in one event loop.

A snapshot's listener hands over what changed; each stream has a queue with an end, and one that
cannot keep up is ended: it resumes where it was.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, cast
from uuid import UUID

import psycopg
import structlog
from django.db import close_old_connections, connections
from rest_framework.exceptions import APIException

from apps.configs.runtime import configs
from apps.configs.stream.places import Place, parsed, written
from apps.configs.stream.sources import Event, Log, Source, events_of, read_log, reset
from apps.tenants.api.authentication import admitted, require_scope
from apps.tenants.directory import Principal, api_keys
from apps.tenants.models import Scope
from layoverhq.errors import DomainError, Unavailable
from layoverhq.snapshot import Change

log = structlog.get_logger(__name__)

RETRY_MS = 2000
# Events are shared by all streams; a queue holds references.
QUEUE_LENGTH = 4096
# How long a stream may take to end in order, before it is cut.
END_SECONDS = 1.0
WATCH_SECONDS = 0.5


class TooManyStreams(DomainError):
    """The enterprise holds as many event streams open as it may."""

    code = "too_many_streams"
    status = 429
    headers: ClassVar[dict[str, str]] = {"Retry-After": "30"}


class Stream:
    """One client: where it is, and what waits to be sent to it."""

    def __init__(
        self, principal: Principal, places: dict[str, Place], task: asyncio.Task[Any]
    ) -> None:
        self.principal = principal
        self.places = places
        # Where it was when it came.
        self.began = dict(places)
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
        """Queue the one event that makes all those of its list before it void."""
        if self.why:
            return
        self.offer([*(held for held in self._taken() if held.source != event.source), event])

    def end(self, why: str) -> None:
        """End it in order, and by force where its client takes nothing any more."""
        if self.why:
            return
        self.why = why
        self._taken()
        self._queue.put_nowait(None)
        asyncio.get_running_loop().call_later(END_SECONDS, self._task.cancel)

    def _taken(self) -> list[Event]:
        taken = []
        while not self._queue.empty():
            if (event := self._queue.get_nowait()) is not None:
                taken.append(event)
        return taken

    def opening(self, missed: list[Event]) -> bytes:
        """Return what is sent first: what was missed, and where the client is after it."""
        places = dict(self.began)
        parts = [b": connected\nretry: %d\n\n" % RETRY_MS]
        for event in missed:
            places[event.source] = event.after
            parts.append(event.text(places))
        # An id without data: one that loses the connection before its first event has a place.
        parts.append(b"id: %s\n\n" % written(self.places).encode())
        return b"".join(parts)

    async def next(self, patience: float) -> bytes | None:
        """Return what is to be sent next, None at the end. Raises TimeoutError if nothing is."""
        async with asyncio.timeout(patience):
            event = await self._queue.get()
        parts = []
        while event is not None:
            if not self.places[event.source].covers(event.version, event.name):
                self.places[event.source] = event.after
                parts.append(event.text(self.places))
            if self._queue.empty():
                return b"".join(parts)
            event = self._queue.get_nowait()
        return None


class Replays:
    """Reads a log for all who wait at once: after a restart everybody comes back together."""

    def __init__(self, source: Source, thread: ThreadPoolExecutor) -> None:
        self._source = source
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
                found = await loop.run_in_executor(self._thread, read_log, self._source, since)
            except psycopg.Error as error:
                log.warning("replay_failed", list=self._source.name, error=str(error).strip())
                for _, future in batch:
                    if not future.done():
                        future.set_exception(Unavailable("The database cannot be reached."))
            else:
                for _, future in batch:
                    if not future.done():
                        future.set_result(found)


class Feed:
    """One source, as far as this process told of it."""

    def __init__(self, source: Source, thread: ThreadPoolExecutor) -> None:
        self.source = source
        self.replays = Replays(source, thread)
        self.version = -1
        self._visible: set[str] = set()

    def start(self, tell: Callable[[Iterable[Change] | None], None]) -> None:
        """Load what is told of, and hear of its changes. Blocks."""
        directory = self.source.directory
        directory.get()
        self._watch = tell
        directory.watchers.append(tell)
        self.version = directory.version
        self._visible = self.source.names()

    def stop(self) -> None:
        """Hear of no more changes."""
        self.source.directory.watchers.remove(self._watch)

    def begin_anew(self) -> Event:
        """Note all that is visible now; return the event that tells everybody to do so."""
        self._visible = self.source.names()
        return reset(self.source, self.version)

    def follow(self, names: Iterable[str]) -> set[str]:
        """Note which names are visible now; return those that are or were."""
        gone = set()
        for name in names:
            if self.source.sees(name):
                self._visible.add(name)
            elif name in self._visible:
                gone.add(name)
        if not gone:
            return self._visible
        shown = set(self._visible)
        self._visible -= gone
        return shown

    async def missed(self, stream: Stream, held: Place) -> list[Event]:
        """Return what a client missed of the list, and set its place behind that.

        Raises Unavailable.
        """
        name = self.source.name
        if held == stream.places[name]:
            return []
        found = await self.replays.since(held.whole)
        # An id of the future comes from another database, or from this one before a restore.
        if held.whole < found.forgotten or held.version > found.version:
            return [reset(self.source, stream.places[name].version)]
        tenants = {None, stream.principal.enterprise_id}
        events = events_of(
            self.source,
            (change for change in found.changes if change.tenant_id in tenants),
            found.visible | self._visible,
        )
        stream.places[name] = Place(max(found.version, stream.places[name].version))
        return [event for event in events if not held.covers(event.version, event.name)]


class Hub:
    """All streams of this process. Its methods run in the event loop, but for one."""

    def __init__(self, capacity: int, sources: Sequence[Source]) -> None:
        self.capacity = capacity
        self.closing = False
        self.scopes: tuple[Scope, ...] = tuple(source.scope for source in sources)
        self._streams: dict[UUID, set[Stream]] = defaultdict(set)
        self._count = 0
        self._used: dict[UUID, Principal] = {}
        # One thread, hence one connection, for the little that is read and written.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stream-database")
        self.feeds = {source.name: Feed(source, self._thread) for source in sources}

    def start(self) -> None:
        """Load what streams are answered from, and follow it. Blocks."""
        self._loop = asyncio.get_running_loop()
        api_keys.get()
        configs.directory.get()
        for feed in self.feeds.values():
            feed.start(self._teller(feed))

    async def close(self) -> None:
        """End all streams, those last that take nothing any more."""
        self.closing = True
        for feed in self.feeds.values():
            feed.stop()
        for stream in self._all():
            stream.end("shutting down")
        deadline = self._loop.time() + 2 * END_SECONDS
        while self._count and self._loop.time() < deadline:
            await asyncio.sleep(0.01)
        self._thread.submit(connections.close_all)
        self._thread.shutdown(wait=False)

    def _teller(self, feed: Feed) -> Callable[[Iterable[Change] | None], None]:
        """Return what takes from the listener's thread what it tells, into the loop's."""

        def tell(changes: Iterable[Change] | None) -> None:
            version = feed.source.directory.version
            self._loop.call_soon_threadsafe(self._tell, feed, version, changes)

        return tell

    def _tell(self, feed: Feed, version: int, changes: Iterable[Change] | None) -> None:
        if version <= feed.version:
            return
        feed.version = version
        name = feed.source.name
        if changes is None:
            anew = feed.begin_anew()
            for stream in self._all():
                if name in stream.places:
                    stream.restart(anew)
            return
        by_tenant: dict[UUID | None, list[Change]] = defaultdict(list)
        for change in feed.source.named(changes):
            by_tenant[change.tenant_id].append(change)
        # Whoever saw a name is told once more when it is taken out of sight.
        shown = feed.follow(change.subject for change in by_tenant[None])
        everybodys = events_of(feed.source, by_tenant[None], shown)
        for tenant_id, streams in self._streams.items():
            events = everybodys
            if tenant_id in by_tenant:
                events = events_of(feed.source, by_tenant[None] + by_tenant[tenant_id], shown)
            if events:
                for stream in streams:
                    if name in stream.places:
                        stream.offer(events)

    def join(self, principal: Principal) -> Stream:
        """Add a stream of the running task, from now on. Raises TooManyStreams and Unavailable."""
        if self.closing or self._count >= self.capacity:
            raise Unavailable("There are as many streams here as can be.")
        streams = self._streams[principal.enterprise_id]
        limit = configs.get("stream.per_tenant")
        if len(streams) >= limit:
            raise TooManyStreams(f"At most {limit} event streams at a time.")
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        places = {name: Place(self.feeds[name].version) for name in self._lists(principal)}
        stream = Stream(principal, places, task)
        streams.add(stream)
        self._count += 1
        self._used[principal.key_id] = principal
        return stream

    def _lists(self, principal: Principal) -> list[str]:
        """Return the names of the lists that a key is told of."""
        return [name for name, feed in self.feeds.items() if feed.source.scope in principal.scopes]

    def leave(self, stream: Stream) -> None:
        """Take a stream out."""
        tenant_id = stream.principal.enterprise_id
        self._streams[tenant_id].discard(stream)
        self._count -= 1
        if not self._streams[tenant_id]:
            del self._streams[tenant_id]

    async def missed(self, stream: Stream, last_event_id: str) -> list[Event]:
        """Return what a client missed that comes back, and set the stream to behind that.

        A list that its id does not name begins now. What happens meanwhile waits in the stream's
        queue. Raises Unavailable.
        """
        held = parsed(last_event_id, stream.places)
        if held is None:
            # Cut in between, it comes back at the beginning of what it was not told.
            stream.began = dict.fromkeys(stream.places, Place(0))
            return [
                reset(self.feeds[name].source, place.version)
                for name, place in stream.places.items()
            ]
        stream.began |= held
        events = []
        for name, place in held.items():
            events += await self.feeds[name].missed(stream, place)
        return events

    def beat(self, stream: Stream) -> bytes:
        """Return what an idle client is sent: a sign of life, and how far it is."""
        self._used[stream.principal.key_id] = stream.principal
        for name, place in stream.places.items():
            stream.places[name] = Place(max(self.feeds[name].version, place.version))
        return b": still here\nid: %s\n\n" % written(stream.places).encode()

    def check(self, stream: Stream) -> None:
        """End a stream whose key would be refused now, or would be told of other lists."""
        try:
            principal = admitted(api_keys.standing(stream.principal.key_hash))
            require_scope(principal, *self.scopes)
        except (APIException, DomainError) as refusal:
            stream.end(str(refusal))
        else:
            if self._lists(principal) != list(stream.places):
                stream.end("the key's scopes are others")

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


def _touch(principals: Iterable[Principal]) -> None:
    close_old_connections()
    for principal in principals:
        api_keys.touch(principal)
