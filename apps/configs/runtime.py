"""Configuration in memory: what `configs.get` answers, and how it keeps up with the database."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Protocol
from uuid import UUID

import psycopg
import structlog

from apps.configs.values import Declaration, fault_of, open_secret
from layoverhq.bucketing import in_rollout
from layoverhq.sealing import CannotOpen
from layoverhq.snapshot import FollowingSnapshot

log = structlog.get_logger(__name__)

ABSENT: Any = object()


class HasId(Protocol):
    """An enterprise, or a reference to one."""

    @property
    def id(self) -> UUID: ...


class UndeclaredKey(KeyError):
    """Code asked for a key that no migration and no operator declared."""


class SecretUnreadable(Exception):
    """The secret cannot be opened with the keys that this process has."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A value that a staged release brings to some tenants."""

    value: Any
    percentage: int
    release: UUID
    tenants: frozenset[UUID]

    def reaches(self, tenant_id: UUID) -> bool:
        """Return what SQL's in_config_release() does."""
        return tenant_id in self.tenants or in_rollout(
            str(self.release), str(tenant_id), self.percentage
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """All that stands for one key; values are as stored, ABSENT where there is none."""

    declaration: Declaration
    platform: Any
    platform_version: int
    staged: Staged | None
    overrides: Mapping[UUID, Any]
    description: str = ""
    category: str = ""
    overridable: bool = False

    def layers(self, tenant_id: UUID | None) -> Iterator[Any]:
        """Yield the standing values, the one that holds first."""
        if tenant_id is not None:
            if tenant_id in self.overrides:
                yield self.overrides[tenant_id]
            if self.staged and self.staged.reaches(tenant_id):
                yield self.staged.value
        if self.platform is not ABSENT:
            yield self.platform


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a secret that did not open, with why."""

    why: str


class Content:
    """Everything at one version. Values are resolved, checked and frozen when first read."""

    def __init__(self, entries: dict[str, Entry]) -> None:
        self.entries = entries
        self.platform: dict[str, Any] = {}
        self.tenants: dict[UUID, dict[str, Any]] = {}
        self.faults: dict[tuple[str, UUID | None], str] = {}
        # What others make of it, by their own type; it goes when this goes.
        self.derived: dict[type, Any] = {}

    def changed(self, entries: Mapping[str, Entry | None]) -> Content:
        """Return a copy with these entries replaced, or taken out where they are None."""
        standing = dict(self.entries)
        for key, entry in entries.items():
            if entry is None:
                standing.pop(key, None)
            else:
                standing[key] = entry
        copy = Content(standing)
        # What was resolved of other keys holds on. A reader of the old content may be adding to
        # it just now, hence the copies: of each dict whole, which is atomic.
        copy.platform = _without(dict(self.platform), entries)
        copy.tenants = {
            tenant: _without(dict(values), entries) for tenant, values in list(self.tenants.items())
        }
        copy.faults = {
            (key, tenant): why
            for (key, tenant), why in list(self.faults.items())
            if key not in entries
        }
        return copy

    def of(self, tenant_id: UUID | None) -> dict[str, Any]:
        """Return what is resolved for a tenant so far, to read and to fill."""
        if tenant_id is None:
            return self.platform
        return self.tenants.get(tenant_id) or self.tenants.setdefault(tenant_id, {})

    def resolve(self, key: str, tenant_id: UUID | None) -> Any:
        """Return the key's value and remember it. Raises UndeclaredKey."""
        entry = self.entries.get(key)
        if entry is None:
            raise UndeclaredKey(key)
        declared = entry.declaration
        stored = next(entry.layers(tenant_id), ABSENT)
        if stored is ABSENT:
            value = declared.default
        elif declared.is_secret:
            value = self._opened(key, declared, stored, tenant_id, entry)
        elif fault := fault_of(declared, stored):
            self._note(key, tenant_id, fault.detail)
            value = declared.default
        else:
            value = stored
        usable = declared.typed(value)
        self.of(tenant_id)[key] = usable if isinstance(usable, Unreadable) else frozen(usable)
        return self.of(tenant_id)[key]

    def _opened(
        self, key: str, declared: Declaration, stored: Any, tenant_id: UUID | None, entry: Entry
    ) -> Any:
        owner = tenant_id if tenant_id is not None and tenant_id in entry.overrides else None
        try:
            return open_secret(declared, stored, owner)
        except CannotOpen as error:
            self._note(key, tenant_id, f"the secret does not open: {error}")
            return Unreadable(str(error))

    def _note(self, key: str, tenant_id: UUID | None, why: str) -> None:
        self.faults[key, tenant_id] = why
        log.error("config_value_unusable", key=key, tenant_id=str(tenant_id or ""), fault=why)


def _without(values: dict[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    for key in keys:
        values.pop(key, None)
    return values


def frozen(value: Any) -> Any:
    """Return the value so that no reader can change it for the others."""
    if isinstance(value, dict):
        return MappingProxyType({name: frozen(item) for name, item in value.items()})
    if isinstance(value, list):
        return tuple(frozen(item) for item in value)
    return value


class ConfigDirectory(FollowingSnapshot[Content]):
    """Keys with all their values. What requires a restart stays as this process found it."""

    name = "configs"

    def reset(self) -> None:
        super().reset()
        self._pinned: dict[str, Entry] = {}
        self._overlay: dict[str, Entry] = {}

    def load(self, connection: psycopg.Connection[Any]) -> Content:
        rows = connection.execute("select * from config_directory()")
        entries = {row["key"]: self._kept(row) for row in rows}
        return Content({**entries, **self._overlay})

    def advance(
        self, connection: psycopg.Connection[Any], content: Content, changed: frozenset[str]
    ) -> Content:
        rows = connection.execute("select * from config_directory(%s)", [list(changed)])
        found = {row["key"]: self._kept(row) for row in rows}
        gone = dict.fromkeys(changed - found.keys())
        return content.changed({**found, **gone, **self._overlay})

    def _kept(self, row: dict[str, Any]) -> Entry:
        entry = _entry(row)
        if not row["requires_restart"]:
            self._pinned.pop(row["key"], None)
            return entry
        return self._pinned.setdefault(row["key"], entry)

    def facts(self) -> dict[str, Any]:
        pinned = {key: entry.platform_version for key, entry in dict(self._pinned).items()}
        return {**super().facts(), "pinned": pinned}

    @contextmanager
    def overlaid(self, entries: Mapping[str, Entry]) -> Iterator[None]:
        """Hold other entries for the block, whatever is loaded meanwhile."""
        earlier = self._overlay
        self._overlay = {**earlier, **entries}
        self.forget()
        try:
            yield
        finally:
            self._overlay = earlier
            self.forget()


_tenants: dict[str, UUID] = {}


def _tenant_id(text: str) -> UUID:
    """Return one UUID object a tenant: a million overrides share them as keys."""
    known = _tenants.get(text)
    return known or _tenants.setdefault(text, UUID(text))


def _entry(row: Mapping[str, Any]) -> Entry:
    staged = None
    if row["staged"] is not None:
        staged = Staged(
            row["staged"],
            row["staged_percentage"] or 0,
            row["staged_release"],
            frozenset(row["staged_tenants"]),
        )
    return Entry(
        Declaration(
            key=row["key"],
            value_type=row["value_type"],
            schema=row["schema"],
            default=row["default_value"],
            is_secret=row["is_secret"],
            tenant_visible=row["tenant_visible"],
        ),
        ABSENT if row["platform"] is None else row["platform"],
        row["platform_version"] or 0,
        staged,
        {_tenant_id(text): value for text, value in (row["overrides"] or {}).items()},
        row["description"],
        sys.intern(row["category"]),
        row["overridable"],
    )


class Configs:
    """What code asks for its configuration."""

    def __init__(self, directory: ConfigDirectory) -> None:
        self.directory = directory

    def get(self, key: str, tenant: HasId | None = None) -> Any:
        """Return what a key is for a tenant, or for the platform.

        Typed by the declaration: str, int or float, bool, tuple, or a read-only mapping; None
        where there is neither value nor default. Raises UndeclaredKey and SecretUnreadable; a
        stored value that its declaration forbids counts as its default.
        """
        content = self.directory.get()
        try:
            known = content.platform if tenant is None else content.tenants[tenant.id]
            value = known[key]
        except KeyError:
            value = content.resolve(key, None if tenant is None else tenant.id)
        if value.__class__ is Unreadable:
            raise SecretUnreadable(f"{key}: {value.why}")
        return value

    def together(self, *keys: str, tenant: HasId | None = None) -> tuple[Any, ...]:
        """Return several values of one version: of a change to some of them all or nothing."""
        content = self.directory.get()
        tenant_id = None if tenant is None else tenant.id
        values = []
        for key in keys:
            known = content.of(tenant_id)
            value = known[key] if key in known else content.resolve(key, tenant_id)
            if isinstance(value, Unreadable):
                raise SecretUnreadable(f"{key}: {value.why}")
            values.append(value)
        return tuple(values)

    def faults(self) -> dict[tuple[str, UUID | None], str]:
        """Return the values that cannot be used, by key and tenant: all the platform's, and those
        of tenants that were met since the last change of their key."""
        content = self.directory.get()
        for key in content.entries:
            if key not in content.platform:
                content.resolve(key, None)
        return dict(content.faults)


configs = Configs(ConfigDirectory())


@contextmanager
def override_config(values: Mapping[str, Any], *, tenant: HasId | None = None) -> Iterator[None]:
    """Let keys have other values in this process for the block: for tests.

    Raises UndeclaredKey, and ValueError for a value that the declaration forbids.
    """
    content = configs.directory.get()
    entries = {}
    for key, value in values.items():
        entry = content.entries.get(key)
        if entry is None:
            raise UndeclaredKey(key)
        declared = entry.declaration.unsealed()
        if fault := fault_of(declared, value):
            raise ValueError(f"{key}: {fault.detail}")
        if tenant is None:
            entries[key] = replace(entry, declaration=declared, platform=value)
        else:
            overrides = {**entry.overrides, tenant.id: value}
            entries[key] = replace(entry, declaration=declared, overrides=overrides)
    with configs.directory.overlaid(entries):
        yield
