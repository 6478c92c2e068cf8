"""What operators do with providers: their settings, pauses, the pull plan, fetches at once.

All run with the operator's role.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

import structlog
from celery import current_app
from django.db import transaction

from apps.flights.airports import airports
from apps.flights.money import CURRENCIES
from apps.flights.offers.normalised import PROVIDER, zone_of
from apps.flights.providers.credentials import credentials_of
from apps.flights.providers.models import FlightProvider, ProviderFetch, ProviderRoute
from apps.flights.providers.queries import LEFT_ALONE, circuit_breaker, situation
from apps.tenants.models import Enterprise, User
from layoverhq.errors import Conflict, DomainError, FieldError, InvalidInput
from layoverhq.remote import RemoteFault
from layoverhq.tenancy import atomic, current_alias

log = structlog.get_logger(__name__)

PULL_TASK: Final = "apps.flights.providers.tasks.pull_provider_offers"
# Queued later than this it would find its work done by the next tick's.
PULL_EXPIRES_SECONDS: Final = 55
MOST_DAYS_AHEAD: Final = 330
SHORTEST_INTERVAL_MINUTES: Final = 15
LONGEST_INTERVAL_MINUTES: Final = 10_080

_MARKET = re.compile(r"[A-Z]{2}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}", re.ASCII)


class CannotFetch(DomainError):
    """The provider cannot be asked now."""

    code = "cannot_fetch"
    status = 409


def save_provider(*, provider: FlightProvider, actor: User | None) -> FlightProvider:
    """Add a provider, or change its settings; name and kind never change.

    Raises InvalidInput of each field at fault, and Conflict of a name that is taken.
    """
    with atomic():
        standing = FlightProvider.objects.select_for_update().filter(pk=provider.pk).first()
        faults = _provider_faults(provider, standing)
        if faults:
            raise InvalidInput(faults)
        taken = FlightProvider.objects.filter(name=provider.name).exclude(pk=provider.pk)
        if taken.exists():
            detail = "A provider has this name already."
            raise Conflict(detail, [FieldError("name", "conflict", detail)])
        if standing is None:
            provider.save(force_insert=True)
        else:
            # What fetches note meanwhile is not this form's to write.
            provider.save(
                update_fields=[
                    "base_url",
                    "priority",
                    "quota_per_minute",
                    "quota_per_day",
                    "market",
                    "currency",
                    "updated_at",
                ]
            )
        return provider


def _provider_faults(provider: FlightProvider, standing: FlightProvider | None) -> list[FieldError]:
    faults = []

    def refuse(field: str, detail: str) -> None:
        faults.append(FieldError(field, "invalid", detail))

    if standing is not None and (standing.name, standing.kind) != (provider.name, provider.kind):
        refuse("name", "Name and kind never change: its offers are known by them.")
    if not PROVIDER.fullmatch(provider.name):
        refuse("name", "Use up to 50 small letters, digits, dots, hyphens and underscores.")
    if provider.kind not in FlightProvider.Kind.values:
        refuse("kind", f"Choose from {', '.join(FlightProvider.Kind.values)}.")
    provider.base_url = provider.base_url.strip().rstrip("/")
    if fault := _address_fault(provider.base_url):
        refuse("base_url", fault)
    if not -32_768 <= provider.priority <= 32_767:
        refuse("priority", "Between -32,768 and 32,767.")
    for field in ("quota_per_minute", "quota_per_day"):
        quota = getattr(provider, field)
        if quota is not None and not 1 <= quota <= 10_000_000:
            refuse(field, "1 to 10,000,000 requests, or empty.")
    provider.market = provider.market.strip().upper()
    if provider.market and not _MARKET.fullmatch(provider.market):
        refuse("market", "Two letters of a country, such as DE.")
    provider.currency = provider.currency.strip().upper()
    if provider.currency not in CURRENCIES:
        refuse("currency", "This is no currency of ISO 4217.")
    return faults


def _address_fault(address: str) -> str:
    """Say what is wrong with an address; credentials go there, and so only over TLS."""
    try:
        parts = urlsplit(address)
        port_stands = parts.port is None or parts.port > 0
    except ValueError:
        return "This is no address."
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host or not port_stands:
        return "Give an address such as https://test.api.amadeus.com."
    if parts.path or parts.query or parts.fragment or parts.username or parts.password:
        return "Give the address without a path, a query and credentials."
    if not _HOST.fullmatch(parts.netloc):
        return "This host cannot be asked."
    if parts.scheme == "http" and not _is_loopback(host):
        return "Use https: credentials are sent there."
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def pause_provider(
    *, provider: FlightProvider, reason: str, until: datetime | None, now: datetime
) -> FlightProvider:
    """Leave a provider alone, until a time or until it is resumed. Raises InvalidInput."""
    if not reason.strip():
        raise InvalidInput.of("reason", "Say why.", code="required")
    if until is not None and until <= now:
        raise InvalidInput.of("until", "This has passed: give a time to come, or none.")
    with atomic():
        locked = FlightProvider.objects.select_for_update().get(pk=provider.pk)
        locked.pause_reason, locked.paused_until = reason.strip(), until
        locked.save(update_fields=["pause_reason", "paused_until", "updated_at"])
    log.warning("provider_paused", provider=locked.name, reason=locked.pause_reason)
    return locked


def resume_provider(*, provider: FlightProvider) -> FlightProvider:
    """Follow its plan again, whatever it said about coming back later."""
    with atomic():
        locked = FlightProvider.objects.select_for_update().get(pk=provider.pk)
        locked.pause_reason, locked.paused_until, locked.retry_at = "", None, None
        locked.save(update_fields=["pause_reason", "paused_until", "retry_at", "updated_at"])
    log.info("provider_resumed", provider=locked.name)
    return locked


def end_pauses(*, now: datetime) -> int:
    """Resume the providers whose pause is over; return how many."""
    ended = 0
    for provider in FlightProvider.objects.filter(paused_until__lte=now):
        resume_provider(provider=provider)
        ended += 1
    return ended


def close_circuit(*, provider: FlightProvider) -> FlightProvider:
    """Let a provider be asked at once, although it failed again and again."""
    circuit_breaker(provider).reset()
    with atomic():
        FlightProvider.objects.filter(pk=provider.pk).update(retry_at=None)
    return provider


def save_route(*, route: ProviderRoute, actor: User | None) -> ProviderRoute:
    """Add a row of the pull plan, or change one.

    Raises InvalidInput of each field at fault, and Conflict where the provider has the route.
    """
    with atomic():
        if faults := _route_faults(route):
            raise InvalidInput(faults)
        same = ProviderRoute.objects.filter(
            provider=route.provider_id,
            origin=route.origin,
            destination=route.destination,
            enterprise=route.enterprise_id,
        )
        if same.exclude(pk=route.pk).exists():
            detail = "The plan has this route of this provider already."
            raise Conflict(detail, [FieldError("origin", "conflict", detail)])
        route.save()
        return route


def _route_faults(route: ProviderRoute) -> list[FieldError]:
    faults = []

    def refuse(field: str, detail: str) -> None:
        faults.append(FieldError(field, "invalid", detail))

    route.origin, route.destination = (
        route.origin.strip().upper(),
        route.destination.strip().upper(),
    )
    for field in ("origin", "destination"):
        if getattr(route, field) not in airports.get():
            refuse(field, "We know no such airport, or it is not active.")
    if route.origin == route.destination:
        refuse("destination", "A journey ends elsewhere than where it begins.")
    if not 1 <= route.days_ahead <= MOST_DAYS_AHEAD:
        refuse("days_ahead", f"1 to {MOST_DAYS_AHEAD} days.")
    if not SHORTEST_INTERVAL_MINUTES <= route.every_minutes <= LONGEST_INTERVAL_MINUTES:
        refuse(
            "every_minutes",
            f"{SHORTEST_INTERVAL_MINUTES} to {LONGEST_INTERVAL_MINUTES:,} minutes.",
        )
    if route.enterprise is not None and route.enterprise.status != Enterprise.Status.ACTIVE:
        refuse("enterprise", "This enterprise is not active.")
    return faults


def set_routes_active(*, routes: Sequence[ProviderRoute], is_active: bool) -> None:
    """Take rows of the plan in, or leave them out."""
    with atomic():
        for route in routes:
            route.is_active = is_active
            route.save(update_fields=["is_active", "updated_at"])


def request_fetch(
    *,
    provider: FlightProvider,
    origin: str,
    destination: str,
    day: date,
    enterprise: Enterprise | None = None,
    now: datetime,
) -> ProviderFetch:
    """Queue a fetch for a route and day, ahead of what is due.

    Raises InvalidInput, and CannotFetch of a provider that is paused or left alone.
    """
    origin, destination = origin.strip().upper(), destination.strip().upper()
    faults = [
        FieldError(field, "invalid", "We know no such airport, or it is not active.")
        for field, code in (("origin", origin), ("destination", destination))
        if code not in airports.get()
    ]
    if origin == destination:
        detail = "A journey ends elsewhere than where it begins."
        faults.append(FieldError("destination", "invalid", detail))
    # By the origin's calendar, as the plan's.
    zone = airports.get().get(origin)
    today = now.astimezone(zone_of(zone) if zone else UTC).date()
    if not today <= day <= today + timedelta(days=MOST_DAYS_AHEAD):
        detail = f"From today to {MOST_DAYS_AHEAD} days ahead."
        faults.append(FieldError("day", "invalid", detail))
    if faults:
        raise InvalidInput(faults)
    stands = situation(provider, now)
    if stands.standing in LEFT_ALONE:
        raise CannotFetch(f"{provider}: {stands.told}")
    try:
        credentials_of(provider.kind, enterprise)
    except RemoteFault as fault:
        raise CannotFetch(f"{provider}: {fault.detail}") from fault
    with atomic():
        fetch = ProviderFetch.objects.create(
            provider=provider,
            enterprise=enterprise,
            origin=origin,
            destination=destination,
            day=day,
            status=ProviderFetch.Status.QUEUED,
            created_at=now,
        )
        # If the broker is away, the schedule finds it.
        transaction.on_commit(lambda: send_pull(provider), using=current_alias(), robust=True)
    return fetch


def send_pull(provider: FlightProvider) -> None:
    """Queue a worker's turn with a provider."""
    current_app.send_task(
        PULL_TASK, kwargs={"provider_id": str(provider.pk)}, expires=PULL_EXPIRES_SECONDS
    )
