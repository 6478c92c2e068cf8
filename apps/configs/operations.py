"""Every change to configuration. Versions are added and change their status; none is rewritten.

Operators' changes come in change sets and run with the operator's role; a tenant's own overrides
run in its scope. Writers of one key and tenant take turns by `lock_config`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import connections
from django.db.models import JSONField, TextField, Value
from django.db.models.functions import Cast
from django.utils import timezone

from apps.configs.models import (
    KEY_PATTERN,
    ConfigCategory,
    ConfigChangeSet,
    ConfigKey,
    ConfigReleaseTenant,
    SystemConfig,
    ValueType,
)
from apps.configs.queries import readers
from apps.configs.values import (
    Declaration,
    Fault,
    check_value,
    fault_of,
    open_secret,
    reseal,
    schema_fault,
    sealed,
)
from apps.tenants.models import Enterprise, User
from layoverhq.errors import (
    Conflict,
    DomainError,
    FieldError,
    InvalidInput,
    NeedsApproval,
    NotYours,
    StaleVersion,
)
from layoverhq.sealing import MARK, CannotOpen, sealing_key
from layoverhq.tenancy import TenantRef, atomic, current_alias

log = structlog.get_logger(__name__)

Stage = ConfigChangeSet.Stage
Status = SystemConfig.Status

RESEAL_BATCH = 200
BREACHES_SHOWN = 5

UNSET: Any = object()
"""As a value: there is none at this level from then on."""

OPEN_STAGES = (Stage.DRAFT, Stage.IN_REVIEW, Stage.APPROVED)
READY_STAGES = (Stage.DRAFT, Stage.APPROVED)


class WrongStage(Conflict):
    """The change set is not in a state for this."""

    code = "wrong_stage"


def label(key: str, enterprise: Enterprise | None) -> str:
    """Name a key at a level, as messages do."""
    return f"{key} for {enterprise}" if enterprise else key


def label_of(version: SystemConfig) -> str:
    """Name the key and level of a version."""
    return label(version.config_key_id, version.enterprise)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A value for a key, of the platform (no enterprise) or of one tenant.

    `base_version` is the active version that the editor saw, 0 for none; None takes the one that
    stands now.
    """

    key: str
    value: Any
    enterprise: Enterprise | None = None
    base_version: int | None = None

    @property
    def level(self) -> tuple[str, UUID | None]:
        return self.key, self.enterprise.pk if self.enterprise else None

    @property
    def label(self) -> str:
        return label(self.key, self.enterprise)


@dataclass(frozen=True, slots=True)
class Resealing:
    """How far a re-sealing is: `done` of `total`, with the secrets that did not open and why."""

    done: int
    total: int
    unreadable: tuple[str, ...] = ()


def save_declaration(
    *, key: ConfigKey, base_version: int | None = None, actor: User | None = None
) -> ConfigKey:
    """Declare a key, or change a declaration that was read at `base_version`.

    Key, type, category, default and secrecy never change: values, and code, rely on them. Raises
    InvalidInput, for a schema that forbids values which hold as well.
    """
    with atomic():
        if base_version is None:
            _check_declaration(key)
            if ConfigKey.objects.filter(pk=key.pk).exists():
                raise Conflict(
                    f"{key.key} is declared already.",
                    [FieldError("key", "conflict", "Is declared already.")],
                )
            key.version = 1
            key.save(force_insert=True)
            return key
        standing = ConfigKey.objects.select_for_update().get(pk=key.pk)
        if standing.version != base_version:
            raise StaleVersion(f"The declaration of {key.key} was changed meanwhile: reload it.")
        if standing.category.is_protected and not (actor and actor.is_superuser):
            raise NeedsApproval("Only a superuser changes the declaration of a protected key.")
        before = Declaration.of(standing)
        for name in ("schema", "description", "tenant_visible", "tenant_overridable"):
            setattr(standing, name, getattr(key, name))
        _check_declaration(standing)
        _refuse_breaking(before, standing)
        standing.version += 1
        standing.save()
        return standing


def _check_declaration(key: ConfigKey) -> None:
    errors = []
    if not re.fullmatch(KEY_PATTERN, key.key):
        detail = "Use lower-case words with dots between, such as layover.min_duration."
        errors.append(FieldError("key", "invalid", detail))
    if key.value_type not in ValueType.values:
        detail = f"Choose from {', '.join(ValueType.values)}."
        errors.append(FieldError("value_type", "invalid", detail))
    if fault := schema_fault(key.schema):
        errors.append(FieldError("schema", fault.code, fault.detail))
    if not errors and key.default_value is not None:
        if key.is_secret:
            errors.append(FieldError("default_value", "secret", "A secret has no default."))
        elif fault := fault_of(Declaration.of(key), key.default_value):
            errors.append(FieldError("default_value", fault.code, fault.detail))
    if key.tenant_overridable and not key.tenant_visible:
        detail = "What tenants may override they must be able to see."
        errors.append(FieldError("tenant_visible", "invalid", detail))
    if key.tenant_overridable and key.requires_restart:
        detail = "What needs a restart is the platform's alone."
        errors.append(FieldError("tenant_overridable", "invalid", detail))
    if errors:
        raise InvalidInput(errors)


def _refuse_breaking(before: Declaration, key: ConfigKey) -> None:
    """Refuse a declaration that forbids values which hold: they would count as the default."""
    after = Declaration.of(key)
    holding = SystemConfig.objects.filter(
        config_key=key, status__in=[Status.ACTIVE, Status.STAGED], unset=False
    )
    broken = [
        f"{label_of(version)}, version {version.version}: {fault.detail}"
        for version in holding.select_related("enterprise").order_by("enterprise__name", "pk")
        if (fault := _new_fault(before, after, version))
    ]
    if broken:
        more = len(broken) - BREACHES_SHOWN
        rest = [f"And {more} more."] if more > 0 else []
        told = " ".join(["Forbids values that hold.", *broken[:BREACHES_SHOWN], *rest])
        raise InvalidInput.of("schema", told, code="breach")


def _new_fault(before: Declaration, after: Declaration, version: SystemConfig) -> Fault | None:
    """Return why the new declaration forbids a value that the earlier one let be used."""
    value = version.value
    if before.is_secret:
        try:
            value = open_secret(before, value, version.enterprise_id)
        except CannotOpen:
            return None
    if fault_of(before.unsealed(), value):
        return None
    return fault_of(after.unsealed(), value)


def withdraw_declaration(*, key: ConfigKey) -> None:
    """Take back the declaration of a key that never had a value and that no code reads.

    Raises Conflict.
    """
    if key.key in readers():
        raise Conflict(f"The code reads {key.key}: it stays declared.")
    with atomic():
        if SystemConfig.objects.filter(config_key=key).exists():
            raise Conflict(f"{key.key} has versions, which are kept: it stays declared.")
        key.delete()


def draft_change_set(
    *, title: str, reason: str, proposals: Sequence[Proposal], actor: User | None
) -> ConfigChangeSet:
    """Draft values that are to change together. Raises InvalidInput that names each key."""
    if not title.strip() or len(title) > 200:
        raise InvalidInput.of("title", "Give 1 to 200 characters.")
    if len(reason.strip()) < 3:
        raise InvalidInput.of("reason", "Say why, in a few words.")
    with atomic():
        change_set = ConfigChangeSet.objects.create(
            title=title.strip(), reason=reason.strip(), author=actor
        )
        _add(change_set, proposals, actor)
        return change_set


def revise_change_set(
    *,
    change_set: ConfigChangeSet,
    proposals: Sequence[Proposal] = (),
    without: Iterable[SystemConfig] = (),
    actor: User | None,
) -> ConfigChangeSet:
    """Replace or add values, or take some out; an approval is asked for again."""
    with atomic():
        locked = _lock(change_set, *OPEN_STAGES, verb="edited")
        replaced = {proposal.level for proposal in proposals}
        out = {item.pk for item in without}
        gone = [
            item.pk
            for item in locked.items.all()
            if item.pk in out or (item.config_key_id, item.enterprise_id) in replaced
        ]
        _set_status(gone, Status.REJECTED)
        _add(locked, proposals, actor)
        if actor and actor.pk not in locked.edited_by:
            locked.edited_by.append(actor.pk)
        locked.stage = Stage.DRAFT
        locked.approved_by = locked.approved_at = None
        locked.problem = ""
        locked.save()
        return locked


def submit_change_set(*, change_set: ConfigChangeSet) -> ConfigChangeSet:
    """Ask for a review."""
    with atomic():
        locked = _lock(change_set, Stage.DRAFT, verb="submitted")
        if not standing_items(locked):
            raise WrongStage(f"“{locked}” holds no value.")
        locked.stage = Stage.IN_REVIEW
        locked.save()
        return locked


def approve_change_set(*, change_set: ConfigChangeSet, actor: User) -> ConfigChangeSet:
    """Approve it as it stands. Raises NotYours for whoever took part in it."""
    with atomic():
        locked = _lock(change_set, Stage.IN_REVIEW, verb="approved")
        if actor.pk in editors(locked):
            raise NotYours("You took part in this change: somebody else has to approve it.")
        locked.stage = Stage.APPROVED
        locked.approved_by = actor
        locked.approved_at = timezone.now()
        locked.save()
        return locked


def reject_change_set(*, change_set: ConfigChangeSet) -> ConfigChangeSet:
    """Give it up for good, a scheduled one too."""
    with atomic():
        locked = _lock(change_set, *OPEN_STAGES, Stage.SCHEDULED, verb="rejected")
        _set_status([item.pk for item in standing_items(locked)], Status.REJECTED)
        locked.stage = Stage.REJECTED
        locked.save()
        return locked


def publish_change_set(
    *,
    change_set: ConfigChangeSet,
    expires_at: datetime | None = None,
    now: datetime | None = None,
) -> ConfigChangeSet:
    """Make all its values hold at once, until `expires_at` if given.

    Raises NeedsApproval, and StaleVersion if one of the values was changed meanwhile.
    """
    now = now or timezone.now()
    with atomic():
        locked = _lock(change_set, *READY_STAGES, Stage.SCHEDULED, verb="published")
        _require_approval(locked)
        if expires_at is not None:
            if expires_at <= now:
                raise InvalidInput.of("expires_at", "Lies in the past.", code="past")
            locked.expires_at = expires_at
        _activate(locked, now)
        if locked.activate_at is not None and locked.activate_at > now:
            locked.activate_at = None
        locked.stage = Stage.PUBLISHED
        locked.published_at = now
        locked.problem = ""
        locked.save()
        return locked


def schedule_change_set(
    *,
    change_set: ConfigChangeSet,
    activate_at: datetime,
    expires_at: datetime | None = None,
    now: datetime | None = None,
) -> ConfigChangeSet:
    """Have it published at an instant, by the minute."""
    now = now or timezone.now()
    errors = []
    if activate_at <= now:
        errors.append(FieldError("activate_at", "past", "Lies in the past."))
    if expires_at is not None and expires_at <= activate_at:
        errors.append(FieldError("expires_at", "order", "Lies before the activation."))
    if errors:
        raise InvalidInput(errors)
    with atomic():
        locked = _lock(change_set, *READY_STAGES, verb="scheduled")
        _require_approval(locked)
        _set_status([item.pk for item in standing_items(locked)], Status.SCHEDULED)
        locked.stage = Stage.SCHEDULED
        locked.activate_at = activate_at
        locked.expires_at = expires_at
        locked.problem = ""
        locked.save()
        return locked


def unschedule_change_set(*, change_set: ConfigChangeSet) -> ConfigChangeSet:
    """Make a scheduled set a draft again, to be edited and approved anew."""
    with atomic():
        locked = _lock(change_set, Stage.SCHEDULED, verb="taken back")
        _set_status([item.pk for item in standing_items(locked)], Status.DRAFT)
        locked.stage = Stage.DRAFT
        locked.approved_by = locked.approved_at = locked.activate_at = locked.expires_at = None
        locked.problem = ""
        locked.save()
        return locked


def stage_release(
    *,
    change_set: ConfigChangeSet,
    percentage: int = 0,
    enterprises: Iterable[Enterprise] = (),
) -> ConfigChangeSet:
    """Let its values hold for some tenants: those named, and a percentage of all.

    The set's keys reach the same tenants. A tenant's own override goes before it.
    """
    chosen = list(enterprises)
    _check_audience(percentage, chosen)
    with atomic():
        locked = _lock(change_set, *READY_STAGES, verb="released")
        _require_approval(locked)
        items = standing_items(locked)
        _refuse_stale(items)
        _refuse_faulty(items)
        faults = [
            FieldError(item.config_key_id, "not_stageable", why)
            for item in items
            if (why := _staging_obstacle(item))
        ]
        if faults or not items:
            raise InvalidInput(faults or [FieldError("change_set", "empty", "Holds no value.")])
        _set_audience(locked, percentage, chosen)
        _update(items, status=Status.STAGED, release_percentage=percentage)
        locked.stage = Stage.STAGED
        locked.published_at = timezone.now()
        locked.save()
        return locked


def change_audience(
    *, change_set: ConfigChangeSet, percentage: int, enterprises: Iterable[Enterprise]
) -> ConfigChangeSet:
    """Widen or narrow a staged release; a higher percentage takes nobody off."""
    chosen = list(enterprises)
    _check_audience(percentage, chosen)
    with atomic():
        locked = _lock(change_set, Stage.STAGED, verb="widened")
        _set_audience(locked, percentage, chosen)
        # It is the values that processes follow: they are told last.
        _update(standing_items(locked), release_percentage=percentage)
        locked.save()
        return locked


def promote_release(*, change_set: ConfigChangeSet, now: datetime | None = None) -> ConfigChangeSet:
    """Give a staged release's values to everybody. Raises StaleVersion."""
    now = now or timezone.now()
    with atomic():
        locked = _lock(change_set, Stage.STAGED, verb="promoted")
        _activate(locked, now)
        locked.stage = Stage.PUBLISHED
        locked.published_at = now
        locked.save()
        return locked


def withdraw_release(*, change_set: ConfigChangeSet) -> ConfigChangeSet:
    """Take a staged release back from the tenants that have it."""
    with atomic():
        locked = _lock(change_set, Stage.STAGED, verb="rolled back")
        _set_status([item.pk for item in standing_items(locked)], Status.REJECTED)
        locked.stage = Stage.ROLLED_BACK
        locked.save()
        return locked


def restore_version(*, version: SystemConfig, reason: str, actor: User | None) -> ConfigChangeSet:
    """Draft a return to an earlier version; the caller publishes it, or sends it to review."""
    return draft_change_set(
        title=f"Back to version {version.version} of {version.config_key_id}",
        reason=reason,
        proposals=[Proposal(version.config_key_id, stored_plain(version), version.enterprise)],
        actor=actor,
    )


def reverse_change_set(
    *, change_set: ConfigChangeSet, reason: str, actor: User | None
) -> ConfigChangeSet:
    """Draft what each value of a published set replaced; the caller publishes it.

    Raises StaleVersion if one of them was changed since, and InvalidInput for a secret that
    does not open.
    """
    with atomic():
        locked = _lock(change_set, Stage.PUBLISHED, verb="rolled back")
        items = standing_items(locked)
        standing = active_versions((item.config_key_id, item.enterprise_id) for item in items)
        changed = [
            (label_of(item), standing.get((item.config_key_id, item.enterprise_id)))
            for item in items
            if item.status != Status.ACTIVE
        ]
        if changed:
            raise stale(changed)
        return draft_change_set(
            title=f"Back from {locked}"[:200],
            reason=reason,
            proposals=[
                Proposal(
                    item.config_key_id, _replaced(item), item.enterprise, base_version=item.version
                )
                for item in items
            ],
            actor=actor,
        )


def _replaced(item: SystemConfig) -> Any:
    versions = SystemConfig.objects.of(item.config_key_id, item.enterprise_id)
    before = versions.filter(version=item.base_version).first()
    return UNSET if before is None else stored_plain(before)


def stored_plain(version: SystemConfig) -> Any:
    """Return a version's value as an editor would give it; a secret's is opened.

    Raises InvalidInput for a secret that does not open.
    """
    if version.unset:
        return UNSET
    if not version.is_secret:
        return version.value
    try:
        return open_secret(Declaration.of(version.config_key), version.value, version.enterprise_id)
    except CannotOpen as error:
        raise InvalidInput.of(
            version.config_key_id, f"The secret does not open: {error}"
        ) from error


def apply_due_schedules(*, now: datetime | None = None) -> int:
    """Publish the scheduled sets whose time has come; return how many.

    One that cannot be published keeps its place and says why; nobody publishes one twice.
    """
    now = now or timezone.now()
    published = 0
    due = ConfigChangeSet.objects.filter(
        stage=Stage.SCHEDULED, activate_at__lte=now, problem=""
    ).order_by("activate_at", "id")
    for pk in list(due.values_list("pk", flat=True)):
        try:
            with atomic():
                free = ConfigChangeSet.objects.select_for_update(skip_locked=True)
                change_set = free.filter(pk=pk, stage=Stage.SCHEDULED).first()
                if change_set is None:
                    continue
                publish_change_set(change_set=change_set, now=now)
                published += 1
        except DomainError as error:
            log.error("config_schedule_stuck", change_set=str(pk), problem=error.detail)
            ConfigChangeSet.objects.filter(pk=pk, stage=Stage.SCHEDULED).update(
                problem=error.detail, updated_at=timezone.now()
            )
    return published


def expire_values(*, now: datetime | None = None) -> int:
    """End the values whose time is over; return how many.

    What each replaced holds again, as a new version, for as long as it would have; where it
    replaced nothing that still would, nothing does.
    """
    now = now or timezone.now()
    over = SystemConfig.objects.filter(is_active=True, expires_at__lte=now)
    with atomic():
        levels = list(over.values_list("config_key_id", "enterprise_id"))
        _take_turns(levels)
        ended = [
            version
            for version in active_versions(levels).values()
            if version.expires_at and version.expires_at <= now
        ]
        for version in ended:
            before = _held_before(version, now)
            _set_status([version.pk], Status.SUPERSEDED)
            _store(
                key=version.config_key,
                # Sealed for the same key and tenant, so that it may be copied as it is.
                stored=UNSET if before is None or before.unset else before.value,
                enterprise=version.enterprise,
                status=Status.ACTIVE,
                base_version=version.version,
                reason=f"Version {version.version} expired: back to what held before.",
                activated_at=now,
                expires_at=before.expires_at if before else None,
            )
        return len(ended)


def _held_before(version: SystemConfig, now: datetime) -> SystemConfig | None:
    """Return the version that holds again when this one's time is over: the one that it replaced,
    or, where that one's time is over as well, the one before."""
    before: SystemConfig | None = version
    while before and before.expires_at and before.expires_at <= now:
        before = (
            SystemConfig.objects.of(version.config_key_id, version.enterprise_id)
            .filter(version=before.base_version)
            .first()
        )
    return before


def set_override(
    *, tenant: TenantRef, key: str, value: Any, version: int, reason: str
) -> SystemConfig:
    """Set a tenant's own value, or clear it with UNSET, in its scope.

    `version` is that of the override that the tenant saw, 0 for none. Raises InvalidInput for a
    key that is not the tenant's to set, and StaleVersion.
    """
    with atomic():
        declared = ConfigKey.objects.select_related("category").filter(pk=key).first()
        if declared is None or not declared.tenant_visible:
            raise UnknownKey(f"There is no key {key}.")
        if not declared.tenant_overridable or declared.category.is_protected:
            raise NotOverridable(f"{key} is the platform's to set.")
        plain = UNSET if value is UNSET else check_value(Declaration.of(declared), value, "value")
        _take_turns([(key, tenant.id)])
        standing = SystemConfig.objects.of(key, tenant.id).filter(is_active=True).first()
        known = standing.version if standing and not standing.unset else 0
        if known != version:
            detail = f"The override is at version {known} now."
            raise StaleVersion(detail, [FieldError("version", "stale_version", detail)])
        if plain is UNSET and known == 0:
            raise NothingToClear(f"There is no override of {key}.")
        if standing:
            _set_status([standing.pk], Status.SUPERSEDED)
        return _store(
            key=declared,
            stored=plain
            if plain is UNSET
            else sealed(Declaration.of(declared), plain, tenant.id, "value"),
            enterprise_id=tenant.id,
            status=Status.ACTIVE,
            base_version=standing.version if standing else 0,
            reason=reason,
            activated_at=timezone.now(),
        )


class UnknownKey(DomainError):
    """There is no such key."""

    code = "not_found"
    status = 404


class NothingToClear(UnknownKey):
    """There is no override to clear."""


class NotOverridable(DomainError):
    """The key is not yours to override."""

    code = "not_overridable"
    status = 403


def reveal_secret(*, version: SystemConfig) -> Any:
    """Return a secret's plain value, and note in the audit trail that it was read and why.

    Raises InvalidInput where it does not open; that it was tried is noted all the same.
    """
    # A transaction of its own: it carries who asks and why, and stands whatever follows.
    with atomic(), connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "select audit_reading('system_configs', %s, %s)",
            [str(version.pk), version.enterprise_id],
        )
    return stored_plain(version)


def seal_counts() -> dict[str, int]:
    """Return how many secrets each key of the ring has sealed, in every status."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "select split_part(value #>> '{}', ':', 2), count(*) from system_configs"
            " where is_secret and not unset group by 1 order by 1"
        )
        return {name: int(number) for name, number in cursor.fetchall()}


def reseal_secrets() -> Iterator[Resealing]:
    """Seal every secret, in every status, with the first key; tell after each batch how far it is.

    A batch is a transaction, so that a run which is cut off goes on where it stopped. Raises
    CannotSeal.
    """
    name = sealing_key()
    total = sum(number for sealer, number in seal_counts().items() if sealer != name)
    done, unreadable = 0, []
    yield Resealing(done, total)
    after: UUID | None = None
    while batch := _secrets_of_other_keys(name, after):
        after = batch[-1].pk
        with atomic():
            for version in batch:
                if why := _reseal(version):
                    unreadable.append(why)
        done += len(batch)
        yield Resealing(done, max(done, total), tuple(unreadable))


def _secrets_of_other_keys(name: str, after: UUID | None) -> list[SystemConfig]:
    # As JSON a sealed text stands in quotes.
    sealed_text = Cast("value", TextField())
    secrets = (
        SystemConfig.objects.filter(is_secret=True, unset=False)
        .alias(sealed_text=sealed_text)
        .exclude(sealed_text__startswith=f'"{MARK}:{name}:')
    )
    if after:
        secrets = secrets.filter(pk__gt=after)
    return list(secrets.select_related("enterprise").order_by("pk")[:RESEAL_BATCH])


def _reseal(version: SystemConfig) -> str:
    """Seal a version anew; return why not if it does not open."""
    try:
        anew = reseal(version.config_key_id, version.value, version.enterprise_id)
    except CannotOpen as error:
        return f"{label_of(version)}, version {version.version}: {error}"
    with connections[current_alias()].cursor() as cursor:
        cursor.execute("select reseal_config(%s, %s, %s)", [version.pk, version.value, anew])
    return ""


# --- what the operations above are made of


def standing_items(change_set: ConfigChangeSet) -> list[SystemConfig]:
    """Return the values that the set holds, without those that an edit replaced."""
    return list(
        change_set.items.exclude(status=Status.REJECTED)
        .select_related("config_key", "enterprise")
        .order_by("config_key", "enterprise", "pk")
    )


def editors(change_set: ConfigChangeSet) -> set[UUID]:
    """Return everybody who took part: the author, and whoever added, replaced or took out a
    value."""
    people = {change_set.author_id, *change_set.edited_by}
    return {person for person in people if person}


def is_protected(change_set: ConfigChangeSet) -> bool:
    """Return whether a value of the set belongs to a protected category."""
    return ConfigCategory.objects.filter(
        is_protected=True, keys__versions__in=[item.pk for item in standing_items(change_set)]
    ).exists()


def active_versions(
    levels: Iterable[tuple[str, UUID | None]],
) -> dict[tuple[str, UUID | None], SystemConfig]:
    """Return the active versions of these keys and tenants."""
    wanted = set(levels)
    found = SystemConfig.objects.filter(
        is_active=True, config_key__in={key for key, _ in wanted}
    ).select_related("enterprise", "created_by")
    tenants = {tenant for _, tenant in wanted if tenant}
    if len(tenants) < len({tenant for _, tenant in wanted}):
        found = found.filter(enterprise__isnull=True) | found.filter(enterprise__in=tenants)
    else:
        found = found.filter(enterprise__in=tenants)
    by_level = {(version.config_key_id, version.enterprise_id): version for version in found}
    return {level: version for level, version in by_level.items() if level in wanted}


def _add(change_set: ConfigChangeSet, proposals: Sequence[Proposal], actor: User | None) -> None:
    keys = ConfigKey.objects.in_bulk({proposal.key for proposal in proposals})
    standing = active_versions(proposal.level for proposal in proposals)
    errors: list[FieldError] = []
    checked: list[tuple[Proposal, ConfigKey, Any]] = []
    seen: set[tuple[str, UUID | None]] = set()
    for proposal in proposals:
        key = keys.get(proposal.key)
        if key is None:
            errors.append(FieldError(proposal.label, "undeclared", "Is not declared."))
            continue
        if proposal.level in seen:
            errors.append(FieldError(proposal.label, "repeated", "Stands twice."))
        seen.add(proposal.level)
        if proposal.enterprise is not None and key.requires_restart:
            detail = "Needs a restart, so that it is the platform's alone."
            errors.append(FieldError(proposal.label, "platform_only", detail))
        active = standing.get(proposal.level)
        number = active.version if active else 0
        if proposal.base_version is not None and proposal.base_version != number:
            raise stale([(proposal.label, active)])
        try:
            checked.append((proposal, key, _to_store(key, proposal)))
        except InvalidInput as error:
            errors += error.errors
    if errors:
        raise InvalidInput(errors)
    _take_turns([proposal.level for proposal, _, _ in checked])
    SystemConfig.objects.bulk_create(
        (
            _version(
                key=key,
                stored=stored,
                enterprise=proposal.enterprise,
                status=Status.DRAFT,
                base_version=standing[proposal.level].version if proposal.level in standing else 0,
                reason=change_set.reason,
                change_set=change_set,
                created_by=actor,
            )
            for proposal, key, stored in checked
        ),
        batch_size=1000,
    )


def _to_store(key: ConfigKey, proposal: Proposal) -> Any:
    if proposal.value is UNSET:
        return UNSET
    declared = Declaration.of(key)
    value = check_value(declared, proposal.value, proposal.label)
    tenant_id = proposal.enterprise.pk if proposal.enterprise else None
    return sealed(declared, value, tenant_id, proposal.label)


def _version(*, key: ConfigKey, stored: Any, **fields: Any) -> SystemConfig:
    unset = stored is UNSET
    return SystemConfig(
        config_key=key,
        value=Value(None, JSONField()) if unset else stored,
        unset=unset,
        **fields,
    )


def _store(*, key: ConfigKey, stored: Any, **fields: Any) -> SystemConfig:
    version = _version(key=key, stored=stored, **fields)
    version.save(force_insert=True)
    # The database numbered it and filled in the declaration.
    version.refresh_from_db()
    return version


def _lock(change_set: ConfigChangeSet, *expected: str, verb: str) -> ConfigChangeSet:
    locked = ConfigChangeSet.objects.select_for_update().get(pk=change_set.pk)
    if locked.stage not in expected:
        raise WrongStage(
            f"“{locked}” is {locked.get_stage_display().lower()}; it cannot be {verb}."
        )
    return locked


def _require_approval(change_set: ConfigChangeSet) -> None:
    if change_set.approved_at is None and is_protected(change_set):
        raise NeedsApproval(
            f"“{change_set}” holds a protected key: somebody who took no part has to approve it."
        )


def _take_turns(levels: Sequence[tuple[str, UUID | None]]) -> None:
    """Hold the turns of these keys and tenants, taken in an order that all writers keep."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "select lock_config(key, tenant) from unnest(%s::text[], %s::uuid[]) as level"
            " (key, tenant) order by key, tenant",
            [[key for key, _ in levels], [tenant for _, tenant in levels]],
        )


def stale(conflicts: Sequence[tuple[str, SystemConfig | None]]) -> StaleVersion:
    """Return the refusal that tells by whom each value was changed."""
    errors = []
    for label, active in conflicts:
        if active is None:
            told = "was cleared meanwhile"
        else:
            who = active.created_by or (active.enterprise or "the platform")
            told = f"was changed by {who} meanwhile, to version {active.version}"
        errors.append(FieldError(label, "stale_version", f"{label} {told}: see the difference."))
    return StaleVersion(" ".join(error.detail for error in errors), errors)


def _refuse_stale(items: Sequence[SystemConfig]) -> dict[tuple[str, UUID | None], SystemConfig]:
    """Return what the items replace, each one's turn taken; raise StaleVersion."""
    levels = [(item.config_key_id, item.enterprise_id) for item in items]
    _take_turns(levels)
    standing = active_versions(levels)
    conflicts = [
        (label_of(item), standing.get(level))
        for item, level in zip(items, levels, strict=True)
        if (standing[level].version if level in standing else 0) != item.base_version
    ]
    if conflicts:
        raise stale(conflicts)
    return standing


def _activate(change_set: ConfigChangeSet, now: datetime) -> None:
    items = standing_items(change_set)
    if not items:
        raise WrongStage(f"“{change_set}” holds no value.")
    standing = _refuse_stale(items)
    _refuse_faulty(items)
    _set_status([version.pk for version in standing.values()], Status.SUPERSEDED)
    _update(
        items,
        status=Status.ACTIVE,
        activated_at=now,
        expires_at=change_set.expires_at,
        release_percentage=None,
    )


def _refuse_faulty(items: Sequence[SystemConfig]) -> None:
    """Refuse values that their keys may not have any more, since they were drafted."""
    errors: list[FieldError] = []
    for item in items:
        if not item.unset:
            try:
                check_value(Declaration.of(item.config_key), stored_plain(item), label_of(item))
            except InvalidInput as error:
                errors += error.errors
    if errors:
        raise InvalidInput(errors)


def _update(items: Iterable[SystemConfig], **changes: Any) -> None:
    SystemConfig.objects.filter(pk__in=[item.pk for item in items]).update(
        **changes, updated_at=timezone.now()
    )


def _set_status(versions: Iterable[UUID], status: str) -> None:
    if pks := list(versions):
        SystemConfig.objects.filter(pk__in=pks).update(status=status, updated_at=timezone.now())


def _check_audience(percentage: int, enterprises: Sequence[Enterprise]) -> None:
    if not 0 <= percentage <= 100:
        raise InvalidInput.of("percentage", "From 0 to 100.")
    if percentage == 0 and not enterprises:
        raise InvalidInput.of("percentage", "Name tenants, or give a percentage above 0.")


def _staging_obstacle(item: SystemConfig) -> str:
    if item.enterprise_id:
        return "Is one tenant's: only the platform's values are released in stages."
    if item.unset:
        return "Clears the platform's value, which cannot be done in stages."
    if item.requires_restart:
        return "Needs a restart, so that it is the same for everybody."
    if SystemConfig.objects.filter(config_key=item.config_key, status=Status.STAGED).exists():
        return "Is being released in stages by another change set."
    return ""


def _set_audience(
    change_set: ConfigChangeSet, percentage: int, enterprises: Sequence[Enterprise]
) -> None:
    change_set.release_percentage = percentage
    ConfigReleaseTenant.objects.filter(change_set=change_set).delete()
    ConfigReleaseTenant.objects.bulk_create(
        ConfigReleaseTenant(change_set=change_set, enterprise=enterprise)
        for enterprise in dict.fromkeys(enterprises)
    )
