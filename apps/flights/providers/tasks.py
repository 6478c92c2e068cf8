"""Scheduled and queued pulling of offers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import structlog
from celery import shared_task
from django.utils import timezone

from apps.flights.providers import operations, pulling
from apps.flights.providers.models import FlightProvider
from apps.flights.providers.queries import has_work
from layoverhq.tenancy import operator_scope

log = structlog.get_logger(__name__)

# Above a run's budget and its last fetch: whoever hangs longer has lost its way.
SOFT_LIMIT_SECONDS = 400
HARD_LIMIT_SECONDS = 430


def _turn(provider: FlightProvider) -> tuple[bool, int, str]:
    return (provider.consecutive_failures > 0, provider.priority, provider.name)


@shared_task
def pull_due_offers(**kwargs: Any) -> None:
    """Queue a task for each provider with something to fetch.

    By priority, and those that fail after those that answer: they may hold a worker for long.
    """
    now = timezone.now()
    with operator_scope():
        operations.end_pauses(now=now)
        if lost := pulling.end_lost_fetches(now=now):
            log.warning("provider_fetches_lost", fetches=lost)
        for provider in sorted(FlightProvider.objects.all(), key=_turn):
            if has_work(provider, now=now):
                operations.send_pull(provider)


@shared_task(soft_time_limit=SOFT_LIMIT_SECONDS, time_limit=HARD_LIMIT_SECONDS)
def pull_provider_offers(*, provider_id: str, **kwargs: Any) -> None:
    """Fetch what is asked for and what is due of one provider."""
    with operator_scope():
        fetches = pulling.pull_provider(provider_id=UUID(provider_id))
    log.info("provider_pulled", provider=provider_id, fetches=fetches)


@shared_task
def purge_provider_fetches(**kwargs: Any) -> None:
    """Delete fetches, with their rejects, that ended long ago."""
    with operator_scope():
        purged = pulling.purge_fetches(now=timezone.now())
    log.info("provider_fetches_purged", fetches=purged)
