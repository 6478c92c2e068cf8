"""Every change to enterprises, users and keys; each runs with the operator's role."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.management import call_command
from django.db import connections, transaction
from django.utils import timezone
from psycopg import sql

from apps.tenants.directory import token_hash
from apps.tenants.models import (
    SCHEMA_PREFIX,
    SLUG_PATTERN,
    ApiKey,
    Enterprise,
    Plan,
    Scope,
    User,
)
from layoverhq.errors import Conflict, FieldError, InvalidInput
from layoverhq.tenancy import OWNER, atomic

# Lets a secret scanner recognise a leaked token.
KEY_MARK = "lhq_"
SHOWN_PREFIX_LENGTH = 12


class WrongStatus(Conflict):
    """The enterprise is not in a state for this."""

    code = "wrong_status"


@dataclass(frozen=True, slots=True)
class NewEnterprise:
    """What onboarding needs to know."""

    name: str
    slug: str
    subscription_plan: str = Plan.FREE
    # where it stands in the file that it comes from
    line: int = 0


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key and its token, which exists nowhere else from here on."""

    key: ApiKey
    token: str


def schema_name(slug: str) -> str:
    """Return the schema reserved for an enterprise; distinct slugs give distinct names."""
    return SCHEMA_PREFIX + slug.replace("-", "_")


def onboarding_errors(enterprises: Sequence[NewEnterprise]) -> list[FieldError]:
    """Return why these cannot be onboarded, fault by fault; writes nothing."""
    errors = []
    seen: set[str] = set()
    taken = set(
        Enterprise.objects.living()
        .filter(slug__in=[new.slug for new in enterprises])
        .values_list("slug", flat=True)
    )
    for number, new in enumerate(enterprises, start=1):
        where = f"line {new.line or number}: " if len(enterprises) > 1 else ""
        if not new.name.strip() or len(new.name) > 200:
            errors.append(FieldError("name", "invalid", f"{where}give 1 to 200 characters"))
        if not re.fullmatch(SLUG_PATTERN, new.slug) or len(new.slug) > 50:
            detail = f"{where}“{new.slug}”: use lower-case letters, digits and single hyphens"
            errors.append(FieldError("slug", "invalid", detail))
        elif new.slug in seen:
            errors.append(FieldError("slug", "repeated", f"{where}“{new.slug}” stands twice"))
        elif new.slug in taken:
            detail = f"{where}an enterprise with the slug “{new.slug}” exists already"
            errors.append(FieldError("slug", "conflict", detail))
        if new.subscription_plan not in Plan.values:
            detail = f"{where}“{new.subscription_plan}” is none of {', '.join(Plan.values)}"
            errors.append(FieldError("subscription_plan", "invalid", detail))
        seen.add(new.slug)
    return errors


def onboard_enterprises(*, enterprises: Iterable[NewEnterprise]) -> list[Enterprise]:
    """Add pooled enterprises, all or none. Raises InvalidInput that names each faulty line."""
    wanted = list(enterprises)
    with atomic():
        if errors := onboarding_errors(wanted):
            raise InvalidInput(errors)
        # A slug may be used again after an offboarding; its schema name stays with the first.
        names = {new.slug: schema_name(new.slug) for new in wanted}
        used = set(
            Enterprise.objects.filter(schema_name__in=names.values()).values_list(
                "schema_name", flat=True
            )
        )
        return Enterprise.objects.bulk_create(
            [
                Enterprise(
                    name=new.name.strip(),
                    slug=new.slug,
                    subscription_plan=new.subscription_plan,
                    schema_name=names[new.slug]
                    if names[new.slug] not in used
                    else f"{names[new.slug][:50]}_{secrets.token_hex(4)}",
                )
                for new in wanted
            ],
            batch_size=1000,
        )


def onboard_enterprise(*, name: str, slug: str, subscription_plan: str = Plan.FREE) -> Enterprise:
    """Add one pooled enterprise."""
    return onboard_enterprises(enterprises=[NewEnterprise(name, slug, subscription_plan)])[0]


def change_enterprise(*, enterprise: Enterprise, name: str, subscription_plan: str) -> Enterprise:
    """Rename it or move it to another plan; its slug never changes."""
    errors = []
    if not name.strip() or len(name) > 200:
        errors.append(FieldError("name", "invalid", "Give 1 to 200 characters."))
    if subscription_plan not in Plan.values:
        detail = f"Choose from {', '.join(Plan.values)}."
        errors.append(FieldError("subscription_plan", "invalid", detail))
    if errors:
        raise InvalidInput(errors)
    with atomic():
        locked = lock_enterprise(
            enterprise,
            expected=[Enterprise.Status.ACTIVE, Enterprise.Status.SUSPENDED],
            verb="changed",
        )
        locked.name = name.strip()
        locked.subscription_plan = subscription_plan
        locked.save(update_fields=["name", "subscription_plan", "updated_at"])
        return locked


def lock_enterprise(enterprise: Enterprise, *, expected: Sequence[str], verb: str) -> Enterprise:
    """Return the enterprise, locked; raise WrongStatus unless its status is an expected one."""
    locked = Enterprise.objects.select_for_update().get(pk=enterprise.pk)
    if locked.status not in expected:
        raise WrongStatus(
            f"{locked} is {locked.get_status_display().lower()}; it cannot be {verb}."
        )
    return locked


def suspend_enterprise(*, enterprise: Enterprise) -> Enterprise:
    """Refuse its keys with 403 from now on; its data stays."""
    with atomic():
        locked = lock_enterprise(enterprise, expected=[Enterprise.Status.ACTIVE], verb="suspended")
        locked.status = Enterprise.Status.SUSPENDED
        locked.save(update_fields=["status", "updated_at"])
        return locked


def resume_enterprise(*, enterprise: Enterprise) -> Enterprise:
    """Serve its keys again."""
    with atomic():
        locked = lock_enterprise(enterprise, expected=[Enterprise.Status.SUSPENDED], verb="resumed")
        locked.status = Enterprise.Status.ACTIVE
        locked.save(update_fields=["status", "updated_at"])
        return locked


def issue_api_key(
    *,
    enterprise: Enterprise,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
) -> IssuedKey:
    """Make a key. Its token is in the answer and nowhere else: only a hash is stored."""
    errors = []
    if not name.strip() or len(name) > 100:
        errors.append(FieldError("name", "invalid", "Give 1 to 100 characters."))
    if not scopes or set(scopes) - set(Scope.values):
        errors.append(FieldError("scopes", "invalid", f"Choose from {', '.join(Scope.values)}."))
    if expires_at is not None and expires_at <= timezone.now():
        errors.append(FieldError("expires_at", "past", "Lies in the past."))
    if enterprise.deleted_at is not None:
        errors.append(FieldError("enterprise", "offboarded", "Is offboarded."))
    if errors:
        raise InvalidInput(errors)
    token = KEY_MARK + secrets.token_urlsafe(32)
    with atomic():
        key = ApiKey.objects.create(
            enterprise=enterprise,
            name=name.strip(),
            prefix=token[:SHOWN_PREFIX_LENGTH],
            key_hash=token_hash(token),
            scopes=sorted(set(scopes)),
            expires_at=expires_at,
        )
    return IssuedKey(key, token)


def revoke_api_keys(*, keys: Iterable[ApiKey]) -> int:
    """Refuse these keys everywhere from now on; returns how many were not revoked before."""
    with atomic():
        return ApiKey.objects.filter(
            pk__in=[key.pk for key in keys], revoked_at__isnull=True
        ).update(revoked_at=timezone.now())


def create_operator(*, email: str, password: str, superuser: bool = False) -> User:
    """Add a person of the platform's own. Raises ValidationError for a weak password."""
    user = User(email=email, is_staff=True, is_superuser=superuser)
    validate_password(password, user)
    with atomic():
        created: User = User.objects.create_user(
            email, password, is_staff=True, is_superuser=superuser
        )
        return created


def set_password(*, user: User, password: str) -> None:
    """Replace the password. Raises ValidationError for a weak one."""
    validate_password(password, user)
    with atomic():
        user.set_password(password)
        user.save(update_fields=["password", "updated_at"])


def delete_user(*, user: User) -> User:
    """Delete softly: the email is free again, the person can no longer log in."""
    with atomic():
        locked: User = User.objects.select_for_update().get(pk=user.pk)
        if locked.deleted_at is None:
            locked.deleted_at = timezone.now()
            locked.is_active = False
            locked.set_unusable_password()
            locked.save(update_fields=["deleted_at", "is_active", "password", "updated_at"])
        return locked


def create_enterprise_schema(*, enterprise: Enterprise) -> None:
    """Make the own schema of a dedicated enterprise and migrate it, with the owner's role.

    One that was left half made is completed. The caller marks the enterprise as dedicated once its
    rows have moved.
    """
    with connections[OWNER].cursor() as cursor:
        for text in (
            "create schema if not exists {schema}",
            "grant usage on schema {schema} to layoverhq_app, layoverhq_operator",
        ):
            name = sql.Identifier(enterprise.schema_name)
            cursor.execute(sql.SQL(text).format(schema=name))
    try:
        call_command(
            "migrate_schemas",
            tenant=True,
            schema_name=enterprise.schema_name,
            interactive=False,
            verbosity=0,
        )
    finally:
        # It leaves its connection in the schema, with what that finds first.
        owner: Any = connections[OWNER]
        owner.set_schema_to_public()


def drop_enterprise_schema(*, enterprise: Enterprise) -> None:
    """Drop the own schema, with the owner's role; it may be gone already.

    Its foreign keys end with it, which locks `enterprises` for a moment and waits for its readers.
    """
    with transaction.atomic(using=OWNER), connections[OWNER].cursor() as cursor:
        cursor.execute("set local lock_timeout = '5s'")
        name = sql.Identifier(enterprise.schema_name)
        cursor.execute(sql.SQL("drop schema if exists {} cascade").format(name))
