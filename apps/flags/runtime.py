"""Flags in memory: what `flags.enabled` and `flags.evaluate` answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from apps.flags.conditions import Group, compile_groups
from apps.flags.evaluation import (
    FLAG_NOT_FOUND,
    INVALID_CONTEXT,
    CompiledFlag,
    Definition,
    Evaluation,
)
from layoverhq.snapshot import Change, FollowingSnapshot

SEGMENTS = "select * from flag_segment_directory()"


@dataclass(frozen=True, slots=True)
class Content:
    """All flags at one version, compiled with all segments."""

    flags: Mapping[str, CompiledFlag]
    definitions: Mapping[str, Definition]
    groups: Mapping[str, Group]


class FlagDirectory(FollowingSnapshot[Content]):
    """Flags and segments; a segment that changes compiles every flag anew."""

    name = "flags"

    def load(self, connection: psycopg.Connection[Any]) -> Content:
        rows = connection.execute("select * from flag_directory()").fetchall()
        return _content(
            {row["name"]: _definition(row) for row in rows}, connection.execute(SEGMENTS).fetchall()
        )

    changed = (
        "select * from flag_directory(array("
        "select split_part(subject, ' ', 2)"
        " from snapshot_changes_since(%(snapshot)s, %(held)s) where subject ^@ 'flag '))",
        SEGMENTS,
    )

    def advance(
        self, content: Content, changes: Sequence[Change], news: Sequence[list[Any]]
    ) -> Content:
        rows, segments = news
        subjects = [change.subject.partition(" ") for change in changes]
        named = {name for kind, _, name in subjects if kind == "flag"}
        found = {row["name"]: _definition(row) for row in rows}
        standing = {
            name: definition
            for name, definition in content.definitions.items()
            if name not in named or name in found
        }
        definitions = {**standing, **found}
        if any(kind == "segment" for kind, _, _ in subjects):
            return _content(definitions, segments)
        flags = {name: content.flags[name] for name in definitions if name not in found}
        anew = {name: CompiledFlag(flag, content.groups) for name, flag in found.items()}
        return Content({**flags, **anew}, definitions, content.groups)


def _content(definitions: dict[str, Definition], segments: list[dict[str, Any]]) -> Content:
    groups = compile_groups(
        {segment["name"]: (segment["members"], segment["conditions"]) for segment in segments}
    )
    flags = {name: CompiledFlag(flag, groups) for name, flag in definitions.items()}
    return Content(flags, definitions, groups)


def _definition(row: Mapping[str, Any]) -> Definition:
    fields = {name: value for name, value in row.items() if not name.startswith("namespace_")}
    namespace = None
    if row["namespace_salt"] is not None:
        namespace = (row["namespace_salt"], row["namespace_low"], row["namespace_high"])
    return Definition(**fields, namespace=namespace)


class Flags:
    """What code asks of flags."""

    def __init__(self, directory: FlagDirectory) -> None:
        self.directory = directory

    def evaluate(self, name: str, context: Mapping[str, Any]) -> Evaluation:
        """Return the answer to a context, a dict of JSON's own types; never raises for one."""
        flags = self.directory.get().flags
        flag = flags.get(name)
        if flag is None:
            return FLAG_NOT_FOUND
        if type(context) is not dict:
            return INVALID_CONTEXT
        return flag.evaluate(context, flags)

    def enabled(self, name: str, context: Mapping[str, Any]) -> bool:
        """Return whether a switch is on, or another flag answers something else than off."""
        return self.evaluate(name, context).enabled


flags = Flags(FlagDirectory())
