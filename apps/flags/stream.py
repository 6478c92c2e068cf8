"""Changes of flags, as tenants are told of them on the event stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from apps.configs.stream.sources import Source
from apps.flags.dependents import Dependents
from apps.flags.runtime import Content, flags
from apps.tenants.models import Scope
from layoverhq.snapshot import Change


class FlagChanges(Source):
    """Flags by name: those that changed, and those that a changed flag or segment decides on."""

    name = "flags"
    scope = Scope.FLAGS_READ
    directory = flags.directory

    def __init__(self) -> None:
        # The log is read in a thread of its own.
        self._live, self._logged = Dependents(), Dependents()

    def names(self) -> set[str]:
        return _visible(self.directory.get())

    def sees(self, name: str) -> bool:
        definition = self.directory.get().definitions.get(name)
        return definition is not None and definition.tenant_visible

    def named(self, changes: Iterable[Change]) -> list[Change]:
        return _flags_of(self._live, self.directory.get(), changes)

    def logged(
        self, connection: psycopg.Connection[Any], version: int, changes: Sequence[Change]
    ) -> tuple[list[Change], frozenset[str]]:
        # Read before the content, which is at least as new.
        held = self.directory.version
        content = self.directory.get()
        if held < version:
            content = self.directory.load(connection)
        return _flags_of(self._logged, content, changes), frozenset(_visible(content))

    def told(self, name: str, version: int, own: bool) -> tuple[str, dict[str, Any]]:
        return "flag_change", {"flag": name, "version": version}


def _visible(content: Content) -> set[str]:
    return {name for name, flag in content.definitions.items() if flag.tenant_visible}


def _flags_of(dependents: Dependents, content: Content, changes: Iterable[Change]) -> list[Change]:
    """Return the flags that may answer otherwise, each at the last version that touched it."""
    versions: dict[str, int] = {}
    for change in changes:
        versions[change.subject] = max(change.version, versions.get(change.subject, 0))
    touched = dependents.touched(content, versions)
    return [Change(version, name, None) for name, version in touched.items()]
