"""Every change to webhooks. What tenants do runs in their scope, the rest as the operator."""

from __future__ import annotations

import json
import secrets as randomness
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from celery import current_app
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from apps.configs.runtime import configs
from apps.webhooks.models import PING, Event, WebhookDelivery, WebhookEndpoint
from apps.webhooks.sending import Outcome, url_fault
from apps.webhooks.signing import new_secret
from layoverhq import versions
from layoverhq.errors import Conflict, FieldError, InvalidInput
from layoverhq.identifiers import uuid7
from layoverhq.sealing import CannotOpen, seal, sealed_by, sealing_key, unseal
from layoverhq.tenancy import TenantRef, atomic, current_alias

log = structlog.get_logger(__name__)

DELIVER_TASK = "apps.webhooks.tasks.deliver_webhooks"
LONGEST_URL = 2000
LONGEST_DESCRIPTION = 200
MAXIMUM_ENDPOINTS = 20
MAXIMUM_OVERLAP_HOURS = 168

# Seconds from an attempt that failed to the next: a day in all.
BACKOFF_SECONDS = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800, 28_800)
MAXIMUM_ATTEMPTS = len(BACKOFF_SECONDS) + 1
# Retries of what failed together come apart by as much, either way.
JITTER = 0.2
DELIVERED_KEPT = timedelta(days=30)
DEAD_KEPT = timedelta(days=90)
# How long messages wait for what is paused or suspended.
WAIT_KEPT = timedelta(days=30)
# What is due again sooner does not wait for the schedule.
SOON_SECONDS = 60

Status = WebhookEndpoint.Status


class TooManyWebhooks(Conflict):
    """The enterprise has as many webhooks as it may."""

    code = "too_many_webhooks"


class NotReplayable(Conflict):
    """The delivery cannot be sent again."""

    code = "not_replayable"


@dataclass(frozen=True, slots=True)
class NewSecret:
    """An endpoint and its secret, which is told once."""

    endpoint: WebhookEndpoint
    secret: str


def add_endpoint(
    *, tenant: TenantRef, url: str, events: Sequence[str], description: str = ""
) -> NewSecret:
    """Add an endpoint, with a secret of its own. Raises InvalidInput and TooManyWebhooks."""
    _check(url=url, events=events, description=description)
    with atomic():
        others = WebhookEndpoint.objects.filter(enterprise_id=tenant.id)
        # Who adds at the same time waits here, and counts what was added meanwhile.
        list(others.order_by("id").select_for_update(no_key=True).values_list("pk"))
        if others.count() >= MAXIMUM_ENDPOINTS:
            raise TooManyWebhooks(f"At most {MAXIMUM_ENDPOINTS} webhooks.")
        endpoint = WebhookEndpoint(
            enterprise_id=tenant.id,
            url=url,
            events=sorted(set(events)),
            description=description,
        )
        secret = new_secret()
        endpoint.sealed_secret = seal(secret.encode(), owner=endpoint.secret_owner())
        return NewSecret(versions.added(endpoint), secret)


def change_endpoint(
    *,
    endpoint: WebhookEndpoint,
    version: int,
    url: str | None = None,
    events: Sequence[str] | None = None,
    description: str | None = None,
    status: str | None = None,
) -> WebhookEndpoint:
    """Change what is given. Active again, a disabled one starts afresh.

    Raises InvalidInput and StaleVersion.
    """
    _check(url=url, events=events, description=description)
    with atomic():
        locked = versions.locked(endpoint, version)
        if url is not None and url != locked.url:
            locked.url = url
            _start_afresh(locked)
        if events is not None:
            locked.events = sorted(set(events))
        if description is not None:
            locked.description = description
        if status is not None and status != locked.status:
            locked.status, locked.status_reason = status, ""
            if status == Status.ACTIVE:
                _start_afresh(locked)
                _enqueue()
        return versions.saved(locked)


def remove_endpoint(*, endpoint: WebhookEndpoint, version: int) -> None:
    """Delete an endpoint with what waits for it. Raises StaleVersion."""
    with atomic():
        versions.locked(endpoint, version).delete()


def rotate_secret(*, endpoint: WebhookEndpoint, overlap_hours: int, now: datetime) -> NewSecret:
    """Replace the secret; for the overlap the one before signs as well."""
    with atomic():
        locked = WebhookEndpoint.objects.select_for_update().get(pk=endpoint.pk)
        secret = new_secret()
        if overlap_hours:
            locked.old_sealed_secret = locked.sealed_secret
            locked.old_secret_until = now + timedelta(hours=overlap_hours)
        else:
            locked.old_sealed_secret, locked.old_secret_until = "", None
        locked.sealed_secret = seal(secret.encode(), owner=locked.secret_owner())
        return NewSecret(versions.saved(locked), secret)


def secrets_in_force(endpoint: WebhookEndpoint, now: datetime) -> list[str]:
    """Return the secrets that sign, the newest first. Raises CannotOpen."""
    sealed = [endpoint.sealed_secret]
    if endpoint.old_sealed_secret and endpoint.has_old_secret(now):
        sealed.append(endpoint.old_sealed_secret)
    return [unseal(text, owner=endpoint.secret_owner()).decode() for text in sealed]


def reseal_secrets(*, now: datetime) -> int:
    """Seal anew with the ring's first key what another one sealed; return how many endpoints.

    Secrets that no longer sign are forgotten. One that cannot be opened is left, and told in the
    log.
    """
    resealed, first = 0, sealing_key()
    for pk in WebhookEndpoint.objects.values_list("pk", flat=True):
        with atomic():
            locked = WebhookEndpoint.objects.select_for_update().filter(pk=pk).first()
            if locked is None:
                continue
            try:
                resealed += _reseal(locked, first, now)
            except CannotOpen as error:
                log.error("webhook_secret_unusable", endpoint=str(pk), problem=str(error))
    return resealed


def _reseal(endpoint: WebhookEndpoint, first: str, now: datetime) -> bool:
    """Seal with the first key what is not; return whether anything was. Raises CannotOpen."""
    if endpoint.old_sealed_secret and not endpoint.has_old_secret(now):
        endpoint.old_sealed_secret, endpoint.old_secret_until = "", None
        endpoint.save(update_fields=["old_sealed_secret", "old_secret_until"])
    changed = []
    for name in ("sealed_secret", "old_sealed_secret"):
        text = getattr(endpoint, name)
        if text and sealed_by(text) != first:
            secret = unseal(text, owner=endpoint.secret_owner())
            setattr(endpoint, name, seal(secret, owner=endpoint.secret_owner()))
            changed.append(name)
    if changed:
        endpoint.save(update_fields=changed)
    return bool(changed)


def notify(
    *, tenant: TenantRef, event: str, data: Mapping[str, Any], now: datetime
) -> list[WebhookDelivery]:
    """Write to the outbox what the tenant's endpoints are to be told of an event.

    In the transaction of what it tells of, so that there is neither without the other. `data`
    names travellers by id alone. Nothing is written for an endpoint that is disabled.
    """
    listeners = WebhookEndpoint.objects.filter(
        enterprise_id=tenant.id, events__contains=[event]
    ).exclude(status=Status.DISABLED)
    return _write(list(listeners), event, data, now)


def ping(*, endpoint: WebhookEndpoint, now: datetime) -> WebhookDelivery:
    """Write a trial message for one endpoint. Raises Conflict if it is not active."""
    if endpoint.status != Status.ACTIVE:
        raise Conflict(f"The webhook is {endpoint.status}.")
    with atomic():
        (delivery,) = _write([endpoint], PING, {"webhook_id": str(endpoint.pk)}, now)
        return delivery


def _write(
    endpoints: Sequence[WebhookEndpoint], event: str, data: Mapping[str, Any], now: datetime
) -> list[WebhookDelivery]:
    if not endpoints:
        return []
    body = json.dumps(
        {"type": event, "timestamp": now.isoformat(), "data": data},
        cls=DjangoJSONEncoder,
        ensure_ascii=False,
        separators=(",", ":"),
    )
    event_id = uuid7()
    written = WebhookDelivery.objects.bulk_create(
        WebhookDelivery(
            enterprise_id=endpoint.enterprise_id,
            endpoint=endpoint,
            event_id=event_id,
            event=event,
            body=body,
            next_attempt_at=now,
        )
        for endpoint in endpoints
    )
    _enqueue()
    return written


def _enqueue(seconds: float = 0) -> None:
    # If the broker is away, the schedule finds what waits.
    transaction.on_commit(
        lambda: current_app.send_task(DELIVER_TASK, countdown=seconds),
        using=current_alias(),
        robust=True,
    )


def replay_deliveries(*, deliveries: QuerySet[WebhookDelivery], now: datetime) -> int:
    """Send again what is no longer sent, with the same id and body; return how many.

    Those that wait, and those of disabled endpoints, are left alone.
    """
    chosen = deliveries.exclude(status=WebhookDelivery.Status.PENDING)
    with atomic():
        replayed = chosen.exclude(endpoint__status=Status.DISABLED).update(
            status=WebhookDelivery.Status.PENDING,
            attempts=0,
            next_attempt_at=now,
            claim=None,
            finished_at=None,
        )
        _enqueue()
    return replayed


def replay_delivery(*, delivery: WebhookDelivery, now: datetime) -> WebhookDelivery:
    """Send one again. Raises NotReplayable if it waits, or its endpoint is disabled."""
    one = WebhookDelivery.objects.filter(enterprise_id=delivery.enterprise_id, pk=delivery.pk)
    if not replay_deliveries(deliveries=one, now=now):
        if delivery.endpoint.status == Status.DISABLED:
            raise NotReplayable("The webhook is disabled: make it active first.")
        raise NotReplayable("It waits to be sent already.")
    return one.get()


def pause_endpoints(*, endpoints: Sequence[WebhookEndpoint], reason: str) -> int:
    """Keep what is due for active endpoints, and send nothing; return how many were active."""
    with atomic():
        return WebhookEndpoint.objects.filter(
            pk__in=[endpoint.pk for endpoint in endpoints], status=Status.ACTIVE
        ).update(
            status=Status.PAUSED,
            status_reason=reason,
            version=F("version") + 1,
            updated_at=Now(),
        )


def resume_endpoints(*, endpoints: Sequence[WebhookEndpoint]) -> int:
    """Send again to paused and disabled endpoints; return how many were not active."""
    with atomic():
        resumed = 0
        for endpoint in endpoints:
            locked = WebhookEndpoint.objects.select_for_update().filter(pk=endpoint.pk).first()
            if locked is not None and locked.status != Status.ACTIVE:
                locked.status, locked.status_reason = Status.ACTIVE, ""
                _start_afresh(locked)
                versions.saved(locked)
                resumed += 1
        _enqueue()
        return resumed


def record_outcome(
    *, delivery_id: UUID, claim: UUID, outcome: Outcome, now: datetime
) -> WebhookDelivery | None:
    """Note what came of an attempt: done, due again later, or a dead letter.

    None where the claim no longer holds: it took so long that another worker has it. The endpoint
    is disabled once it has failed for as long as `webhooks.disable_after` says, or is gone.
    """
    with atomic():
        held = WebhookDelivery.objects.filter(
            pk=delivery_id, claim=claim, status=WebhookDelivery.Status.PENDING
        )
        # The endpoint before its deliveries, as everybody locks them.
        endpoint = (
            WebhookEndpoint.objects.select_for_update()
            .filter(pk__in=held.values("endpoint_id"))
            .first()
        )
        delivery = held.select_for_update().first()
        if endpoint is None or delivery is None:
            return None
        delivery.claim = None
        delivery.last_status_code = outcome.status_code
        delivery.last_excerpt, delivery.last_error = outcome.excerpt, outcome.error
        if outcome.delivered:
            delivery.status = WebhookDelivery.Status.DELIVERED
            delivery.finished_at = now
            endpoint.failing_since, endpoint.failures = None, 0
            endpoint.last_success_at, endpoint.last_error = now, ""
        else:
            _fail(delivery, endpoint, outcome, now)
        delivery.save()
        endpoint.save()
        return delivery


def _fail(
    delivery: WebhookDelivery, endpoint: WebhookEndpoint, outcome: Outcome, now: datetime
) -> None:
    if delivery.attempts >= MAXIMUM_ATTEMPTS or outcome.gone:
        delivery.status = WebhookDelivery.Status.DEAD
        delivery.finished_at = now
    else:
        wait = BACKOFF_SECONDS[delivery.attempts - 1]
        spread = 1 + JITTER * (2 * randomness.SystemRandom().random() - 1)
        delivery.next_attempt_at = now + timedelta(seconds=wait * spread)
        if wait * spread < SOON_SECONDS:
            _enqueue(wait * spread)
    endpoint.failing_since = endpoint.failing_since or now
    endpoint.failures += 1
    endpoint.last_failure_at = now
    endpoint.last_error = delivery.last_outcome
    limit = timedelta(hours=configs.get("webhooks.disable_after", None))
    if outcome.gone:
        _disable(endpoint, "It answered 410 Gone.", now)
    elif now - endpoint.failing_since >= limit:
        _disable(endpoint, f"It failed since {endpoint.failing_since:%Y-%m-%d %H:%M} UTC.", now)
    if endpoint.status == Status.DISABLED:
        delivery.status, delivery.finished_at = WebhookDelivery.Status.DEAD, now


def _disable(endpoint: WebhookEndpoint, reason: str, now: datetime) -> None:
    if endpoint.status == Status.DISABLED:
        return
    endpoint.status, endpoint.status_reason = Status.DISABLED, reason
    endpoint.version += 1
    endpoint.deliveries.filter(status=WebhookDelivery.Status.PENDING).update(
        status=WebhookDelivery.Status.DEAD, finished_at=now, claim=None
    )
    log.error(
        "webhook_endpoint_disabled",
        endpoint=str(endpoint.pk),
        enterprise=str(endpoint.enterprise_id),
        reason=reason,
    )


def purge_deliveries(*, now: datetime) -> int:
    """Delete what was delivered 30 days ago, and dead letters of 90 days; return how many.

    What was due 30 days ago, and waits for what is paused or suspended, becomes a dead letter.
    """
    old = Q(status=WebhookDelivery.Status.DELIVERED, finished_at__lt=now - DELIVERED_KEPT) | Q(
        status=WebhookDelivery.Status.DEAD, finished_at__lt=now - DEAD_KEPT
    )
    with atomic():
        WebhookDelivery.objects.filter(
            status=WebhookDelivery.Status.PENDING, next_attempt_at__lt=now - WAIT_KEPT
        ).update(
            status=WebhookDelivery.Status.DEAD,
            finished_at=now,
            claim=None,
            last_error=f"It waited for {WAIT_KEPT.days} days.",
        )
        deleted, _ = WebhookDelivery.objects.filter(old).delete()
    return deleted


def _check(*, url: str | None, events: Sequence[str] | None, description: str | None) -> None:
    errors = []
    if url is not None:
        fault = url_fault(url) or (
            f"At most {LONGEST_URL} characters." if len(url) > LONGEST_URL else ""
        )
        if fault:
            errors.append(FieldError("url", "invalid", fault))
    if events is not None and (not events or set(events) - set(Event.values)):
        errors.append(FieldError("events", "invalid", f"Give some of {', '.join(Event.values)}."))
    if description is not None and len(description) > LONGEST_DESCRIPTION:
        detail = f"At most {LONGEST_DESCRIPTION} characters."
        errors.append(FieldError("description", "too_long", detail))
    if errors:
        raise InvalidInput(errors)


def _start_afresh(endpoint: WebhookEndpoint) -> None:
    endpoint.failing_since, endpoint.failures, endpoint.last_error = None, 0, ""
