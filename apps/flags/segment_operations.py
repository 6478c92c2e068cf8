"""Changes to segments and namespaces, which change the flags that use them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from apps.flags.chains import chain_fault, most_visits
from apps.flags.comparing import EXACT, is_number
from apps.flags.condition_faults import condition_faults, unstorable
from apps.flags.conditions import MAXIMUM_NESTING, groups_asked
from apps.flags.definitions import MAXIMUM_VISITS, NAME, is_whole
from apps.flags.models import BASIS_POINTS, FeatureFlag, FlagNamespace, FlagSegment
from apps.flags.operations import take_turns
from apps.flags.queries import (
    flags_to_come_with_segment,
    flags_with_segment,
    segments_with,
)
from apps.tenants.models import User
from layoverhq.errors import Conflict, FieldError, InvalidInput, NeedsApproval, StaleVersion
from layoverhq.tenancy import atomic

MAXIMUM_MEMBERS = 100_000
MAXIMUM_MEMBER = 255
MAXIMUM_BYTES = 4_000_000
NAMES_SHOWN = 5


def save_segment(
    *, segment: FlagSegment, base_version: int | None = None, actor: User | None = None
) -> FlagSegment:
    """Add a segment, or change one that was read at `base_version`; its name never changes.

    Raises InvalidInput, StaleVersion, and NeedsApproval where a protected flag uses it, now or by
    a change in review or approved: only a superuser changes it then.
    """
    with atomic():
        take_turns()
        if base_version is None:
            _refuse_name(FlagSegment, segment.name)
            _check_segment(segment)
            segment.version = 1
            segment.save(force_insert=True)
            return segment
        standing = FlagSegment.objects.select_for_update().get(pk=segment.pk)
        if standing.version != base_version:
            raise StaleVersion(f"The segment {standing} was changed meanwhile: reload it.")
        using = [*flags_with_segment(standing.name), *flags_to_come_with_segment(standing.name)]
        _refuse_protected(using, standing.name, actor)
        for name in ("description", "members", "conditions"):
            setattr(standing, name, getattr(segment, name))
        _check_segment(standing)
        standing.version += 1
        standing.save()
        return standing


def delete_segment(*, segment: FlagSegment) -> None:
    """Delete a segment that nothing names. Raises Conflict."""
    with atomic():
        take_turns()
        flags = [*flags_with_segment(segment.name), *flags_to_come_with_segment(segment.name)]
        using = list(dict.fromkeys(flag.name for flag in flags))
        using += sorted(segments_with(segment.name) - {segment.name})
        if using:
            raise Conflict(f"{segment} is used by {_listed(using)}.")
        segment.delete()


def save_namespace(
    *, namespace: FlagNamespace, seen: str = "", actor: User | None = None
) -> FlagNamespace:
    """Add a namespace, or change its description and its holdout.

    Raises StaleVersion where it is no longer the one whose `mark_of_namespace` was `seen`,
    InvalidInput where a flag has a part of what would be held out, and NeedsApproval where
    a protected flag is in it: only a superuser changes it then.
    """
    with atomic():
        take_turns()
        if not is_whole(namespace.holdout, 0, BASIS_POINTS):
            raise InvalidInput.of("holdout", "From 0 to 100 %.", code="range")
        standing = FlagNamespace.objects.select_for_update().filter(pk=namespace.pk).first()
        if standing is None:
            _refuse_name(FlagNamespace, namespace.name)
            namespace.salt = namespace.name
            namespace.save(force_insert=True)
            return namespace
        if seen and seen != mark_of_namespace(standing):
            raise StaleVersion(f"The namespace {standing} was changed meanwhile: reload it.")
        flags = list(FeatureFlag.objects.filter(namespace=standing, is_archived=False))
        if namespace.holdout != standing.holdout:
            _refuse_protected(flags, standing.name, actor)
        end = BASIS_POINTS - namespace.holdout
        over = [flag.name for flag in flags if (flag.namespace_high or 0) > end]
        if over:
            detail = f"{_listed(over)} reach beyond {end / 100:g} %."
            raise InvalidInput.of("holdout", detail, code="in_use")
        standing.holdout = namespace.holdout
        standing.description = namespace.description
        standing.save()
        return standing


def mark_of_namespace(namespace: FlagNamespace) -> str:
    """Return what tells a namespace as it stands from the same one changed."""
    said = json.dumps([namespace.description, namespace.holdout])
    return hashlib.sha256(said.encode()).hexdigest()


def delete_namespace(*, namespace: FlagNamespace) -> None:
    """Delete a namespace that no flag is in. Raises Conflict."""
    with atomic():
        take_turns()
        using = list(FeatureFlag.objects.filter(namespace=namespace).values_list("name", flat=True))
        if using:
            raise Conflict(f"{namespace} is used by {_listed(using)}.")
        namespace.delete()


def _refuse_name(model: type[FlagSegment] | type[FlagNamespace], name: str) -> None:
    if not NAME.fullmatch(name) or len(name) > 255:
        detail = "Use small letters, digits, dots, - and _, beginning with a letter."
        raise InvalidInput.of("name", detail)
    if model.objects.filter(name=name).exists():
        detail = f"A {model._meta.verbose_name} of this name exists already."
        raise Conflict(detail, [FieldError("name", "conflict", detail)])


def _refuse_protected(flags: Iterable[FeatureFlag], name: str, actor: User | None) -> None:
    protected = list(dict.fromkeys(flag.name for flag in flags if flag.is_protected))
    if protected and not (actor and actor.is_superuser):
        raise NeedsApproval(
            f"{_listed(protected)}, protected, would change with {name}: only a superuser may."
        )


def _listed(names: list[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _check_segment(segment: FlagSegment) -> None:
    errors = list(_member_faults(segment.members))
    if segment.conditions is not None:
        errors += condition_faults(segment.conditions, "conditions")
        if segment.conditions == {}:
            detail = "Everybody would meet them: give conditions, or none (null)."
            errors.append(FieldError("conditions", "empty", detail))
        if not errors:
            errors += _chain_faults(segment)
    if errors:
        raise InvalidInput(errors)


def _member_faults(members: Any) -> list[FieldError]:
    if not isinstance(members, list) or len(members) > MAXIMUM_MEMBERS:
        detail = f"Give a list of up to {MAXIMUM_MEMBERS:,} texts and numbers."
        return [FieldError("members", "type", detail)]
    for place, member in enumerate(members):
        if isinstance(member, str) and 0 < len(member) <= MAXIMUM_MEMBER:
            # People edit them one a line.
            if member.splitlines() != [member.strip()]:
                detail = "A member is one line, without space around it."
                return [FieldError(f"members[{place}]", "invalid", detail)]
            continue
        if not (is_number(member) and abs(member) <= EXACT):
            detail = f"Give a text of 1 to {MAXIMUM_MEMBER} characters, or a number up to 2^53."
            return [FieldError(f"members[{place}]", "type", detail)]
    return unstorable(members, "members", MAXIMUM_BYTES)


def _chain_faults(segment: FlagSegment) -> list[FieldError]:
    """Refuse unknown segments, circles, and chains that an evaluation would not follow."""
    uses = {
        name: groups_asked(conditions)
        for name, conditions in FlagSegment.objects.values_list("name", "conditions")
    }
    uses[segment.name] = groups_asked(segment.conditions)
    if unknown := sorted(set(uses[segment.name]) - uses.keys()):
        return [FieldError("conditions", "unknown_segment", f"There is no segment {unknown[0]}.")]
    told = {
        "cycle": "They lead back to this segment.",
        "depth": f"At most {MAXIMUM_NESTING} segments in a row, each naming the next.",
    }
    fault = chain_fault(
        segment.name, {name: set(used) for name, used in uses.items()}, MAXIMUM_NESTING
    )
    if fault:
        return [FieldError("conditions", fault, told[fault])]
    if most_visits(segment.name, uses, MAXIMUM_NESTING) > MAXIMUM_VISITS:
        detail = f"They would ask for over {MAXIMUM_VISITS} segments, one by another."
        return [FieldError("conditions", "too_many", detail)]
    return []
