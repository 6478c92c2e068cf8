"""Changes of configuration, as tenants are told of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from apps.configs.runtime import configs
from apps.configs.stream.sources import Source
from apps.tenants.models import Scope
from layoverhq.snapshot import Change


class ConfigChanges(Source):
    """Keys by name, and never their values."""

    name = "configs"
    scope = Scope.CONFIGS_READ
    directory = configs.directory

    def names(self) -> set[str]:
        entries = self.directory.get().entries
        return {key for key, entry in entries.items() if entry.declaration.tenant_visible}

    def sees(self, name: str) -> bool:
        entry = self.directory.get().entries.get(name)
        return entry is not None and entry.declaration.tenant_visible

    def named(self, changes: Iterable[Change]) -> list[Change]:
        return list(changes)

    def logged(
        self, connection: psycopg.Connection[Any], version: int, changes: Sequence[Change]
    ) -> tuple[list[Change], frozenset[str]]:
        rows = connection.execute(
            "select key from config_keys where tenant_visible and key = any(%s)",
            [list({change.subject for change in changes})],
        )
        return list(changes), frozenset(row["key"] for row in rows)

    def told(self, name: str, version: int, own: bool) -> tuple[str, dict[str, Any]]:
        return "config_change", {"key": name, "version": version, "own": own}
