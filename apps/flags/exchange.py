"""Flags, segments and namespaces as a YAML document, and what importing one would do.

    format: layoverhq-flags
    version: 1
    segments:
      staff: {description: "", members: [u1], conditions: null}
    namespaces:
      search: {description: "", holdout: 500}
    flags:
      enhanced_search:
        value_type: boolean
        enabled: true
        rollout_percentage: 100
        tenant_overrides: {acme: false}

A flag has the members of a definition; those that are left out are a new flag's. Enterprises stand
by slug, people by email. What a document does not name stays as it is. All run with the operator's
role.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from django.db.models.functions import Lower

from apps.flags.definitions import BLANK, blank_definition, document_of, same_definition
from apps.flags.models import FeatureFlag, FlagNamespace, FlagSegment, FlagVersion
from apps.flags.operations import (
    create_flag,
    draft_change,
    give_way,
    publish_change,
    submit_change,
    take_turns,
)
from apps.flags.segment_operations import save_namespace, save_segment
from apps.tenants.models import Enterprise, User
from layoverhq.errors import DomainError, FieldError, InvalidInput, StaleVersion
from layoverhq.strict_yaml import FIELD, Node, in_order, parse_yaml, write_yaml
from layoverhq.tenancy import atomic

FORMAT = "layoverhq-flags"
VERSION = 1
MAXIMUM_DOCUMENT_BYTES = 4_194_304
LEVELS = 48
SECTIONS = {
    "segments": ("description", "members", "conditions"),
    "namespaces": ("description", "holdout"),
    "flags": ("value_type", *BLANK),
}
WORDS = {"segments": "segment", "namespaces": "namespace", "flags": "flag"}


@dataclass(frozen=True, slots=True)
class Item:
    """What a document says of one segment, namespace or flag; `members` as it has them."""

    section: str
    name: str
    members: Mapping[str, Any]
    line: int = field(default=0, compare=False)

    @property
    def label(self) -> str:
        return f"{WORDS[self.section]} {self.name}"


# --- out


def export_document(*, flags: Iterable[FeatureFlag] | None = None) -> str:
    """Return flags with all segments and namespaces; all flags that are not archived by default."""
    chosen = FeatureFlag.objects.select_related("namespace").order_by("name")
    if flags is None:
        chosen = chosen.filter(is_archived=False)
    else:
        chosen = chosen.filter(pk__in=[flag.pk for flag in flags])
    found = list(chosen)
    people = _People.of_ids(
        {key for flag in found for key in (*flag.tenant_overrides, *flag.user_overrides)}
        | {str(flag.owner_id) for flag in found if flag.owner_id}
    )
    document = {
        "format": FORMAT,
        "version": VERSION,
        "segments": {
            segment.name: {
                "description": segment.description,
                "members": segment.members,
                "conditions": in_order(segment.conditions),
            }
            for segment in FlagSegment.objects.order_by("name")
        },
        "namespaces": {
            namespace.name: {"description": namespace.description, "holdout": namespace.holdout}
            for namespace in FlagNamespace.objects.order_by("name")
        },
        "flags": {flag.name: _written(flag, people) for flag in found},
    }
    text = write_yaml({name: section for name, section in document.items() if section})
    if len(text.encode()) > MAXIMUM_DOCUMENT_BYTES:
        detail = f"It would have over {MAXIMUM_DOCUMENT_BYTES:,} bytes: choose fewer flags."
        raise InvalidInput.of(FIELD, detail, code="too_large")
    return text


def _written(flag: FeatureFlag, people: _People) -> dict[str, Any]:
    document = document_of(flag)
    blank = blank_definition(flag.value_type)
    for member, names in (
        ("tenant_overrides", people.slugs),
        ("user_overrides", people.emails),
    ):
        document[member] = {names.get(key, key): to for key, to in document[member].items()}
    document["owner"] = people.emails.get(document["owner"], document["owner"])
    said = {name: in_order(document[name]) for name in BLANK if document[name] != blank[name]}
    return {"value_type": flag.value_type, **said}


ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _People:
    """Names of enterprises and people by id, both ways."""

    slugs: Mapping[str, str]
    emails: Mapping[str, str]

    @classmethod
    def of_ids(cls, ids: set[str]) -> _People:
        # Of a row that was written past the checks, what is no id stays as it is.
        pks = [UUID(each) for each in ids if ID.fullmatch(each)]
        enterprises = Enterprise.objects.living().filter(pk__in=pks)
        users = User.objects.living().filter(pk__in=pks)
        return cls(
            {str(pk): slug for pk, slug in enterprises.values_list("pk", "slug")},
            {str(pk): email for pk, email in users.values_list("pk", "email")},
        )

    @classmethod
    def named(cls, slugs: set[str], emails: set[str]) -> _People:
        """Return ids by name; emails in small letters."""
        enterprises = Enterprise.objects.living().filter(slug__in=_storable(slugs))
        users = User.objects.living().annotate(small=Lower("email"))
        found = users.filter(small__in=_storable({email.lower() for email in emails}))
        return cls(
            {slug: str(pk) for pk, slug in enterprises.values_list("pk", "slug")},
            {small: str(pk) for pk, small in found.values_list("pk", "small")},
        )


def _storable(names: set[str]) -> set[str]:
    return {name for name in names if "\x00" not in name}


# --- in


def read_document(document: str | bytes) -> list[Item]:
    """Return what a document says. Raises InvalidInput that names lines."""
    root = parse_yaml(document, maximum_bytes=MAXIMUM_DOCUMENT_BYTES, levels=LEVELS)
    errors: list[FieldError] = []
    items = []
    sections = _named(root, "the document", errors)
    for name, expected in (("format", FORMAT), ("version", VERSION)):
        given = sections.pop(name, None)
        if given is None or type(given.value) is not type(expected) or given.value != expected:
            errors.append(_fault(given or root, name, "format", f"has to be {expected}."))
    for section, node in sections.items():
        if section not in SECTIONS:
            detail = f"is none of {', '.join(SECTIONS)}."
            errors.append(_fault(node, section, "unknown", detail))
            continue
        for name, inner in _named(node, section, errors).items():
            label = f"{WORDS[section]} {name}"
            for member, value in _named(inner, label, errors).items():
                if member not in SECTIONS[section]:
                    detail = f"a {WORDS[section]} has no {member}."
                    errors.append(_fault(value, f"{label}.{member}", "unknown", detail))
            items.append(Item(section, name, inner.plain() or {}, inner.line))
    if errors:
        raise InvalidInput(errors)
    return items


def _named(node: Node, label: str, errors: list[FieldError]) -> dict[str, Node]:
    if isinstance(node.value, dict):
        return dict(node.value)
    errors.append(_fault(node, label, "mapping", "holds names with values."))
    return {}


def _fault(node: Node, field: str, code: str, detail: str) -> FieldError:
    return FieldError(field, code, f"Line {node.line}: {detail}")


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """What a document does to one thing: add, change or same; `drafted` waits for an approval."""

    item: Item
    action: str
    before: Any
    after: Any
    drafted: bool = False


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What a document would do, with all that is wrong with it; `digest` names just this plan."""

    changes: tuple[PlannedChange, ...]
    faults: tuple[FieldError, ...]
    digest: str

    @property
    def effective(self) -> list[PlannedChange]:
        """What does not stay the same."""
        return [change for change in self.changes if change.action != "same"]


class _DryRun(Exception):
    """Undoes what was tried."""


def plan_import(document: Iterable[Item], *, actor: User | None) -> ImportPlan:
    """Return what the document would do now, by doing it and undoing it."""
    items = list(document)
    try:
        with atomic():
            plan = _import(items, "A dry run.", actor)
            raise _DryRun
    except _DryRun:
        return plan


def import_document(
    *, document: Iterable[Item], digest: str, reason: str, actor: User | None
) -> ImportPlan:
    """Do all that the document says, as the plan of this digest showed, or nothing.

    Changes of protected flags are drafted and sent to review. Raises InvalidInput with every fault,
    StaleVersion where the plan would be another now, and Interrupted where a kill would wait.
    """
    with atomic():
        plan = _import(list(document), reason, actor)
        if plan.faults:
            raise InvalidInput(plan.faults)
        if plan.digest != digest:
            raise StaleVersion(
                "The document or what it changes is not what the dry run showed: see what it would"
                " do now."
            )
        if not plan.effective:
            raise InvalidInput.of(FIELD, "Nothing in it differs from what holds.", code="same")
        return plan


def _import(items: list[Item], reason: str, actor: User | None) -> ImportPlan:
    take_turns()
    digest = _digest(items)
    people = _People.named(
        {slug for item in items for slug in _keys(item.members.get("tenant_overrides"))},
        {email for item in items for email in _keys(item.members.get("user_overrides"))}
        | {item.members["owner"] for item in items if isinstance(item.members.get("owner"), str)},
    )
    actions: dict[str, Callable[[Item], PlannedChange]] = {
        "segments": lambda item: _import_segment(item, actor),
        "namespaces": lambda item: _import_namespace(item, actor),
        "flags": lambda item: _import_flag(item, people, reason, actor),
    }
    changes: list[PlannedChange] = []
    faults: list[FieldError] = []
    for section in SECTIONS:
        pending = [item for item in items if item.section == section]
        # One may stand on another that comes after it: again, as long as that helps.
        while pending:
            refused: list[tuple[Item, DomainError]] = []
            for item in pending:
                give_way()
                try:
                    with atomic():
                        changes.append(actions[section](item))
                except DomainError as error:
                    refused.append((item, error))
            if len(refused) == len(pending):
                faults += [each for item, error in refused for each in _told(item, error)]
                break
            pending = [item for item, _ in refused]
    order = {item: place for place, item in enumerate((each.section, each.name) for each in items)}
    changes.sort(key=lambda change: order[change.item.section, change.item.name])
    return ImportPlan(tuple(changes), tuple(faults), digest)


def _told(item: Item, error: DomainError) -> list[FieldError]:
    where = f"Line {item.line}: "
    if not error.errors:
        return [FieldError(item.label, error.code, where + error.detail)]
    return [
        FieldError(f"{item.label}.{each.field}", each.code, where + each.detail)
        for each in error.errors
    ]


def _keys(value: Any) -> list[str]:
    return list(value) if isinstance(value, dict) else []


def _import_segment(item: Item, actor: User | None) -> PlannedChange:
    given = {"description": "", "members": [], "conditions": None, **item.members}
    standing = FlagSegment.objects.filter(name=_name(item)).first()
    before = {name: getattr(standing, name) for name in SECTIONS["segments"]} if standing else None
    _require_text(given["description"], "description")
    if before is not None and same_definition(before, given):
        return PlannedChange(item, "same", before, given)
    segment = standing or FlagSegment(name=item.name)
    for name, value in given.items():
        setattr(segment, name, value)
    save_segment(segment=segment, base_version=standing.version if standing else None, actor=actor)
    return PlannedChange(item, "change" if standing else "add", before, given)


def _import_namespace(item: Item, actor: User | None) -> PlannedChange:
    given = {"description": "", "holdout": 0, **item.members}
    standing = FlagNamespace.objects.filter(name=_name(item)).first()
    before = (
        {name: getattr(standing, name) for name in SECTIONS["namespaces"]} if standing else None
    )
    _require_text(given["description"], "description")
    if before is not None and same_definition(before, given):
        return PlannedChange(item, "same", before, given)
    namespace = standing or FlagNamespace(name=item.name)
    for name, value in given.items():
        setattr(namespace, name, value)
    save_namespace(namespace=namespace, actor=actor)
    return PlannedChange(item, "change" if standing else "add", before, given)


def _import_flag(item: Item, people: _People, reason: str, actor: User | None) -> PlannedChange:
    value_type = item.members.get("value_type")
    if value_type not in FeatureFlag.ValueType.values:
        detail = f"Choose from {', '.join(FeatureFlag.ValueType.values)}."
        raise InvalidInput.of("value_type", detail)
    given = {name: value for name, value in item.members.items() if name != "value_type"}
    definition = {**blank_definition(value_type), **_by_id(given, people)}
    standing = FeatureFlag.objects.select_related("namespace").filter(name=_name(item)).first()
    if standing is None:
        create_flag(
            name=item.name, value_type=value_type, definition=definition, reason=reason, actor=actor
        )
        return PlannedChange(item, "add", None, definition)
    if standing.value_type != value_type:
        raise InvalidInput.of("value_type", f"Is {standing.value_type}, and never changes.")
    before = document_of(standing)
    if same_definition(before, definition):
        return PlannedChange(item, "same", before, definition)
    version = draft_change(
        flag=standing,
        definition=definition,
        base_version=standing.version,
        reason=reason,
        actor=actor,
    )
    if standing.is_protected:
        submit_change(version=version)
    else:
        publish_change(version=version)
    return PlannedChange(item, "change", before, definition, drafted=standing.is_protected)


def _name(item: Item) -> str:
    # What could be none is not asked for: not every text can be.
    return item.name if "\x00" not in item.name else ""


def _require_text(value: Any, field: str) -> None:
    if not isinstance(value, str) or "\x00" in value:
        raise InvalidInput.of(field, "Give a text.", code="type")


def _by_id(given: Mapping[str, Any], people: _People) -> dict[str, Any]:
    """Return members with ids where the document has slugs and emails; unknown ones as they are."""
    said = dict(given)
    if isinstance(said.get("tenant_overrides"), dict):
        said["tenant_overrides"] = {
            people.slugs.get(slug, slug): to for slug, to in said["tenant_overrides"].items()
        }
    if isinstance(said.get("user_overrides"), dict):
        said["user_overrides"] = {
            people.emails.get(email.lower(), email): to
            for email, to in said["user_overrides"].items()
        }
    if isinstance(said.get("owner"), str):
        said["owner"] = people.emails.get(said["owner"].lower(), said["owner"])
    return said


def _digest(items: list[Item]) -> str:
    """Return a digest of all that decides what an import does."""
    given = [[item.section, item.name, item.members] for item in items]
    active = FlagVersion.objects.filter(status=FlagVersion.Status.ACTIVE)
    meets = [
        [[str(pk), number] for pk, number in active.order_by("flag").values_list("flag", "number")],
        [[str(pk), n] for pk, n in FlagSegment.objects.order_by("pk").values_list("pk", "version")],
        [
            [str(pk), n]
            for pk, n in FlagNamespace.objects.order_by("pk").values_list("pk", "holdout")
        ],
    ]
    return hashlib.sha256(json.dumps([given, meets], sort_keys=True).encode()).hexdigest()
