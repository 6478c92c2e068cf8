"""Sending what waits: claimed in the database, sent without holding anything there, then noted.

A claim ends by itself: what a killed worker had is due again after the lease. The same message may
then arrive twice, with the same webhook-id, and never from two workers at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import structlog
from django.utils import timezone

from apps.webhooks import sending
from apps.webhooks.models import WebhookDelivery, WebhookEndpoint
from apps.webhooks.operations import record_outcome, secrets_in_force
from apps.webhooks.sending import Outcome
from apps.webhooks.signing import signed_headers
from layoverhq.sealing import CannotOpen
from layoverhq.tenancy import atomic

log = structlog.get_logger(__name__)

BATCH = 32
# Of one endpoint at a time, of all workers together: a slow receiver does not hold up the others.
EACH = 4
THREADS = 8
# More than a batch can take, whose sends are bounded each: sending.MOST_SECONDS.
LEASE = timedelta(minutes=3)
# A task ends before the schedule begins the next.
RUN_SECONDS = 50.0

CLAIM = "select * from claim_webhook_deliveries(%s, %s, %s, %s)"


@dataclass(frozen=True, slots=True)
class _Letter:
    """What one send needs: it runs in a thread, which has no connection to the database."""

    delivery_id: UUID
    url: str
    headers: dict[str, str]
    body: bytes


def deliver_due(*, seconds: float = RUN_SECONDS) -> int:
    """Send what is due, with the operator's role, until nothing is or the time is up.

    Returns how many attempts were made.
    """
    ends_at = time.monotonic() + seconds
    attempts = 0
    while batch := claim_batch():
        attempts += _send(*batch)
        if time.monotonic() >= ends_at:
            break
    return attempts


def claim_batch() -> tuple[UUID, list[WebhookDelivery]] | None:
    """Take what is due for this worker alone, until the lease ends; None if nothing is."""
    claim = uuid4()
    with atomic():
        taken = list(WebhookDelivery.objects.raw(CLAIM, [claim, BATCH, EACH, LEASE]))
    return (claim, taken) if taken else None


def _send(claim: UUID, deliveries: Sequence[WebhookDelivery]) -> int:
    endpoints = WebhookEndpoint.objects.in_bulk({each.endpoint_id for each in deliveries})
    letters = []
    for delivery in deliveries:
        endpoint = endpoints.get(delivery.endpoint_id)
        if endpoint is None:
            # Deleted since, and its deliveries with it.
            continue
        try:
            letters.append(_letter(delivery, endpoint))
        except CannotOpen as error:
            fault = f"Its secret cannot be opened: {error}."
            log.error("webhook_secret_unusable", endpoint=str(endpoint.pk), problem=str(error))
            _record(delivery.pk, claim, Outcome(error=fault))
    with ThreadPoolExecutor(THREADS) as threads:
        sends = {threads.submit(_post, letter): letter for letter in letters}
        for send in as_completed(sends):
            _record(sends[send].delivery_id, claim, send.result())
    return len(deliveries)


def _letter(delivery: WebhookDelivery, endpoint: WebhookEndpoint) -> _Letter:
    now = timezone.now()
    body = delivery.body.encode()
    headers = signed_headers(
        secrets_in_force(endpoint, now),
        message_id=str(delivery.event_id),
        timestamp=int(now.timestamp()),
        body=body,
    )
    return _Letter(delivery.pk, endpoint.url, headers, body)


def _post(letter: _Letter) -> Outcome:
    try:
        return sending.post(letter.url, headers=letter.headers, body=letter.body)
    except Exception as error:
        # One enterprise's address is not to keep a whole batch from being noted.
        log.exception("webhook_sender_failed", delivery=str(letter.delivery_id))
        return Outcome(error=f"{type(error).__name__}: {error}"[: sending.EXCERPT_BYTES])


def _record(delivery_id: UUID, claim: UUID, outcome: Outcome) -> None:
    noted = record_outcome(
        delivery_id=delivery_id, claim=claim, outcome=outcome, now=timezone.now()
    )
    if noted is None:
        log.warning("webhook_claim_lost", delivery=str(delivery_id))
    elif not outcome.delivered:
        log.info(
            "webhook_not_delivered",
            delivery=str(delivery_id),
            attempts=noted.attempts,
            status_code=outcome.status_code,
            error=outcome.error,
        )
