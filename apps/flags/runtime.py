"""Flags in memory: what `flags.enabled` and `flags.evaluate` answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog

from apps.flags.conditions import Group, compile_groups
from apps.flags.evaluation import (
    FLAG_NOT_FOUND,
    PROVIDER_NOT_READY,
    BrokenFlag,
    CompiledFlag,
    Definition,
    Evaluation,
)
from apps.flags.exposing import RunningExperiment, exposures
from apps.flags.recording import recorder
from layoverhq.snapshot import Change, FollowingSnapshot

log = structlog.get_logger(__name__)

SEGMENTS = "select * from flag_segment_directory()"
EXPERIMENTS = "select * from flag_experiment_directory()"


@dataclass(frozen=True, slots=True)
class Content:
    """All flags at one version, compiled with all segments."""

    flags: Mapping[str, CompiledFlag]
    definitions: Mapping[str, Definition]
    groups: Mapping[str, Group]
    # those that run, by flag, and the routes of the API that their goals ask for
    experiments: Mapping[str, tuple[RunningExperiment, ...]]
    routes: frozenset[str]


class FlagDirectory(FollowingSnapshot[Content]):
    """Flags and segments; a segment that changes compiles every flag anew."""

    name = "flags"

    @property
    def held(self) -> Content | None:
        """What is held, without loading it."""
        return self._held[1] if self._held else None

    def load(self, connection: psycopg.Connection[Any]) -> Content:
        recorder.start()
        rows = connection.execute("select * from flag_directory()").fetchall()
        return _content(
            {row["name"]: _definition(row) for row in rows},
            connection.execute(SEGMENTS).fetchall(),
            _running(connection.execute(EXPERIMENTS).fetchall()),
        )

    changed = (
        "select * from flag_directory(array("
        "select split_part(subject, ' ', 2)"
        " from snapshot_changes_since(%(snapshot)s, %(held)s) where subject ^@ 'flag '))",
        SEGMENTS,
        EXPERIMENTS,
    )

    def advance(
        self, content: Content, changes: Sequence[Change], news: Sequence[list[Any]]
    ) -> Content:
        rows, segments, running = news
        experiments = _running(running)
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
            return _content(definitions, segments, experiments)
        anew = set(found)
        for name in content.experiments.keys() | experiments.keys():
            if content.experiments.get(name) != experiments.get(name):
                anew.add(name)
        kept = {name: flag for name, flag in content.flags.items() if name in definitions}
        renewed = {name: definitions[name] for name in anew & definitions.keys()}
        flags = {**kept, **_compiled(renewed, content.groups, experiments)}
        return Content(flags, definitions, content.groups, experiments, _routes(experiments))


def _content(
    definitions: dict[str, Definition],
    segments: list[dict[str, Any]],
    experiments: dict[str, tuple[RunningExperiment, ...]],
) -> Content:
    groups = compile_groups(
        {segment["name"]: (segment["members"], segment["conditions"]) for segment in segments}
    )
    flags = _compiled(definitions, groups, experiments)
    return Content(flags, definitions, groups, experiments, _routes(experiments))


def _compiled(
    definitions: Mapping[str, Definition],
    groups: Mapping[str, Group],
    experiments: Mapping[str, tuple[RunningExperiment, ...]],
) -> dict[str, CompiledFlag]:
    flags: dict[str, CompiledFlag] = {}
    for name, definition in definitions.items():
        try:
            flags[name] = CompiledFlag(definition, groups, experiments.get(name, ()))
        except Exception:
            # A row that no operation wrote takes itself out of use, and no other flag with it.
            log.exception("flag_unusable", flag=name)
            flags[name] = BrokenFlag(name)
    return flags


def _running(rows: list[dict[str, Any]]) -> dict[str, tuple[RunningExperiment, ...]]:
    running: dict[str, tuple[RunningExperiment, ...]] = {}
    for row in sorted(rows, key=lambda row: row["id"]):
        experiment = RunningExperiment(
            row["id"], row["rule"] or None, row["started_at"], frozenset(row["routes"])
        )
        running[row["flag"]] = (*running.get(row["flag"], ()), experiment)
    return running


def _routes(experiments: Mapping[str, tuple[RunningExperiment, ...]]) -> frozenset[str]:
    return frozenset(
        route for running in experiments.values() for each in running for route in each.routes
    )


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
        """Return the answer to a context, a dict of JSON's own types; never raises for one.

        It is counted, and where an experiment's split decided, the unit has met its variant.
        """
        try:
            flags = self.directory.get().flags
        except psycopg.Error:
            # This process holds no flags yet, and the database is away.
            return PROVIDER_NOT_READY
        flag = flags.get(name)
        if flag is None:
            return FLAG_NOT_FOUND
        answer = flag.evaluate(context, flags) if type(context) is dict else flag.invalid
        next(answer.counter)
        if answer.experiment is not None:
            exposures.see(answer.experiment, context, flag.unit(context), answer.variant)
        return answer

    def enabled(self, name: str, context: Mapping[str, Any]) -> bool:
        """Return whether a switch is on, or another flag answers something else than off."""
        return self.evaluate(name, context).enabled

    def routes(self) -> frozenset[str]:
        """Return the routes that goals of running experiments count, as far as is known here."""
        held = self.directory.held
        return held.routes if held else frozenset()


flags = Flags(FlagDirectory())
