"""Configuration in memory: what `configs.get` answers, and how it keeps up with the database."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol
from uuid import UUID

import psycopg
import structlog

from apps.configs.values import Declaration, fault_of, open_secret
from layoverhq.bucketing import in_rollout
from layoverhq.sealing import CannotOpen
from layoverhq.snapshot import Change, FollowingSnapshot, answers

log = structlog.get_logger(__name__)

ABSENT: Any = object()

# Bounds what a load holds at once besides its outcome, here and in PostgreSQL.
KEYS_AT_ONCE = 100


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


class ByTenant(Mapping[UUID, Any]):
    """Values by tenant, kept by `UUID.int`.

    UUIDs are hashed and compared in Python, and the garbage collector visits whatever they are
    keys of: ten million overrides would stop the process for 0.3 s at a time.
    """

    __slots__ = ("_values",)

    def __init__(self, values: dict[int, Any]) -> None:
        self._values = values

    def __getitem__(self, tenant_id: UUID) -> Any:
        return self._values[tenant_id.int]

    def __iter__(self) -> Iterator[UUID]:
        return (UUID(int=number) for number in self._values)

    def __len__(self) -> int:
        return len(self._values)

    def changed(self, values: Mapping[UUID, Any]) -> ByTenant:
        """Return a copy with these values, and without those that are ABSENT."""
        copy = dict(self._values)
        for tenant_id, value in values.items():
            if value is ABSENT:
                copy.pop(tenant_id.int, None)
            else:
                copy[tenant_id.int] = value
        return ByTenant(copy)


NO_OVERRIDES = ByTenant({})


@dataclass(frozen=True, slots=True)
class Entry:
    """All that stands for one key; values are as stored, ABSENT where there is none.

    What was resolved of them stays with them: a change leaves other keys' entries as they are.
    """

    declaration: Declaration
    platform: Any
    platform_version: int
    staged: Staged | None
    overrides: ByTenant
    description: str = ""
    category: str = ""
    overridable: bool = False
    # Resolved, checked and frozen when first read, by `UUID.int` as well; None is the platform.
    # Opened secrets are among them, which no traceback or log should show.
    known: dict[int | None, Any] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    faults: dict[UUID | None, str] = field(default_factory=dict, init=False, compare=False)

    def layers(self, tenant_id: UUID | None) -> Iterator[Any]:
        """Yield the standing values, the one that holds first."""
        if tenant_id is not None:
            if tenant_id in self.overrides:
                yield self.overrides[tenant_id]
            if self.staged and self.staged.reaches(tenant_id):
                yield self.staged.value
        if self.platform is not ABSENT:
            yield self.platform

    def resolve(self, tenant_id: UUID | None) -> Any:
        """Return the value that holds, and remember it."""
        declared = self.declaration
        stored = next(self.layers(tenant_id), ABSENT)
        if stored is ABSENT:
            value = declared.default
        elif declared.is_secret:
            value = self._opened(stored, tenant_id)
        elif fault := fault_of(declared, stored):
            self._note(tenant_id, fault.detail)
            value = declared.default
        else:
            value = stored
        usable = declared.typed(value)
        if not isinstance(usable, Unreadable):
            usable = frozen(usable)
        return self.known.setdefault(None if tenant_id is None else tenant_id.int, usable)

    def _opened(self, stored: Any, tenant_id: UUID | None) -> Any:
        owner = tenant_id if tenant_id is not None and tenant_id in self.overrides else None
        try:
            return open_secret(self.declaration, stored, owner)
        except CannotOpen as error:
            self._note(tenant_id, f"the secret does not open: {error}")
            return Unreadable(str(error))

    def _note(self, tenant_id: UUID | None, why: str) -> None:
        self.faults[tenant_id] = why
        log.error(
            "config_value_unusable",
            key=self.declaration.key,
            tenant_id=str(tenant_id or ""),
            fault=why,
        )


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a secret that did not open, with why."""

    why: str


class Content:
    """Everything at one version."""

    def __init__(self, entries: dict[str, Entry]) -> None:
        self.entries = entries
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
        return Content(standing)

    def value(self, key: str, tenant_id: UUID | None) -> Any:
        """Return the key's value, resolved if it was not read before. Raises UndeclaredKey."""
        entry = self.entries.get(key)
        if entry is None:
            raise UndeclaredKey(key)
        known = entry.known.get(None if tenant_id is None else tenant_id.int, ABSENT)
        return entry.resolve(tenant_id) if known is ABSENT else known


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
    changed = (
        "select * from config_directory(array("
        "select subject from snapshot_changes_since(%(snapshot)s, %(held)s)))",
        "select * from config_overrides_since(%(held)s)",
    )

    def reset(self) -> None:
        super().reset()
        self._pinned: dict[str, Entry] = {}
        self._overlay: dict[str, Entry] = {}

    def load(self, connection: psycopg.Connection[Any]) -> Content:
        keys = [row["key"] for row in connection.execute("select key from config_keys")]
        entries: dict[str, Entry] = {}
        for first in range(0, len(keys), KEYS_AT_ONCE):
            rows, own = answers(
                connection,
                [
                    "select * from config_directory(%(keys)s)",
                    "select * from config_overrides(%(keys)s)",
                ],
                {"keys": keys[first : first + KEYS_AT_ONCE]},
            )
            overrides = {
                row["key"]: ByTenant(
                    {_numbers[text]: value for text, value in row["overrides"].items()}
                )
                for row in own
            }
            entries |= self._entries(rows, overrides)
        return Content({**entries, **self._overlay})

    def advance(
        self, content: Content, changes: Sequence[Change], news: Sequence[list[Any]]
    ) -> Content:
        rows, own = news
        named: dict[str, dict[UUID, Any]] = {}
        for change in changes:
            tenants = named.setdefault(change.subject, {})
            if change.tenant_id is not None:
                tenants[change.tenant_id] = ABSENT
        for row in own:
            named[row["key"]][row["tenant_id"]] = row["value"]
        overrides = {}
        for key, values in named.items():
            entry = content.entries.get(key)
            standing = entry.overrides if entry else NO_OVERRIDES
            overrides[key] = standing.changed(values) if values else standing
        entries = {**dict.fromkeys(named), **self._entries(rows, overrides)}
        return content.changed({**entries, **self._overlay})

    def _entries(self, rows: list[Any], overrides: Mapping[str, ByTenant]) -> dict[str, Entry]:
        return {
            row["key"]: self._kept(row, _entry(row, overrides.get(row["key"], NO_OVERRIDES)))
            for row in rows
        }

    def _kept(self, row: Mapping[str, Any], entry: Entry) -> Entry:
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


class _Numbers(dict[str, int]):
    """One number a tenant: millions of overrides share it as their key."""

    def __missing__(self, text: str) -> int:
        return self.setdefault(text, UUID(text).int)


_numbers = _Numbers()


def _entry(row: Mapping[str, Any], overrides: ByTenant) -> Entry:
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
        overrides,
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
            value = content.entries[key].known[None if tenant is None else tenant.id.int]
        except KeyError:
            value = content.value(key, None if tenant is None else tenant.id)
        if value.__class__ is Unreadable:
            raise SecretUnreadable(f"{key}: {value.why}")
        return value

    def together(self, *keys: str, tenant: HasId | None = None) -> tuple[Any, ...]:
        """Return several values of one version: of a change to some of them all or nothing."""
        content = self.directory.get()
        tenant_id = None if tenant is None else tenant.id
        values = []
        for key in keys:
            value = content.value(key, tenant_id)
            if isinstance(value, Unreadable):
                raise SecretUnreadable(f"{key}: {value.why}")
            values.append(value)
        return tuple(values)

    def faults(self) -> dict[tuple[str, UUID | None], str]:
        """Return the values that cannot be used, by key and tenant: all the platform's, and those
        of tenants that were met since the last change of their key."""
        entries = self.directory.get().entries
        for entry in entries.values():
            if None not in entry.known:
                entry.resolve(None)
        return {
            (key, tenant_id): why
            for key, entry in entries.items()
            for tenant_id, why in list(entry.faults.items())
        }


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
            overrides = entry.overrides.changed({tenant.id: value})
            entries[key] = replace(entry, declaration=declared, overrides=overrides)
    with configs.directory.overlaid(entries):
        yield
