"""Flags for tests; every test has flags of its own."""

from __future__ import annotations

from typing import Any

from apps.flags import operations, segment_operations
from apps.flags.definitions import blank_definition, document_of
from apps.flags.models import FeatureFlag, FlagNamespace, FlagSegment, FlagVersion
from apps.flags.runtime import flags
from apps.tenants.models import User
from layoverhq.tenancy import operator_scope
from tests.kernel.test_snapshot import until
from tests.tenants.factories import make_operator, unique

REASON = "as the test wants it"
WEIGHED = [{"key": key, "value": key} for key in ("off", "a", "b", "c")]


def flag_name(word: str = "flag") -> str:
    return unique(word).replace("-", "_")


def definition(value_type: str = "boolean", **changes: Any) -> dict[str, Any]:
    return {**blank_definition(value_type), **changes}


def make_flag(value_type: str = "boolean", **changes: Any) -> FeatureFlag:
    """Make a flag that is on for everybody, unless `changes` of its definition say otherwise."""
    name = changes.pop("name", None) or flag_name()
    protected = changes.get("is_protected", False)
    usual = {"enabled": not protected, "rollout_percentage": 100}
    if value_type == "string" and "variants" not in changes:
        usual |= {"variants": WEIGHED, "on_variant": "a"}
    with operator_scope():
        return operations.create_flag(
            name=name,
            value_type=value_type,
            definition=definition(value_type, **{**usual, **changes}),
            reason=REASON,
            actor=changes.pop("actor", None),
        )


def fresh(flag: FeatureFlag) -> FeatureFlag:
    with operator_scope():
        return FeatureFlag.objects.select_related("namespace").get(pk=flag.pk)


def edited(flag: FeatureFlag, **changes: Any) -> dict[str, Any]:
    """Return the definition that holds, with changes."""
    return {**document_of(fresh(flag)), **changes}


def draft(flag: FeatureFlag, actor: User | None = None, **changes: Any) -> FlagVersion:
    with operator_scope():
        return operations.draft_change(
            flag=flag,
            definition=edited(flag, **changes),
            base_version=fresh(flag).version,
            reason=REASON,
            actor=actor,
        )


def change(flag: FeatureFlag, **changes: Any) -> FeatureFlag:
    """Publish changes of an unprotected flag and return it."""
    version = draft(flag, **changes)
    with operator_scope():
        operations.publish_change(version=version)
    return fresh(flag)


def approved(version: FlagVersion) -> FlagVersion:
    """Have somebody else approve a draft."""
    with operator_scope():
        operations.submit_change(version=version)
        return operations.approve_change(version=version, actor=make_operator())


def make_segment(name: str = "", **fields: Any) -> FlagSegment:
    segment = FlagSegment(name=name or flag_name("segment"), **fields)
    with operator_scope():
        return segment_operations.save_segment(segment=segment)


def make_namespace(**fields: Any) -> FlagNamespace:
    namespace = FlagNamespace(name=flag_name("namespace"), **fields)
    with operator_scope():
        return segment_operations.save_namespace(namespace=namespace)


def await_version(flag: FeatureFlag) -> None:
    """Wait until this process holds the flag as its row has it."""
    number, killed = fresh(flag).version, fresh(flag).is_killed

    def known() -> bool:
        held = flags.directory.get().definitions.get(flag.name)
        stands = fresh(flag).enabled and not killed and not fresh(flag).is_archived
        return held is not None and held.version == number and held.enabled == stands

    until(known)
