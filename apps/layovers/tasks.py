"""Scheduled work on weather and analyses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from celery import shared_task
from django.utils import timezone

from apps.flags.runtime import flags
from apps.layovers import operations
from apps.layovers.models import LayoverAnalysis
from apps.layovers.observing import hubs_in_use, is_due, refresh_weather
from apps.layovers.warming import popular_layovers, warm_popular_caches
from apps.tenants.models import Enterprise
from layoverhq.tenancy import operator_scope

log = structlog.get_logger(__name__)


def weather_is_wanted() -> bool:
    """Return whether any enterprise has the weather in its analyses, or some travellers have.

    A part of the travellers may have it where their enterprise has not: they did within a day.
    """
    living = Enterprise.objects.living().values_list("pk", "subscription_plan")
    answers = [
        flags.evaluate("real_time_weather", tenant_context(str(pk), plan))
        for pk, plan in living.iterator()
    ]
    if any(answer.enabled for answer in answers):
        return True
    is_off = all(answer.reason in ("DISABLED", "ERROR") for answer in answers)
    within_a_day = timezone.now() - timedelta(days=1)
    return (
        not is_off
        and LayoverAnalysis.objects.filter(
            real_time_weather=True, last_accessed__gt=within_a_day
        ).exists()
    )


def tenant_context(enterprise: str, plan: str) -> dict[str, Any]:
    """Return the context of an enterprise without a traveller: it is its own unit of a rollout."""
    return {"user": enterprise, "enterprise": enterprise, "plan": plan}


@shared_task
def refresh_hub_weather(*, airports: list[str] | None = None, **kwargs: Any) -> None:
    """Ask for the weather at these airports, or where it is too old at hubs in use; tell search."""
    with operator_scope():
        now = timezone.now()
        if not weather_is_wanted():
            log.info("weather_not_wanted")
            return
        if airports is None:
            popular = [each.airport for each in popular_layovers(since=now.date(), of_each=0)]
            hubs = hubs_in_use(now=now, popular=popular)
            airports = [airport for airport in hubs if is_due(airport, now=now)]
        had = refresh_weather(airports)
        told = operations.publish_weather(now=timezone.now())
    log.info("hub_weather_refreshed", due=len(airports), had=had, hours_told=told)


@shared_task
def warm_layover_analyses(**kwargs: Any) -> None:
    """Make analyses at the most used layover airports before anybody asks."""
    with operator_scope():
        warmed = warm_popular_caches(real_time_weather=weather_is_wanted(), now=timezone.now())
    log.info("layover_analyses_warmed", analyses=warmed)


@shared_task
def purge_layovers(**kwargs: Any) -> None:
    """Delete old weather, analyses of layovers that are over, and old counts."""
    with operator_scope():
        purged = operations.purge_layovers(now=timezone.now())
    log.info("layovers_purged", **purged)
