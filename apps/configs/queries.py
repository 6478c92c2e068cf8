"""Reads: which value holds and why, who runs what, and which code reads a key."""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connections
from django.utils import timezone

from layoverhq.processes import GONE_AFTER
from layoverhq.tenancy import current_alias


@dataclass(frozen=True, slots=True)
class Layer:
    """A value that stands for a key; the first of a list of them holds, and hides the rest.

    `layer` is tenant, release, platform or default; a secret's value is sealed.
    """

    layer: str
    value: Any
    config_id: UUID | None
    version: int | None
    holds: bool


def explain_config(key: str, tenant_id: UUID | None) -> list[Layer]:
    """Return every value that stands for a key, the one that holds first."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "select layer, value, config_id, version from config_layers(%s, %s)"
            " order by precedence",
            [key, tenant_id],
        )
        columns = ("layer", "value", "config_id", "version")
        rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    return [
        Layer(**{**row, "value": decoded(row["value"])}, holds=position == 0)
        for position, row in enumerate(rows)
    ]


def decoded(value: Any) -> Any:
    """Return the value of a jsonb column that Django's cursors hand out as text."""
    return json.loads(value) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class RunningProcess:
    """A living process, and the version of a key that it was started with."""

    kind: str
    host: str
    pid: int
    started_at: Any
    seen_at: Any
    version: int


def processes_with(key: str) -> list[RunningProcess]:
    """Return the living processes that hold a key which requires a restart."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "select kind, host, pid, started_at, seen_at,"
            " (holds #>> array['configs', 'pinned', %s])::integer"
            " from processes where seen_at > %s and holds #> array['configs', 'pinned', %s]"
            " is not null order by kind, host, pid",
            [key, timezone.now() - GONE_AFTER, key],
        )
        return [RunningProcess(*row) for row in cursor.fetchall()]


@dataclass(frozen=True, slots=True)
class Reader:
    """A place in the code that asks for a key."""

    path: str
    line: int


def readers() -> dict[str, list[Reader]]:
    """Return where the code asks `configs.get` or `configs.together` for which key."""
    return readers_of("configs", "get", "together")


@cache
def readers_of(name: str, one: str, many: str = "") -> dict[str, list[Reader]]:
    """Return where the code calls `name.one("…")`, or `name.many("…", "…")`, with a literal."""
    found: dict[str, list[Reader]] = defaultdict(list)
    root = Path(settings.BASE_DIR)
    for folder in ("apps", "layoverhq"):
        for path in sorted((root / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for literal, line in literals_asked(tree, name, one, many):
                found[literal].append(Reader(path.relative_to(root).as_posix(), line))
    return dict(found)


def literals_asked(tree: ast.AST, name: str, one: str, many: str) -> Iterator[tuple[str, int]]:
    """Yield each literal that a module calls these methods of a name with, and its line."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in (one, many)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == name
        ):
            for argument in node.args if node.func.attr == many else node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value, node.lineno
