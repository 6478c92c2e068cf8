"""Hot snapshots: what every process reads from memory and PostgreSQL keeps fresh.

One listener thread a process holds a direct connection (LISTEN does not pass a transaction
pooler). It reloads what a notification names; after a reconnect, and every RECONCILE_SECONDS,
it compares versions, so that a lost notification heals.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

import psycopg
import structlog
from django.conf import settings
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from layoverhq import environment, processes

log = structlog.get_logger(__name__)

RECONCILE_SECONDS = 30.0
RETRY_SECONDS = 1.0
# How long a thread waits before it asks a busy one for the interpreter; Python's own is 5 ms. With
# less for good, busy threads would lose some of their time to taking turns.
PROMPT_SECONDS = 0.0005
RECONNECT_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)

BEGIN = "begin isolation level repeatable read read only"
VERSION = "select version, forgotten from snapshot_versions where name = %(snapshot)s"
CHANGES = "select version, subject, tenant_id from snapshot_changes_since(%(snapshot)s, %(held)s)"

Content = TypeVar("Content")


class Snapshot(ABC, Generic[Content]):
    """One immutable value, loaded whole and swapped atomically."""

    name: ClassVar[str]
    """The name in snapshot_versions and in notifications."""

    def __init__(self) -> None:
        self.reset()
        registry[self.name] = self

    def reset(self) -> None:
        """Hold nothing, under a lock that nobody has."""
        self._held: tuple[int, Content] | None = None
        self._loading = threading.Lock()

    @abstractmethod
    def load(self, connection: psycopg.Connection[Any]) -> Content:
        """Read the whole content on a connection inside one repeatable-read transaction."""

    @property
    def version(self) -> int:
        """The version held; -1 before the first load."""
        return self._held[0] if self._held else -1

    def get(self) -> Content:
        """Return the content, loading it first if this process has none."""
        while (held := self._held) is None:
            listener.start()
            with connect() as connection:
                self.refresh(connection, at_least=0)
            listener.untold.set()
        return held[1]

    def refresh(self, connection: psycopg.Connection[Any], *, at_least: int) -> None:
        """Reload unless what is held is already that new; never swaps back to older content."""
        with self._loading:
            before = self.version
            if before >= at_least and self._held is not None:
                return
            try:
                _, versions, *news = answers(
                    connection,
                    [BEGIN, VERSION, *self.asks()],
                    {"snapshot": self.name, "held": self.version},
                )
                version, forgotten = 0, 0
                if versions:
                    version, forgotten = versions[0]["version"], versions[0]["forgotten"]
                self._held = (version, self.read(connection, forgotten, news))
            finally:
                if not connection.closed:
                    connection.rollback()
            self.swapped(before)

    def swapped(self, before: int) -> None:
        """Note that something newer is held than the version `before`; the lock is held."""

    def asks(self) -> Sequence[str]:
        """Return the statements that tell what is new; %(snapshot)s and %(held)s are bound."""
        return ()

    def read(
        self, connection: psycopg.Connection[Any], forgotten: int, news: Sequence[list[Any]]
    ) -> Content:
        """Return the content to hold, from what was asked if that suffices.

        The changes up to the version `forgotten` are not told.
        """
        return self.load(connection)

    def facts(self) -> dict[str, Any]:
        """Return what a process tells of what it holds, as JSON."""
        return {"version": self.version}

    def forget(self) -> None:
        """Drop the content, so that the next read loads it."""
        with self._loading:
            self._held = None


registry: dict[str, Snapshot[Any]] = {}


def load_all() -> None:
    """Load whatever this process has not loaded yet, and follow it."""
    for snapshot in registry.values():
        snapshot.get()


def answers(
    connection: psycopg.Connection[Any], statements: Sequence[str], parameters: Mapping[str, Any]
) -> list[list[Any]]:
    """Run statements in one round trip; return each one's rows.

    Whoever waits for the server lets go of the interpreter, and in a process whose other threads
    are busy gets it back 5 ms later, for every trip.
    """
    with psycopg.ClientCursor(connection, row_factory=dict_row) as cursor:
        cursor.execute("; ".join(statements), parameters)
        return [result.fetchall() if result.description else [] for result in cursor.results()]


@dataclass(frozen=True, slots=True)
class Change:
    """What a version changed: a name, and the tenant whose it is (None: everybody's)."""

    version: int
    subject: str
    tenant_id: UUID | None


Watcher = Callable[[Sequence[Change] | None], None]
"""Told of the changes after the swap; None where the whole was loaded anew."""


class FollowingSnapshot(Snapshot[Content]):
    """One that reads only what changed, where its tables log their changes."""

    changed: ClassVar[Sequence[str]]
    """The statements that read what changed after the version %(held)s."""

    def __init__(self) -> None:
        super().__init__()
        self.watchers: list[Watcher] = []

    @abstractmethod
    def advance(
        self, content: Content, changes: Sequence[Change], news: Sequence[list[Any]]
    ) -> Content:
        """Return new content with what the changes name taken from the answers to `changed`.

        `content` stays as it is.
        """

    def asks(self) -> Sequence[str]:
        return () if self._held is None else (CHANGES, *self.changed)

    def read(
        self, connection: psycopg.Connection[Any], forgotten: int, news: Sequence[list[Any]]
    ) -> Content:
        if self._held is None or self.version < forgotten:
            content, changes = self.load(connection), None
        else:
            changes = [Change(**row) for row in news[0]]
            content = self.advance(self._held[1], changes, news[1:])
        self._changes = changes
        return content

    def swapped(self, before: int) -> None:
        # Under the lock, so that with two threads that refresh each change is told once, in order.
        if before >= 0 and self.version != before:
            for watch in self.watchers:
                watch(self._changes)


def changes_since(connection: psycopg.Connection[Any], snapshot: str, version: int) -> list[Change]:
    """Return what changed after a version, in order; the caller knows that none is forgotten."""
    rows = connection.execute(
        "select version, subject, tenant_id from snapshot_changes_since(%s, %s)",
        [snapshot, version],
    ).fetchall()
    return [Change(**row) for row in rows]


def connect() -> psycopg.Connection[dict[str, Any]]:
    """Open a direct connection of the runtime role, with what its URL asks for, such as TLS."""
    options: dict[str, Any] = settings.DATABASES["default"]
    if environment.read("DATABASE_DIRECT_URL"):
        options = environment.postgres_settings("DATABASE_DIRECT_URL")
    asked = {name: value for name, value in options.get("OPTIONS", {}).items() if name != "pool"}
    return psycopg.connect(
        make_conninfo(
            **{
                # A peer that vanished without a word is noticed within half a minute.
                "connect_timeout": 5,
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                **asked,
                "host": options["HOST"],
                "port": options["PORT"],
                "dbname": options["NAME"],
                "user": options["USER"],
                "password": options["PASSWORD"],
                "application_name": f"layoverhq snapshot {os.getpid()}",
            }
        ),
        autocommit=True,
        row_factory=dict_row,
    )


class Listener:
    """The thread that keeps a process's snapshots fresh."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Know of no thread: none was started, or a fork left it behind."""
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._stopping = threading.Event()
        self.connected = threading.Event()
        # Something is held that the last report did not tell.
        self.untold = threading.Event()

    def start(self) -> None:
        """Start the thread unless it runs."""
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._stopping.clear()
                self._thread = threading.Thread(
                    target=self._run, name="snapshot-listener", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """End the thread and its connection."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._thread = None

    @property
    def alive(self) -> bool:
        """Whether notifications arrive: the thread runs and its connection stands."""
        return bool(self._thread and self._thread.is_alive() and self.connected.is_set())

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                with connect() as connection:
                    connection.execute("listen hot_snapshot")
                    whole = self.reconcile(connection)
                    self._report(connection)
                    self.connected.set()
                    if failures:
                        log.info("snapshot_listener_back", failures=failures)
                    failures = 0
                    self._follow(connection, whole=whole)
            except psycopg.Error as error:
                self.connected.clear()
                delay = RECONNECT_SECONDS[min(failures, len(RECONNECT_SECONDS) - 1)]
                failures += 1
                log.warning("snapshot_listener_lost", error=str(error).strip(), retry_in=delay)
                self._stopping.wait(delay)
        self.connected.clear()

    def _follow(self, connection: psycopg.Connection[Any], *, whole: bool) -> None:
        reconcile_at = _next_look(whole)
        while not self._stopping.is_set():
            # One second bounds how long a stop waits; notifications end the wait at once. The
            # generator holds the connection until it is exhausted.
            for notification in list(connection.notifies(timeout=1.0, stop_after=1)):
                if not self._obey(connection, notification.payload):
                    reconcile_at = _next_look(whole=False)
            if time.monotonic() >= reconcile_at:
                reconcile_at = _next_look(self.reconcile(connection))
                self.untold.set()
            if self.untold.is_set():
                self._report(connection)
        processes.report_end(connection)

    def _obey(self, connection: psycopg.Connection[Any], payload: str) -> bool:
        try:
            named = json.loads(payload)
            snapshot, version = registry.get(named["snapshot"]), int(named["version"])
        except (ValueError, TypeError, KeyError):
            log.warning("snapshot_notification_unreadable", payload=payload[:200])
            return True
        with _promptly():
            return self._reload(connection, snapshot, version)

    def reconcile(self, connection: psycopg.Connection[Any]) -> bool:
        """Reload every held snapshot whose version in the database is newer.

        Returns whether all that had to be loaded could be.
        """
        rows = connection.execute("select name, version from snapshot_versions").fetchall()
        whole = True
        for row in rows:
            snapshot, version = registry.get(row["name"]), int(row["version"])
            whole &= self._reload(connection, snapshot, version)
        return whole

    def _report(self, connection: psycopg.Connection[Any]) -> None:
        self.untold.clear()
        holds = {name: held.facts() for name, held in registry.items() if held.version >= 0}
        processes.report(connection, holds)

    def _reload(
        self, connection: psycopg.Connection[Any], snapshot: Snapshot[Any] | None, version: int
    ) -> bool:
        if snapshot is None or snapshot.version < 0:
            return True
        try:
            snapshot.refresh(connection, at_least=version)
        except Exception as error:
            # A fault in one snapshot holds up no other.
            if connection.closed:
                raise
            log.error("snapshot_load_failed", snapshot=snapshot.name, error=str(error).strip())
            return False
        return True


@contextmanager
def _promptly() -> Iterator[None]:
    """Wait less for the interpreter while other threads are busy, for the block."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(PROMPT_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def _next_look(whole: bool) -> float:
    """Return when to compare versions again: soon, if something could not be loaded."""
    return time.monotonic() + (RECONCILE_SECONDS if whole else RETRY_SECONDS)


listener = Listener()


def _begin_again() -> None:
    """Forget what a fork copied: its listener stayed in the parent, and nothing would follow."""
    processes.begin_again()
    listener.reset()
    for snapshot in registry.values():
        snapshot.reset()


os.register_at_fork(after_in_child=_begin_again)
