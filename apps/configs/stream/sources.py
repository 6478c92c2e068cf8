"""What is streamed: lists of changes, and the events that tell them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import psycopg

from apps.configs.stream.places import Place, Places, written
from apps.tenants.models import Scope
from layoverhq.snapshot import Change, FollowingSnapshot, changes_since, connect

# Whoever missed more than this reads everything anew in less time than being told of it.
REPLAYED_VERSIONS = 5000


class Source(ABC):
    """A list of changes, told to the keys that have its scope.

    A change's subject is what the snapshot calls it, an event's name what tenants do.
    """

    name: ClassVar[str]
    """In ids and in `reset`: lower-case letters."""

    scope: ClassVar[Scope]
    directory: FollowingSnapshot[Any]

    @abstractmethod
    def names(self) -> set[str]:
        """Return all names that tenants see."""

    @abstractmethod
    def sees(self, name: str) -> bool:
        """Return whether tenants see a name."""

    @abstractmethod
    def named(self, changes: Iterable[Change]) -> list[Change]:
        """Return changes by the names that tenants know, whether they see them or not."""

    @abstractmethod
    def logged(
        self, connection: psycopg.Connection[Any], version: int, changes: Sequence[Change]
    ) -> tuple[list[Change], frozenset[str]]:
        """Return the same, and the names among them that tenants see, as of a version.

        The snapshot of this process may not have come as far; the connection is in the transaction
        that read the changes.
        """

    @abstractmethod
    def told(self, name: str, version: int, own: bool) -> tuple[str, dict[str, Any]]:
        """Return an event's type and data; `own`: it is the tenant's alone."""


@dataclass(frozen=True, slots=True)
class Event:
    """What is sent of one name in one version, and where the client is in the list after it.

    All streams share it; its id is each stream's own, since it holds the other lists as well.
    """

    source: str
    version: int
    name: str
    after: Place
    head: bytes
    body: bytes

    def text(self, places: Places) -> bytes:
        """Return the block that is sent, to a client that is at these places after it."""
        return b"%s\nid: %s\n%s\n\n" % (self.head, written(places).encode(), self.body)


def _event(
    source: Source, version: int, name: str, after: Place, kind: str, data: dict[str, Any]
) -> Event:
    head, body = f"event: {kind}".encode(), f"data: {json.dumps(data)}".encode()
    return Event(source.name, version, name, after, head, body)


def reset(source: Source, version: int) -> Event:
    """Return the event that tells a client to read the whole list anew."""
    data = {"list": source.name, "version": version}
    return _event(source, version, "", Place(version), "reset", data)


def events_of(source: Source, changes: Iterable[Change], visible: Container[str]) -> list[Event]:
    """Return the events of one tenant's changes and the platform's, in order.

    A name is told once, as of its last version: setting a value raises two. The last event of a
    version has the version as its place; the others name theirs, so that a client resumes in
    between.
    """
    versions: dict[str, int] = {}
    own: set[str] = set()
    for change in changes:
        if change.subject in visible:
            versions[change.subject] = max(change.version, versions.get(change.subject, 0))
            if change.tenant_id is not None:
                own.add(change.subject)
    ordered = sorted((version, name) for name, version in versions.items())
    events = []
    for number, (version, name) in enumerate(ordered, start=1):
        last = number == len(ordered) or ordered[number][0] != version
        after = Place(version, None if last else name)
        told = source.told(name, version, name in own)
        events.append(_event(source, version, name, after, *told))
    return events


@dataclass(frozen=True, slots=True)
class Log:
    """The changes that are told one by one: those after `forgotten`, up to `version`.

    `visible` are the names among them that tenants see, as of `version`.
    """

    version: int
    forgotten: int
    changes: list[Change]
    visible: frozenset[str]


def read_log(source: Source, since: int) -> Log:
    """Read what changed after a version, or the last REPLAYED_VERSIONS of that."""
    snapshot = source.directory.name
    with connect() as connection, connection.transaction():
        connection.execute("set transaction isolation level repeatable read read only")
        row = connection.execute(
            "select version, forgotten from snapshot_versions where name = %s", [snapshot]
        ).fetchone()
        version, forgotten = (row["version"], row["forgotten"]) if row else (0, 0)
        forgotten = max(forgotten, min(since, version), version - REPLAYED_VERSIONS)
        changes = changes_since(connection, snapshot, forgotten)
        named, visible = source.logged(connection, version, changes)
        return Log(version, forgotten, named, visible)
