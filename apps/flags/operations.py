"""Every change to flags. All but the kill switch are versions of a flag's definition.

Writers take turns: whether a definition may stand depends on the other flags. They run with the
operator's role.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import connections
from django.db.models import Max
from django.utils import timezone

from apps.flags.definitions import (
    NAME,
    ValueType,
    definition_faults,
    document_of,
    instant,
    put_definition,
    same_definition,
)
from apps.flags.models import FeatureFlag, FlagVersion
from apps.flags.queries import surroundings
from apps.tenants.models import User
from layoverhq.errors import (
    Conflict,
    DomainError,
    FieldError,
    InvalidInput,
    NeedsApproval,
    NotYours,
    StaleVersion,
)
from layoverhq.tenancy import atomic, current_alias

log = structlog.get_logger(__name__)

Status = FlagVersion.Status

OPEN = (Status.DRAFT, Status.IN_REVIEW, Status.APPROVED)
READY = (Status.DRAFT, Status.APPROVED)
OVERRIDES = {"tenant": "tenant_overrides", "user": "user_overrides"}


class WrongStatus(Conflict):
    """The flag or its version is not in a state for this."""

    code = "wrong_status"


class Interrupted(Conflict):
    """Something more urgent came between."""

    code = "interrupted"


def create_flag(
    *,
    name: str,
    value_type: str,
    definition: Mapping[str, Any],
    reason: str,
    actor: User | None,
    now: datetime | None = None,
) -> FeatureFlag:
    """Make a flag, with its first version in force. Raises InvalidInput and Conflict.

    A protected one begins off: turning it on, also by a step, takes an approval.
    """
    now = now or timezone.now()
    errors = []
    if not NAME.fullmatch(name) or len(name) > 100:
        detail = "Use up to 100 small letters, digits, dots, - and _, beginning with a letter."
        errors.append(FieldError("name", "invalid", detail))
    if value_type not in ValueType.values:
        detail = f"Choose from {', '.join(ValueType.values)}."
        errors.append(FieldError("value_type", "invalid", detail))
    if errors:
        raise InvalidInput(errors)
    with atomic():
        take_turns()
        if FeatureFlag.objects.filter(name=name).exists():
            detail = "A flag of this name exists already."
            raise Conflict(detail, [FieldError("name", "conflict", detail)])
        _check(name, value_type, definition, None, now)
        if definition["is_protected"] and definition["enabled"]:
            detail = "A protected flag begins off: turning it on takes an approval."
            raise InvalidInput.of("enabled", detail, code="protected")
        for place, step in enumerate(definition["steps"] if definition["is_protected"] else ()):
            if step.get("enabled"):
                detail = "Nobody has approved that a step turns it on: plan it in a change."
                raise InvalidInput.of(f"steps[{place}].enabled", detail, code="protected")
        flag = FeatureFlag(name=name, value_type=value_type, salt=name)
        put_definition(flag, definition)
        flag.save(force_insert=True)
        _store(flag, definition, reason, actor, status=Status.ACTIVE, number=1, activated_at=now)
        return flag


def draft_change(
    *,
    flag: FeatureFlag,
    definition: Mapping[str, Any],
    base_version: int,
    reason: str,
    actor: User | None,
    drawn_from: Iterable[FlagVersion] = (),
) -> FlagVersion:
    """Draft a definition that was edited from `base_version`. Raises StaleVersion.

    Whoever took part in the drafts that it was drawn from took part in it.
    """
    with atomic():
        locked = _locked(flag)
        _refuse_stale(locked, base_version)
        standing = document_of(locked)
        _check(locked.name, locked.value_type, definition, standing, timezone.now())
        if same_definition(standing, definition):
            raise InvalidInput.of(
                "definition", "Nothing in it differs from what holds.", code="same"
            )
        took_part = sorted({person for draft in drawn_from for person in editors(draft)})
        return _store(locked, definition, reason, actor, status=Status.DRAFT, edited_by=took_part)


def change_flag(
    *,
    flag: FeatureFlag,
    definition: Mapping[str, Any],
    base_version: int,
    reason: str,
    actor: User | None,
    now: datetime | None = None,
) -> FlagVersion:
    """Draft a definition and publish it at once. Raises NeedsApproval for a protected flag."""
    with atomic():
        version = draft_change(
            flag=flag, definition=definition, base_version=base_version, reason=reason, actor=actor
        )
        return publish_change(version=version, now=now)


def revise_change(
    *,
    version: FlagVersion,
    definition: Mapping[str, Any],
    reason: str,
    actor: User | None,
    seen: str = "",
) -> FlagVersion:
    """Change what is drafted; an approval is asked for again.

    Raises StaleVersion where it is no longer the draft whose `mark_of` was `seen`.
    """
    with atomic():
        locked = _locked_version(version, *OPEN, verb="edited")
        _refuse_unseen(locked, seen)
        flag = locked.flag
        _check(flag.name, flag.value_type, definition, document_of(flag), timezone.now())
        locked.definition = definition
        locked.reason = _reason(reason)
        if actor and actor.pk not in locked.edited_by:
            locked.edited_by.append(actor.pk)
        return _redrafted(locked)


def submit_change(*, version: FlagVersion) -> FlagVersion:
    """Ask for a review."""
    with atomic():
        locked = _locked_version(version, Status.DRAFT, verb="submitted")
        locked.status = Status.IN_REVIEW
        locked.save()
        return locked


def approve_change(*, version: FlagVersion, actor: User, seen: str = "") -> FlagVersion:
    """Approve it as it stands. Raises NotYours for whoever took part in it.

    Raises StaleVersion where it is no longer the draft whose `mark_of` was `seen`.
    """
    with atomic():
        locked = _locked_version(version, Status.IN_REVIEW, verb="approved")
        _refuse_unseen(locked, seen)
        if actor.pk in editors(locked):
            raise NotYours("You took part in this change: somebody else has to approve it.")
        locked.status = Status.APPROVED
        locked.approved_by = actor
        locked.approved_at = timezone.now()
        locked.save()
        return locked


def reject_change(*, version: FlagVersion) -> FlagVersion:
    """Give it up for good, a scheduled one too."""
    with atomic():
        locked = _locked_version(version, *OPEN, Status.SCHEDULED, verb="rejected")
        locked.status = Status.REJECTED
        locked.save()
        return locked


def publish_change(*, version: FlagVersion, now: datetime | None = None) -> FlagVersion:
    """Put a definition in force. Raises NeedsApproval, and StaleVersion if another is since."""
    now = now or timezone.now()
    with atomic():
        locked = _locked_version(version, *READY, Status.SCHEDULED, verb="published")
        _require_approval(locked)
        _activate(locked, now)
        return locked


def schedule_change(
    *, version: FlagVersion, activate_at: datetime, now: datetime | None = None
) -> FlagVersion:
    """Have it published at an instant, by the minute."""
    if activate_at <= (now or timezone.now()):
        raise InvalidInput.of("activate_at", "Lies in the past.", code="past")
    with atomic():
        locked = _locked_version(version, *READY, verb="scheduled")
        _require_approval(locked)
        _refuse_stale(locked.flag, locked.base_number)
        locked.status = Status.SCHEDULED
        locked.activate_at = activate_at
        locked.problem = ""
        locked.save()
        return locked


def unschedule_change(*, version: FlagVersion) -> FlagVersion:
    """Make a scheduled change a draft again, to be edited and approved anew."""
    with atomic():
        locked = _locked_version(version, Status.SCHEDULED, verb="taken back")
        return _redrafted(locked)


def kill_flag(*, flag: FeatureFlag, reason: str) -> FeatureFlag:
    """Have everybody get the off variant at once, whatever overrides, drafts and steps say."""
    return _switch(flag, killed=True, reason=_reason(reason))


def revive_flag(*, flag: FeatureFlag) -> FeatureFlag:
    """Let a killed flag's definition hold again.

    A step that came due meanwhile stays where it is, until somebody gives it another time.
    """
    return _switch(flag, killed=False, reason="")


def _switch(flag: FeatureFlag, *, killed: bool, reason: str) -> FeatureFlag:
    with atomic():
        # Not in turn with other writers. It waits for whoever changes flags just now all the same,
        # since changes come in one order: `give_way` is for those that take long.
        locked = FeatureFlag.objects.select_for_update().get(pk=flag.pk)
        if locked.is_killed == killed:
            raise WrongStatus(f"{locked} is {'killed already' if killed else 'not killed'}.")
        locked.is_killed = killed
        locked.kill_reason = reason
        locked.save(update_fields=["is_killed", "kill_reason", "updated_at"])
        return locked


def amend_flag(
    *, flag: FeatureFlag, changes: Mapping[str, Any], reason: str, actor: User | None
) -> FlagVersion:
    """Change members of the definition that holds: at once, or as a draft of a protected flag."""
    with atomic():
        locked = _locked(flag)
        version = draft_change(
            flag=locked,
            definition={**document_of(locked), **deepcopy(dict(changes))},
            base_version=locked.version,
            reason=reason,
            actor=actor,
        )
        return version if locked.is_protected else publish_change(version=version)


def archive_flag(*, flag: FeatureFlag, reason: str, actor: User | None) -> FlagVersion:
    """Take a flag out of use: it answers its off variant, and nothing new may stand on it."""
    return amend_flag(
        flag=flag, changes={"is_archived": True, "steps": []}, reason=reason, actor=actor
    )


def restore_flag(*, flag: FeatureFlag, reason: str, actor: User | None) -> FlagVersion:
    """Take an archived flag into use again, as it was."""
    return amend_flag(flag=flag, changes={"is_archived": False}, reason=reason, actor=actor)


def roll_back(
    *, flag: FeatureFlag, version: FlagVersion, reason: str, actor: User | None
) -> FlagVersion:
    """Return to an earlier definition, without the steps that it had planned since.

    The overrides of whoever is gone are left out, and an owner who is gone stays who it is now.
    """
    if version.flag_id != flag.pk:
        raise InvalidInput.of("version", "Is of another flag.")
    if version.activated_at is None:
        raise WrongStatus(f"{version} never held; it cannot be rolled back to.")
    now = timezone.now()
    around = surroundings(flag.name)
    earlier = {
        **version.definition,
        "steps": [step for step in version.definition["steps"] if _is_to_come(step, now)],
    }
    for kind, member in OVERRIDES.items():
        gone = around.unknown(kind, {UUID(of) for of in earlier[member]})
        earlier[member] = {of: to for of, to in earlier[member].items() if UUID(of) not in gone}
    if earlier["owner"] not in around.operators:
        del earlier["owner"]
    return amend_flag(flag=flag, changes=earlier, reason=reason, actor=actor)


def _is_to_come(step: Mapping[str, Any], now: datetime) -> bool:
    at = instant(step["at"])
    return at is not None and at > now


def set_override(
    *,
    flag: FeatureFlag,
    kind: str,
    of: UUID,
    to: bool | str | None,
    reason: str,
    actor: User | None,
) -> FlagVersion:
    """Give a tenant or a user ("tenant", "user") an answer of its own; None takes it away."""
    member = OVERRIDES[kind]
    with atomic():
        locked = _locked(flag)
        overrides = {key: held for key, held in getattr(locked, member).items() if key != str(of)}
        if to is not None:
            overrides[str(of)] = to
        return amend_flag(flag=locked, changes={member: overrides}, reason=reason, actor=actor)


def apply_due_versions(*, now: datetime | None = None) -> int:
    """Publish the scheduled versions whose time has come; return how many.

    One that cannot be published keeps its place and says why; nobody publishes one twice.
    """
    now = now or timezone.now()
    due = FlagVersion.objects.filter(
        status=Status.SCHEDULED, activate_at__lte=now, problem=""
    ).order_by("activate_at", "id")
    published = 0
    for pk in list(due.values_list("pk", flat=True)):
        try:
            with atomic():
                take_turns()
                version = FlagVersion.objects.filter(pk=pk, status=Status.SCHEDULED).first()
                if version is None:
                    continue
                publish_change(version=version, now=now)
                published += 1
        except DomainError as error:
            log.error("flag_schedule_stuck", version=str(pk), problem=error.detail)
            due.filter(pk=pk).update(problem=error.detail, updated_at=timezone.now())
    return published


def apply_due_steps(*, now: datetime | None = None) -> int:
    """Take the steps of rollouts whose time has come; return how many flags stepped.

    They were part of a version that was approved. One that cannot be taken, such as of a flag
    that is killed, keeps its place and says why.
    """
    now = now or timezone.now()
    due = FeatureFlag.objects.filter(next_step_at__lte=now, step_problem="")
    stepped = 0
    for pk in list(due.order_by("next_step_at", "id").values_list("pk", flat=True)):
        try:
            with atomic():
                take_turns()
                flag = due.select_for_update(of=("self",)).filter(pk=pk).first()
                if flag is not None:
                    _step(flag, now)
                    stepped += 1
        except DomainError as error:
            log.error("flag_step_stuck", flag=str(pk), problem=error.detail)
            due.filter(pk=pk).update(step_problem=error.detail, updated_at=timezone.now())
    return stepped


def _step(flag: FeatureFlag, now: datetime) -> None:
    if flag.is_killed:
        raise WrongStatus("The flag was killed when the step came due.")
    definition = document_of(flag)
    due = [step for step in flag.steps if not _is_to_come(step, now)]
    for step in due:
        definition["rollout_percentage"] = step.get("percentage", definition["rollout_percentage"])
        definition["enabled"] = step.get("enabled", definition["enabled"])
    definition["steps"] = flag.steps[len(due) :]
    _check(flag.name, flag.value_type, definition, document_of(flag), now)
    # Not the version that holds: that may be the step before.
    held = FlagVersion.objects.filter(flag=flag, activated_at__isnull=False).order_by("number")
    planned = (
        held.filter(definition__steps__contains=[due[-1]]).first()
        or held.filter(status=Status.ACTIVE).get()
    )
    told = f"Step of {due[-1]['at']}, planned with version {planned.number}: {planned.reason}"
    _activate(_store(flag, definition, told, planned.author, status=Status.DRAFT), now)


# --- what the operations above are made of


def take_turns() -> None:
    """Wait until no other writer is at flags, segments and namespaces; to the transaction's end."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtextextended('layoverhq.flags', 0))")


def give_way() -> None:
    """Raise Interrupted where a kill waits: what takes long asks now and then."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(KILL_WAITS)
        if cursor.fetchone() != (False,):
            raise Interrupted(
                "A flag was killed or revived meanwhile, which comes first: try again."
            )


# Other writers wait for their turn, an advisory lock; a kill waits for rows.
KILL_WAITS = """
select exists (
    select from pg_locks l
    where not l.granted and l.locktype in ('transactionid', 'tuple')
        and pg_backend_pid() = any (pg_blocking_pids(l.pid))
)
"""


def editors(version: FlagVersion) -> set[UUID]:
    """Return everybody who took part in a version."""
    return {person for person in (version.author_id, *version.edited_by) if person}


def mark_of(version: FlagVersion) -> str:
    """Return what tells a draft as it stands from the same draft edited."""
    return version.updated_at.isoformat()


def _refuse_unseen(version: FlagVersion, seen: str) -> None:
    if seen and seen != mark_of(version):
        raise StaleVersion("Somebody else changed this draft meanwhile: see what differs.")


def _locked(flag: FeatureFlag) -> FeatureFlag:
    take_turns()
    return (
        FeatureFlag.objects.select_for_update(of=("self",))
        .select_related("namespace")
        .get(pk=flag.pk)
    )


def _locked_version(version: FlagVersion, *expected: str, verb: str) -> FlagVersion:
    take_turns()
    locked = FlagVersion.objects.select_for_update().get(pk=version.pk)
    if locked.status not in expected:
        raise WrongStatus(
            f"{version} is {locked.get_status_display().lower()}; it cannot be {verb}."
        )
    locked.flag = _locked(locked.flag)
    return locked


def _check(
    name: str,
    value_type: str,
    definition: Mapping[str, Any],
    standing: Mapping[str, Any] | None,
    now: datetime,
) -> None:
    faults = definition_faults(
        definition,
        name=name,
        value_type=value_type,
        around=surroundings(name),
        standing=standing,
        now=now,
    )
    if faults:
        raise InvalidInput(faults)


def _refuse_stale(flag: FeatureFlag, base_version: int) -> None:
    if flag.version == base_version:
        return
    active = FlagVersion.objects.select_related("author").get(flag=flag, status=Status.ACTIVE)
    who = active.author or "a schedule"
    detail = (
        f"{flag} was changed by {who} meanwhile, to version {flag.version}: see the difference."
    )
    raise StaleVersion(detail, [FieldError("base_version", "stale_version", detail)])


def _require_approval(version: FlagVersion) -> None:
    if version.flag.is_protected and version.approved_at is None:
        raise NeedsApproval(
            f"{version.flag} is protected: somebody who took no part has to approve the change."
        )


def _reason(reason: str) -> str:
    if len(reason.strip()) < 3:
        raise InvalidInput.of("reason", "Say why, in a few words.")
    return reason.strip()


def _store(
    flag: FeatureFlag,
    definition: Mapping[str, Any],
    reason: str,
    actor: User | None,
    **fields: Any,
) -> FlagVersion:
    last = FlagVersion.objects.filter(flag=flag).aggregate(last=Max("number"))["last"] or 0
    return FlagVersion.objects.create(
        flag=flag,
        definition=definition,
        reason=_reason(reason),
        author=actor,
        base_number=flag.version if last else 0,
        **{"number": last + 1, **fields},
    )


def _redrafted(version: FlagVersion) -> FlagVersion:
    version.status = Status.DRAFT
    version.approved_by = version.approved_at = version.activate_at = None
    version.problem = ""
    version.save()
    return version


def _activate(version: FlagVersion, now: datetime) -> None:
    flag = version.flag
    _refuse_stale(flag, version.base_number)
    # What it refers to may have changed since it was drafted.
    _check(flag.name, flag.value_type, version.definition, document_of(flag), now)
    FlagVersion.objects.filter(flag=flag, status=Status.ACTIVE).update(
        status=Status.SUPERSEDED, updated_at=timezone.now()
    )
    put_definition(flag, version.definition)
    flag.version = version.number
    flag.save()
    version.status = Status.ACTIVE
    version.activated_at = now
    version.problem = ""
    version.save()
