"""Watching saved searches: one alert at a time is taken, its search run, and what is new told.

An alert that is taken is nobody else's until its lease ends, so that what a killed worker had is
checked again. News and the webhooks that tell it are one transaction. The same is never told
twice: a price that is met is news again once it has risen over the threshold by 2 % and falls
anew, or has fallen by 5 % of what was told; a journey is news once.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db.models import Q
from django.utils import timezone

from apps.configs.runtime import configs
from apps.flights.queries import search_flights
from apps.tenants.homes import home_scope
from apps.trips.models import AlertEvent, PriceAlert, SavedSearch
from apps.trips.searches import is_over, narrowed, watched
from apps.webhooks.models import Event
from apps.webhooks.operations import notify
from layoverhq.errors import DomainError, InvalidInput
from layoverhq.tenancy import TenantRef

log = structlog.get_logger(__name__)

State = PriceAlert.State
RUNNING = (State.WATCHING, State.MET)

# Percent of the threshold that a price must rise over it before its fall is news again.
REARM_PERCENT = 2
# Percent that a met price must fall further to be news.
STEP_PERCENT = 5
# Of the cheapest so many offers the new ones are found, and told with the first few.
OFFERS_READ = 100
OFFERS_TOLD = 10
JOURNEYS_REMEMBERED = 1000
LEASE = timedelta(minutes=5)
# What one enterprise may take before others have their turn.
RUN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Taken:
    """An alert to be checked, as it was when it was taken."""

    alert_id: UUID
    version: int
    query: str
    looks_for_price: bool


@dataclass(frozen=True, slots=True)
class Sight:
    """What a check saw: offers by price; or why it saw none."""

    offers: tuple[dict[str, Any], ...] = ()
    problem: str = ""
    is_over: bool = False


def check_due_alerts(*, tenant: TenantRef, seconds: float = RUN_SECONDS) -> int:
    """Check an enterprise's due alerts, the longest waiting first, until the time is up.

    Returns how many were checked.
    """
    ends_at = time.monotonic() + seconds
    checked = 0
    while taken := take_alert(tenant=tenant, now=timezone.now()):
        sight = look(tenant, taken, now=timezone.now())
        settle(tenant=tenant, taken=taken, sight=sight, now=timezone.now())
        checked += 1
        if time.monotonic() >= ends_at:
            break
    return checked


def take_alert(*, tenant: TenantRef, now: datetime) -> Taken | None:
    """Take the alert that is due longest, for the lease; None if there is none."""
    with home_scope(tenant):
        alert = (
            PriceAlert.objects.select_for_update(skip_locked=True)
            .filter(enterprise_id=tenant.id, state__in=RUNNING, next_check_at__lte=now)
            .order_by("next_check_at", "id")
            .first()
        )
        if alert is None:
            return None
        search = SavedSearch.objects.get(enterprise_id=tenant.id, pk=alert.saved_search_id)
        alert.next_check_at = now + LEASE
        alert.save(update_fields=["next_check_at"])
        query = narrowed(search.query, alert.layovers)
        return Taken(alert.pk, alert.version, query, alert.threshold_minor is not None)


def look(tenant: TenantRef, taken: Taken, *, now: datetime) -> Sight:
    """Run the alert's search, in a transaction of its own, cheapest first."""
    limit = OFFERS_TOLD if taken.looks_for_price else OFFERS_READ
    try:
        body = search_flights(tenant, watched(taken.query, limit=limit, now=now))
    except InvalidInput as error:
        return Sight(problem=error.detail, is_over=is_over(error))
    except DomainError as error:
        return Sight(problem=error.detail)
    return Sight(tuple(json.loads(body)["results"]))


def settle(*, tenant: TenantRef, taken: Taken, sight: Sight, now: datetime) -> AlertEvent | None:
    """Note what was seen, and tell what of it is news; None where nothing is.

    An alert that was changed meanwhile is left for its next check.
    """
    interval = timedelta(minutes=configs.get("alerts.check_interval", tenant))
    with home_scope(tenant) as home:
        alert = (
            PriceAlert.objects.select_for_update()
            .filter(
                Q(state__in=RUNNING),
                enterprise_id=tenant.id,
                pk=taken.alert_id,
                version=taken.version,
            )
            .first()
        )
        if alert is None:
            return None
        alert.checked_at, alert.next_check_at = now, now + interval
        alert.problem = sight.problem
        news: tuple[str, list[dict[str, Any]]] | None = None
        if sight.is_over:
            alert.state = State.ENDED
            news = (Event.ALERT_ENDED, [])
        elif not sight.problem:
            news = _news(alert, list(sight.offers))
        alert.save()
        return _tell(home, alert, *news, now=now) if news else None


def _news(
    alert: PriceAlert, offers: list[dict[str, Any]]
) -> tuple[str, list[dict[str, Any]]] | None:
    """Change the alert by what was seen; return the event and its offers, if it is news."""
    best = offers[0] if offers else None
    alert.best_offer = best
    alert.best_price_minor = best["price_minor"] if best else None
    if alert.threshold_minor is None:
        return _layover_news(alert, offers)
    return _price_news(alert, alert.threshold_minor, offers)


def _price_news(
    alert: PriceAlert, threshold: int, offers: list[dict[str, Any]]
) -> tuple[str, list[dict[str, Any]]] | None:
    price = alert.best_price_minor
    # Offers that are gone for a while and come back at the same price are no news.
    if price is None:
        return None
    if price > threshold:
        if price * 100 > threshold * (100 + REARM_PERCENT):
            alert.state, alert.told_price_minor = State.WATCHING, None
        return None
    told = alert.told_price_minor
    if told is not None and price * 100 > told * (100 - STEP_PERCENT):
        return None
    alert.state, alert.told_price_minor = State.MET, price
    return Event.ALERT_PRICE, [offer for offer in offers if offer["price_minor"] <= threshold]


def _layover_news(
    alert: PriceAlert, offers: list[dict[str, Any]]
) -> tuple[str, list[dict[str, Any]]] | None:
    alert.state = State.MET if offers else State.WATCHING
    known = set(alert.seen)
    fresh: dict[str, dict[str, Any]] = {}
    for offer in offers:
        key = journey(offer)
        if key not in known:
            fresh.setdefault(key, offer)
    alert.seen = [*fresh, *alert.seen][:JOURNEYS_REMEMBERED]
    return (Event.ALERT_LAYOVER, list(fresh.values())) if fresh else None


def journey(offer: dict[str, Any]) -> str:
    """Return what two offers of the same flights have in common, whoever sells them and when."""
    flown = [
        [
            segment.get(name)
            for name in (
                "carrier",
                "flight_number",
                "origin",
                "destination",
                "departs_at",
                "arrives_at",
            )
        ]
        for segment in offer["segments"]
    ]
    return hashlib.blake2b(json.dumps(flown).encode(), digest_size=12).hexdigest()


def _tell(
    home: TenantRef,
    alert: PriceAlert,
    event: str,
    offers: list[dict[str, Any]],
    *,
    now: datetime,
) -> AlertEvent:
    told = offers[:OFFERS_TOLD]
    entry = AlertEvent.objects.create(
        enterprise_id=home.id,
        alert=alert,
        event=event,
        price_minor=told[0]["price_minor"] if told else None,
        offers=told,
        offer_count=len(offers),
        occurred_at=now,
    )
    search = SavedSearch.objects.get(enterprise_id=home.id, pk=alert.saved_search_id)
    notify(
        tenant=home,
        event=event,
        data={
            "alert_id": alert.pk,
            "alert_event_id": entry.pk,
            "saved_search_id": search.pk,
            "traveller_id": search.traveller_id,
            "threshold_minor": alert.threshold_minor,
            "layovers": alert.layovers,
            "price_minor": entry.price_minor,
            "price_currency": told[0]["price_currency"] if told else None,
            "offer_count": entry.offer_count,
            "offers": told,
        },
        now=now,
    )
    log.info("alert_news", alert=str(alert.pk), news=event, offers=entry.offer_count)
    return entry
