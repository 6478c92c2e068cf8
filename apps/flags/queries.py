"""Reads: what stands around a flag, and who uses a segment or a namespace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.db import connections

from apps.configs.queries import Reader, readers_of
from apps.flags.conditions import groups_in
from apps.flags.definitions import Neighbour, Surroundings
from apps.flags.models import FeatureFlag, FlagNamespace, FlagSegment, FlagVersion
from apps.tenants.models import Enterprise, User
from layoverhq.tenancy import current_alias


def surroundings(name: str) -> Surroundings:
    """Return what a definition of the flag of this name may refer to, as it stands now."""
    flags = {}
    dependents = []
    taken: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    # Plain rows: an import asks this of every flag.
    for row in FeatureFlag.objects.exclude(name=name).values_list(
        "name",
        "variants",
        "is_protected",
        "is_archived",
        "prerequisites",
        "namespace__name",
        "namespace_low",
        "namespace_high",
    ):
        flag, variants, is_protected, is_archived, prerequisites, namespace, low, high = row
        flags[flag] = Neighbour(
            frozenset(variant["key"] for variant in variants),
            is_protected,
            is_archived,
            frozenset(each["flag"] for each in prerequisites),
        )
        if is_archived:
            continue
        dependents += [
            (flag, is_protected, frozenset(each["variants"]))
            for each in prerequisites
            if each["flag"] == name
        ]
        if namespace is not None and low is not None and high is not None:
            taken[namespace].append((low, high, flag))
    return Surroundings(
        flags=flags,
        dependents=dependents,
        segments=frozenset(FlagSegment.objects.values_list("name", flat=True)),
        holdouts=dict(FlagNamespace.objects.values_list("name", "holdout")),
        taken={namespace: sorted(ranges) for namespace, ranges in taken.items()},
        unknown=_unknown,
        operators=frozenset(str(pk) for pk in operators().values_list("pk", flat=True)),
    )


def operators() -> Any:
    """Return the people who may own a flag."""
    return User.objects.living().operators().filter(is_active=True)


def _unknown(kind: str, ids: set[UUID]) -> set[UUID]:
    found: Any = Enterprise.objects.living() if kind == "tenant" else User.objects.living()
    return ids - set(found.filter(pk__in=ids).values_list("pk", flat=True))


def segments_with(name: str) -> set[str]:
    """Return the segments that hold whom a segment holds: itself, and those that name it."""
    using = defaultdict(set)
    for each, conditions in FlagSegment.objects.exclude(conditions=None).values_list(
        "name", "conditions"
    ):
        for used in groups_in(conditions):
            using[used].add(each)
    found, pending = {name}, [name]
    while pending:
        for each in using[pending.pop()] - found:
            found.add(each)
            pending.append(each)
    return found


def flags_with_segment(name: str) -> list[FeatureFlag]:
    """Return the flags that ask for a segment, directly or through another one."""
    names = segments_with(name)
    flags = FeatureFlag.objects.filter(is_archived=False).only(
        "name", "conditions", "rules", "is_protected"
    )
    return [flag for flag in flags if segments_of(flag.conditions, flag.rules) & names]


def flags_to_come_with_segment(name: str) -> list[FeatureFlag]:
    """Return the protected flags that would ask for a segment by a change in review or approved."""
    names = segments_with(name)
    status = FlagVersion.Status
    versions = FlagVersion.objects.select_related("flag").filter(
        flag__is_protected=True, status__in=[status.IN_REVIEW, status.APPROVED, status.SCHEDULED]
    )
    return [
        version.flag
        for version in versions
        if segments_of(version.definition["conditions"], version.definition["rules"]) & names
    ]


def segments_of(conditions: Any, rules: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the segments that a flag's conditions and rules name."""
    return groups_in([conditions, [rule.get("conditions") for rule in rules]])


def readers() -> dict[str, list[Reader]]:
    """Return where the code asks `flags.enabled` or `flags.evaluate` for which flag."""
    found: dict[str, list[Reader]] = defaultdict(list)
    for method in ("enabled", "evaluate"):
        for name, places in readers_of("flags", method).items():
            found[name] += places
    return dict(found)


EVENTS_OFFERED = 500

# Each name by one step along the index, however many events there are of it.
REPORTED = """
with recursive named as (
    (select min(event) as event from tracked_events)
    union all
    select (select min(e.event) from tracked_events e where e.event > n.event)
    from named n
    where n.event is not null
)
select event from named where event is not null and not event ^@ 'api:' limit %s
"""


def reported_events() -> list[str]:
    """Return the names of events that tenants have reported."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(REPORTED, [EVENTS_OFFERED])
        return [name for (name,) in cursor.fetchall()]
