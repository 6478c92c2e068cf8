"""Reads: what is due, how a provider stands, what its log comes to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from django.db import connections
from django.db.models import Q, Sum

from apps.configs.runtime import configs
from apps.flights.providers.credentials import credentials_of
from apps.flights.providers.models import FlightProvider, ProviderFetch
from apps.flights.providers.quotas import MinuteQuota
from layoverhq.circuits import Circuit, CircuitBreaker, State
from layoverhq.remote import RemoteFault
from layoverhq.tenancy import current_alias

# A day that could not be fetched is tried again after this, or at its interval if that is less.
RETRY_FAILED_MINUTES: Final = 15
MOST_DUE: Final = 500

# A day is due when its last answer is older than the plan's interval, whoever asked for it; one
# that is being fetched, or failed a moment ago, is not yet. Days are the origin's own.
DUE: Final = """
select d.origin, d.destination, d.day, d.enterprise_id
from (
    select r.provider_id, r.enterprise_id, r.origin, r.destination, r.every_minutes,
        (%(now)s::timestamptz at time zone a.time_zone)::date + shift as day
    from provider_routes r
    join airports a on a.iata = r.origin
    left join enterprises e on e.id = r.enterprise_id
    cross join generate_series(1, r.days_ahead) as shift
    where r.provider_id = %(provider)s and r.is_active
        and (e.id is null or e.status = 'active')
) as d
cross join lateral (
    select
        max(f.started_at) filter (where f.status = 'done') as done_at,
        max(f.started_at) filter (where f.status <> 'done') as tried_at
    from provider_fetches f
    where f.provider_id = d.provider_id and f.origin = d.origin
        and f.destination = d.destination and f.day = d.day
        and f.enterprise_id is not distinct from d.enterprise_id
) as last
where (last.done_at is null or last.done_at <= %(now)s - make_interval(mins => d.every_minutes))
    and (
        last.tried_at is null or last.tried_at < last.done_at
        or last.tried_at <= %(now)s - make_interval(mins => least(%(retry)s, d.every_minutes))
    )
order by last.done_at nulls first, d.day, d.origin, d.destination
limit %(most)s
"""

FRESH: Final = """
select r.id,
    count(*) filter (
        where last.done_at > %(now)s - make_interval(mins => 2 * r.every_minutes)
    ),
    min(last.done_at), max(last.done_at)
from provider_routes r
join airports a on a.iata = r.origin
cross join generate_series(1, r.days_ahead) as shift
cross join lateral (
    select max(f.started_at) as done_at
    from provider_fetches f
    where f.provider_id = r.provider_id and f.origin = r.origin
        and f.destination = r.destination and f.status = 'done'
        and f.day = (%(now)s::timestamptz at time zone a.time_zone)::date + shift
        and f.enterprise_id is not distinct from r.enterprise_id
) as last
where r.id = any(%(routes)s)
group by r.id
"""

HISTORY: Final = """
select date_trunc(%(step)s, created_at, 'UTC') as at,
    count(*) filter (where status = 'done'), count(*) filter (where status = 'failed')
from provider_fetches
where provider_id = %(provider)s and created_at >= %(since)s
group by at
order by at
"""


@dataclass(frozen=True, slots=True)
class DueFetch:
    """A route and day whose last answer is too old."""

    origin: str
    destination: str
    day: date
    enterprise_id: UUID | None


def due_fetches(provider_id: UUID, *, now: datetime, most: int = MOST_DUE) -> list[DueFetch]:
    """Return what the plan wants of a provider, what was never fetched first."""
    parameters = {
        "provider": provider_id,
        "now": now,
        "retry": RETRY_FAILED_MINUTES,
        "most": most,
    }
    return [DueFetch(*row) for row in _rows(DUE, parameters)]


def has_work(provider: FlightProvider, *, now: datetime) -> bool:
    """Return whether somebody waits for a fetch, or the plan has one due that may be made."""
    waiting = ProviderFetch.objects.filter(
        provider=provider, status=ProviderFetch.Status.QUEUED
    ).exists()
    if waiting:
        return True
    if situation(provider, now).standing in LEFT_ALONE:
        return False
    return bool(due_fetches(provider.pk, now=now, most=1))


@dataclass(frozen=True, slots=True)
class Freshness:
    """How many days of a route have an answer of the last two intervals; the oldest and newest."""

    days: int
    oldest_at: datetime | None
    newest_at: datetime | None


def freshness(routes: Iterable[UUID], *, now: datetime) -> dict[UUID, Freshness]:
    """Return how fresh each row of the plan is."""
    rows = _rows(FRESH, {"routes": list(routes), "now": now})
    return {row[0]: Freshness(*row[1:]) for row in rows}


def fetch_history(
    provider_id: UUID, *, since: datetime, step: str
) -> dict[datetime, tuple[int, int]]:
    """Return the fetches that were done and that failed, by hour or day (UTC)."""
    rows = _rows(HISTORY, {"provider": provider_id, "since": since, "step": step})
    return {at: (done, failed) for at, done, failed in rows}


def requests_today(provider: FlightProvider, now: datetime) -> int:
    """Return how often a provider was asked since midnight UTC."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    # One that began yesterday and ended today counts where it began.
    total = ProviderFetch.objects.filter(provider=provider, created_at__gte=midnight).aggregate(
        total=Sum("requests")
    )["total"]
    return total or 0


def circuit_breaker(provider: FlightProvider) -> CircuitBreaker:
    """Return the provider's breaker, as configuration has it now."""
    failures, cool_down = configs.together(
        "provider.circuit_failures", "provider.circuit_cool_down"
    )
    return CircuitBreaker(provider.name, failures=failures, cool_down=timedelta(seconds=cool_down))


class Standing(StrEnum):
    """What holds for a provider, the gravest first."""

    PAUSED = "paused"
    NO_CREDENTIALS = "no_credentials"
    OPEN = "open"
    THROTTLED = "throttled"
    DEGRADED = "degraded"
    UNUSED = "unused"
    HEALTHY = "healthy"


# While one of these holds the provider is asked by nobody.
LEFT_ALONE: Final = frozenset({Standing.PAUSED, Standing.OPEN, Standing.THROTTLED})


@dataclass(frozen=True, slots=True)
class Situation:
    """How a provider stands and why, in words; `is_shared` is false while Valkey is away."""

    standing: Standing
    told: str
    circuit: Circuit
    circuit_state: State
    is_shared: bool


def situation(provider: FlightProvider, now: datetime) -> Situation:
    """Return how a provider stands."""
    circuit, is_shared = circuit_breaker(provider).look()
    state = circuit.state(now)
    standing, told = _standing(provider, circuit, state, now)
    return Situation(standing, told, circuit, state, is_shared)


def _standing(
    provider: FlightProvider, circuit: Circuit, state: State, now: datetime
) -> tuple[Standing, str]:
    if provider.is_paused(now):
        until = (
            f"until {_clock(provider.paused_until)}" if provider.paused_until else "until resumed"
        )
        return Standing.PAUSED, f"Paused {until}: {provider.pause_reason}"
    try:
        credentials_of(provider.kind)
    except RemoteFault as fault:
        return Standing.NO_CREDENTIALS, fault.detail
    if state is State.OPEN:
        told = f"Left alone until {_clock(circuit.retry_at)} after {circuit.failures} failures."
        return Standing.OPEN, told
    if provider.is_throttled(now):
        return Standing.THROTTLED, f"It said to come back at {_clock(provider.retry_at)}."
    if state is State.HALF_OPEN:
        told = f"Open after {circuit.failures} failures: the next fetch tries whether it is back."
        return Standing.DEGRADED, told
    if provider.consecutive_failures:
        number = provider.consecutive_failures
        told = "The last fetch failed." if number == 1 else f"The last {number} fetches failed."
        return Standing.DEGRADED, told
    if provider.last_success_at is None:
        return Standing.UNUSED, "It has not been asked yet."
    return Standing.HEALTHY, f"It last answered at {_clock(provider.last_success_at)}."


def troubled_providers(now: datetime) -> list[FlightProvider]:
    """Return the providers that the plan needs and that cannot be asked, or do not answer well.

    From the database alone: the sidebar of every page asks.
    """
    planned = FlightProvider.objects.filter(routes__is_active=True, pause_reason="").distinct()
    return list(planned.filter(Q(consecutive_failures__gt=0) | Q(retry_at__gt=now)))


def minute_quota(provider: FlightProvider) -> MinuteQuota:
    """Return the provider's bucket of the minute."""
    return MinuteQuota(provider.name, provider.quota_per_minute)


def _clock(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else "—"


def _rows(statement: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(statement, parameters)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found
