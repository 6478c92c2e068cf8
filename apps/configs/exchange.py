"""Export and import of configuration: what would change, and the change set that changes it.

Both run with the operator's role.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q

from apps.configs.differences import MASK, NOTHING
from apps.configs.documents import (
    MAXIMUM_DOCUMENT_BYTES,
    DocumentValue,
    Sealed,
    read_document,
    write_document,
)
from apps.configs.models import KEY_PATTERN, ConfigChangeSet, ConfigKey, SystemConfig
from apps.configs.operations import (
    UNSET,
    Proposal,
    active_versions,
    draft_change_set,
    stored_plain,
)
from apps.configs.values import Declaration, check_value, open_secret
from apps.tenants.models import SLUG_PATTERN, Enterprise, User
from layoverhq.errors import FieldError, InvalidInput, StaleVersion
from layoverhq.sealing import CannotOpen
from layoverhq.strict_yaml import FIELD
from layoverhq.tenancy import atomic

__all__ = ["draft_import", "export_document", "plan_import", "read_document"]


def export_document(
    *,
    prefix: str = "",
    category: str | None = None,
    platform: bool = True,
    enterprises: Iterable[Enterprise] | None = None,
    sealed: bool = False,
) -> str:
    """Return the active values as a document: the platform's, and the enterprises' own (all's).

    `prefix` and `category` choose keys. Secrets are left out, or sealed as they are stored. Raises
    InvalidInput where the document would be too large to be imported.
    """
    versions = SystemConfig.objects.filter(is_active=True, unset=False)
    if prefix:
        versions = versions.filter(config_key__key__startswith=prefix)
    if category is not None:
        versions = versions.filter(config_key__category=category)
    if not sealed:
        versions = versions.filter(is_secret=False)
    if enterprises is None:
        owned = Q(enterprise__deleted_at__isnull=True, enterprise__isnull=False)
    else:
        owned = Q(enterprise__in=[each.pk for each in enterprises])
    versions = versions.filter(owned | Q(enterprise__isnull=True) if platform else owned)
    rows = versions.order_by().values_list(
        "config_key_id", "enterprise__slug", "value", "is_secret"
    )
    values = []
    size = 0
    for key, slug, value, is_secret in rows.iterator():
        values.append(DocumentValue(key, slug, Sealed(value) if is_secret else value))
        size += len(key) + len(json.dumps(value, ensure_ascii=False))
        _refuse_large(size)
    document = write_document(values)
    _refuse_large(len(document.encode()))
    return document


def _refuse_large(size: int) -> None:
    if size > MAXIMUM_DOCUMENT_BYTES:
        detail = (
            f"It would have over {MAXIMUM_DOCUMENT_BYTES:,} bytes, which is more than an import"
            " reads: choose fewer keys or enterprises."
        )
        raise InvalidInput.of(FIELD, detail, code="too_large")


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """What a document does to one key of the platform (no enterprise) or of one enterprise.

    `action` is add, change, clear or same. `before` and `after` are NOTHING where there is no
    value, and MASK for a secret.
    """

    key: ConfigKey
    enterprise: Enterprise | None
    action: str
    before: Any
    after: Any
    # of the active version, 0 for none
    base_version: int
    proposal: Proposal = field(repr=False)

    @property
    def label(self) -> str:
        return self.proposal.label


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


def plan_import(document: Sequence[DocumentValue]) -> ImportPlan:
    """Return what the document would do now; writes nothing."""
    # What could be none is not asked for: not every text can be.
    keys = ConfigKey.objects.in_bulk(
        {value.key for value in document if re.fullmatch(KEY_PATTERN, value.key)}
    )
    slugs = {value.tenant for value in document if re.fullmatch(SLUG_PATTERN, value.tenant or "")}
    tenants = {each.slug: each for each in Enterprise.objects.living().filter(slug__in=slugs)}
    standing = active_versions(
        (value.key, tenants[value.tenant].pk if value.tenant else None)
        for value in document
        if value.key in keys and (value.tenant is None or value.tenant in tenants)
    )
    changes: list[PlannedChange] = []
    faults: list[FieldError] = []
    unknown: set[str] = set()
    for value in document:
        slug = value.tenant
        if slug is not None and slug not in tenants:
            if slug not in unknown:
                detail = f"Line {value.line}: there is no enterprise “{slug}”."
                faults.append(FieldError(slug, "unknown_enterprise", detail))
            unknown.add(slug)
            continue
        enterprise = None if slug is None else tenants[slug]
        level = (value.key, enterprise.pk if enterprise else None)
        try:
            changes.append(_planned(value, keys.get(value.key), enterprise, standing.get(level)))
        except InvalidInput as error:
            faults += [
                FieldError(each.field, each.code, f"Line {value.line}: {each.detail}")
                for each in error.errors
            ]
    return ImportPlan(tuple(changes), tuple(faults), _digest(document, changes))


def _planned(
    value: DocumentValue,
    key: ConfigKey | None,
    enterprise: Enterprise | None,
    active: SystemConfig | None,
) -> PlannedChange:
    if key is None:
        raise InvalidInput.of(value.label, "Is not declared.", code="undeclared")
    if enterprise is not None and key.requires_restart:
        detail = "Needs a restart, so that it is the platform's alone."
        raise InvalidInput.of(value.label, detail, code="platform_only")
    after = UNSET if value.value is UNSET else _checked(value, key, enterprise)
    before = _before(active)
    if before is UNSET:
        action = "same" if after is UNSET else "add"
    elif after is UNSET:
        action = "clear"
    else:
        action = "same" if _canonical(before) == _canonical(after) else "change"
    version = active.version if active else 0
    return PlannedChange(
        key,
        enterprise,
        action,
        _shown(key, before),
        _shown(key, after),
        version,
        Proposal(key.key, after, enterprise, base_version=version),
    )


def _checked(value: DocumentValue, key: ConfigKey, enterprise: Enterprise | None) -> Any:
    """Return the plain value that a document gives to a key. Raises InvalidInput."""
    declared = Declaration.of(key)
    plain = value.value
    if isinstance(plain, Sealed):
        if not key.is_secret:
            raise InvalidInput.of(value.label, "Is no secret, and not sealed.", code="sealed")
        try:
            plain = open_secret(declared, plain.text, enterprise.pk if enterprise else None)
        except CannotOpen as error:
            detail = f"The secret does not open here: {error}."
            raise InvalidInput.of(value.label, detail, code="does_not_open") from error
    elif key.is_secret:
        detail = "Is a secret: it comes sealed, or is set on its own page."
        raise InvalidInput.of(value.label, detail, code="secret")
    return check_value(declared, plain, value.label)


_UNREADABLE = object()


def _before(active: SystemConfig | None) -> Any:
    """Return what holds now; UNSET for nothing, and something else for a secret that is lost."""
    if active is None:
        return UNSET
    try:
        return stored_plain(active)
    except InvalidInput:
        return _UNREADABLE


def _shown(key: ConfigKey, value: Any) -> Any:
    if value is UNSET:
        return NOTHING
    return MASK if key.is_secret else value


def _canonical(value: Any) -> str | None:
    """Return a text that two values share if PostgreSQL takes them for the same."""
    if value is _UNREADABLE:
        return None
    return json.dumps(_whole(value), sort_keys=True)


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _whole(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    # 30.0 is 30, while True is not 1.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _digest(document: Sequence[DocumentValue], changes: Sequence[PlannedChange]) -> str:
    """Return a digest of all that decides what an import does; a secret counts as it is sealed."""
    given = [
        [value.tenant, value.key, _told(value.value)]
        for value in sorted(document, key=lambda value: (value.tenant or "", value.key))
    ]
    meets = sorted(
        [
            change.key.key,
            str(change.enterprise.pk if change.enterprise else ""),
            change.base_version,
        ]
        for change in changes
    )
    return hashlib.sha256(json.dumps([given, meets]).encode()).hexdigest()


def _told(value: Any) -> list[Any]:
    if value is UNSET:
        return []
    return [["sealed", value.text] if isinstance(value, Sealed) else ["value", value]]


def draft_import(
    *,
    document: Sequence[DocumentValue],
    digest: str,
    title: str,
    reason: str,
    actor: User | None,
) -> ConfigChangeSet:
    """Draft a change set of all that the document changes, as the plan of this digest showed.

    Raises InvalidInput with every fault, and StaleVersion where the plan would be another now.
    """
    with atomic():
        plan = plan_import(document)
        if plan.faults:
            raise InvalidInput(plan.faults)
        if plan.digest != digest:
            raise StaleVersion(
                "The document or one of its values changed since the dry run: see what it would do"
                " now."
            )
        if not plan.effective:
            raise InvalidInput.of(FIELD, "Nothing in it differs from what holds.", code="same")
        return draft_change_set(
            title=title,
            reason=reason,
            proposals=[change.proposal for change in plan.effective],
            actor=actor,
        )
