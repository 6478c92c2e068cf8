"""Flags as evaluations see them: a row that stands, and a definition before it is published."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

from apps.flags.definitions import put_definition
from apps.flags.evaluation import BrokenFlag, Context, Definition, Evaluation
from apps.flags.explaining import Explanation, Finding, explain
from apps.flags.models import BASIS_POINTS, FeatureFlag, FlagVersion
from apps.flags.runtime import flags

AS_THEY_ARE = (
    "name", "rollout_percentage", "conditions", "tenant_overrides", "user_overrides", "value_type",
    "variants", "on_variant", "off_variant", "allocations", "rules", "prerequisites",
    "bucketing_unit", "salt", "tenant_visible", "version",
)  # fmt: skip


NO_SENSE = Explanation(
    Evaluation(None, None, "ERROR", error_code="GENERAL"),
    (Finding("its row makes no sense: everybody gets an error", met=False, decided=True),),
)


def try_flag(flag: FeatureFlag, context: Context) -> Explanation:
    """Return what a flag answers as its row stands, and why."""
    content = flags.directory.get()
    if isinstance(content.flags.get(flag.name), BrokenFlag):
        return NO_SENSE
    because = "the flag is turned off"
    if flag.is_killed:
        because = f"the flag is killed: {flag.kill_reason}"
    elif flag.is_archived:
        because = "the flag is archived"
    return explain(definition_of(flag), context, content.flags, content.groups, off_because=because)


def try_version(version: FlagVersion, context: Context) -> Explanation:
    """Return what a flag would answer by a version, were it not killed, and why."""
    content = flags.directory.get()
    drafted = as_published(version.flag, version.definition)
    because = "it is archived" if drafted.is_archived else "it is turned off"
    return explain(
        definition_of(drafted), context, content.flags, content.groups, off_because=because
    )


def definition_of(flag: FeatureFlag) -> Definition:
    """Return a row as flag_directory() does."""
    held = flag.namespace
    namespace = None
    if held and flag.namespace_low is not None and flag.namespace_high is not None:
        end = min(flag.namespace_high, BASIS_POINTS - held.holdout)
        namespace = (held.salt, flag.namespace_low, end)
    return Definition(
        **{name: getattr(flag, name) for name in AS_THEY_ARE},
        enabled=flag.enabled and not flag.is_killed and not flag.is_archived,
        namespace=namespace,
    )


def as_published(flag: FeatureFlag, definition: Mapping[str, Any]) -> FeatureFlag:
    """Return a flag as it would be with a definition, unsaved, were it not killed."""
    drafted = copy(flag)
    drafted.is_killed = False
    put_definition(drafted, definition)
    return drafted
