"""Pulling offers: what operators asked for and what the plan wants, one provider a task.

Nothing is lost with a worker that dies: what is due follows from the last answer that was stored,
and an answer is stored whole, in one transaction, or not at all. With the operator's role.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import psycopg
import structlog
from django.db import connections
from django.db.models import F
from django.db.utils import DatabaseError
from django.utils import timezone

from apps.configs.runtime import configs
from apps.flights.airports import airports, ground
from apps.flights.offers.normalised import NormalisedOffer
from apps.flights.offers.staging import COLUMNS, staging_lines
from apps.flights.providers.adapters import ADAPTERS, Journey, ProviderAdapter, Rejected
from apps.flights.providers.credentials import credentials_of
from apps.flights.providers.models import FlightProvider, ProviderFetch, ProviderReject
from apps.flights.providers.queries import (
    LEFT_ALONE,
    DueFetch,
    Standing,
    circuit_breaker,
    due_fetches,
    minute_quota,
    requests_today,
    situation,
)
from apps.flights.sole import sole
from layoverhq.remote import OUTAGES, Limits, RemoteClient, RemoteFault
from layoverhq.tenancy import TenantRef, atomic, current_alias

log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]
Status = ProviderFetch.Status

# A run ends at its next fetch after this; the next tick goes on.
RUN_BUDGET: Final = timedelta(seconds=100)
# Who says “too many” without a time is left alone this long.
THROTTLED_FOR: Final = timedelta(minutes=1)
LONGEST_THROTTLE: Final = timedelta(days=1)
# No run lasts longer: what is still open then was its worker's end.
LOST_AFTER: Final = timedelta(minutes=10)
KEPT_FOR: Final = timedelta(days=30)
# The table keeps no more of one answer; all are counted.
REJECTS_KEPT: Final = 1_000
LONGEST_ERROR: Final = 500
# What it said, or did not say, and operators should see of it.
FROM_PROVIDER: Final = OUTAGES | {
    "throttled", "unauthorised", "refused", "nothing_usable", "not_stored",
}  # fmt: skip

COPY_OFFERS: Final = f"copy pg_temp.imported_offers ({COLUMNS}) from stdin"
STORE: Final = (
    "select inserted, updated, unchanged, withdrawn, duplicates from store_provider_offers(%s)"
)


def pull_provider(
    *, provider_id: UUID, clock: Clock = timezone.now, budget: timedelta = RUN_BUDGET
) -> int:
    """Fetch what is asked for and what is due of a provider; return how many fetches it took.

    Another worker that is at it already is left alone.
    """
    with sole(f"pull offers {provider_id}") as alone:
        if not alone:
            log.info("provider_busy", provider=str(provider_id))
            return 0
        return _Run(provider_id, clock, clock() + budget).take_turns()


@dataclass(slots=True)
class _Run:
    """One worker's turn with a provider."""

    provider_id: UUID
    clock: Clock
    ends_at: datetime

    def take_turns(self) -> int:
        taken = 0
        # Whose credentials are refused is not tried again in this run.
        refused: set[UUID | None] = set()
        due: Iterator[DueFetch] | None = None
        while self.clock() < self.ends_at:
            provider = FlightProvider.objects.get(pk=self.provider_id)
            asked = self._asked_for()
            if why := self._obstacle(provider):
                if asked is None:
                    log.info("provider_left_alone", provider=provider.name, why=why.code)
                    break
                _close(asked, why, self.clock())
                continue
            if asked is None and due is None:
                # After what was asked for, which is not due again then.
                due = iter(due_fetches(self.provider_id, now=self.clock()))
            fetch = asked or self._next_due(provider, due or iter(()), refused)
            if fetch is None:
                break
            taken += 1
            fault = run_fetch(fetch=fetch, clock=self.clock)
            if fault is not None and fault.code == "unauthorised":
                refused.add(fetch.enterprise_id)
            if fault is not None and fault.code == "timeout":
                # Whoever hangs gets one chance a turn: the worker is for the others too.
                break
        return taken

    def _asked_for(self) -> ProviderFetch | None:
        waiting = ProviderFetch.objects.filter(provider=self.provider_id, status=Status.QUEUED)
        return waiting.order_by("id").first()

    def _obstacle(self, provider: FlightProvider) -> RemoteFault | None:
        """Return why the provider is not asked now, if so."""
        now = self.clock()
        stands = situation(provider, now)
        if stands.standing in LEFT_ALONE:
            return RemoteFault(OBSTACLES[stands.standing], stands.told)
        if provider.quota_per_day and requests_today(provider, now) >= provider.quota_per_day:
            return RemoteFault("quota", "The requests of this day are used up.")
        if minute_quota(provider).left(now) == 0:
            return RemoteFault("quota", "The requests of this minute are used up.")
        return None

    def _next_due(
        self, provider: FlightProvider, due: Iterator[DueFetch], refused: set[UUID | None]
    ) -> ProviderFetch | None:
        for wanted in due:
            if wanted.enterprise_id in refused:
                continue
            try:
                credentials_of(provider.kind, _buyer(wanted.enterprise_id))
            except RemoteFault as fault:
                log.info("provider_left_alone", provider=provider.name, why=fault.code)
                refused.add(wanted.enterprise_id)
                continue
            return ProviderFetch.objects.create(
                provider=provider,
                enterprise_id=wanted.enterprise_id,
                origin=wanted.origin,
                destination=wanted.destination,
                day=wanted.day,
                status=Status.RUNNING,
                created_at=self.clock(),
            )
        return None


OBSTACLES: Final = {
    Standing.PAUSED: "paused",
    Standing.OPEN: "circuit_open",
    Standing.THROTTLED: "throttled",
}


def run_fetch(*, fetch: ProviderFetch, clock: Clock = timezone.now) -> RemoteFault | None:
    """Ask the provider, store its answer, and note how it went; return the fault, if any."""
    provider = FlightProvider.objects.get(pk=fetch.provider_id)
    ProviderFetch.objects.filter(pk=fetch.pk).update(status=Status.RUNNING, started_at=clock())
    meter = _Meter(fetch, provider, clock)
    breaker = circuit_breaker(provider)
    try:
        credentials = credentials_of(provider.kind, _buyer(fetch.enterprise_id))
        with breaker.asking(clock), _client(provider, meter, credentials, clock) as client:
            adapter = ADAPTERS[provider.kind](
                name=provider.name,
                client=client,
                credentials=credentials,
                market=provider.market,
                currency=provider.currency,
                clock=clock,
            )
            answer = _Answer.of(adapter, Journey(fetch.origin, fetch.destination, fetch.day))
        counts = _store(fetch, answer)
    except RemoteFault as fault:
        _close(fetch, fault, clock())
        _blame(fetch, fault, clock())
        return fault
    _end_done(fetch, counts, len(answer.rejected), clock())
    return None


@dataclass(slots=True)
class _Meter:
    """Counts the requests of a fetch, against the provider's quotas."""

    fetch: ProviderFetch
    provider: FlightProvider
    clock: Clock

    def admit(self) -> None:
        """Let one more request pass. Raises RemoteFault: quota."""
        now = self.clock()
        day = self.provider.quota_per_day
        if day is not None and requests_today(self.provider, now) >= day:
            raise RemoteFault("quota", "The requests of this day are used up.")
        if not minute_quota(self.provider).take(now):
            raise RemoteFault("quota", "The requests of this minute are used up.")
        # Counted before it is sent: one whose worker dies was sent all the same.
        ProviderFetch.objects.filter(pk=self.fetch.pk).update(requests=F("requests") + 1)


@dataclass(slots=True)
class _Answer:
    """What an answer came to; the numbers are the places in it."""

    offers: list[tuple[int, NormalisedOffer]]
    rejected: list[Rejected]

    @classmethod
    def of(cls, adapter: ProviderAdapter, journey: Journey) -> _Answer:
        """Ask, and read all of the answer."""
        raw = adapter.search(journey)
        answer = cls([], [])
        for position, read in enumerate(adapter.offers(raw, journey, airports.get())):
            if isinstance(read, Rejected):
                answer.rejected.append(read)
            else:
                answer.offers.append((position, read))
        return answer


def _client(
    provider: FlightProvider, meter: _Meter, credentials: tuple[str, ...], clock: Clock
) -> RemoteClient:
    connect, read, total, attempts, megabytes = configs.together(
        "provider.connect_timeout",
        "provider.read_timeout",
        "provider.total_timeout",
        "provider.attempts",
        "provider.answer_megabytes",
    )
    limits = Limits(connect, read, total, attempts, int(megabytes * 1_000_000))
    return RemoteClient(
        provider.base_url, limits, clock=clock, admit=meter.admit, secrets=credentials
    )


def _store(fetch: ProviderFetch, answer: _Answer) -> tuple[int, int, int, int, int]:
    """Store an answer in one transaction, with what was refused of it.

    Raises RemoteFault: nothing_usable, enterprise_leaving, not_stored. Where all of an answer is
    refused what stands is left alone: the format has changed, or our reading of it is wrong.
    """
    if answer.rejected and not answer.offers:
        _keep_rejects(fetch, answer.rejected)
        reasons = sorted({rejected.refusal.reason for rejected in answer.rejected})
        raise RemoteFault("nothing_usable", f"All of it was refused: {', '.join(reasons)}.")
    try:
        _ensure_partitions(fetch.day)
        with atomic(), connections[current_alias()].cursor() as cursor:
            cursor.execute("select open_import_staging()")
            with cursor.copy(COPY_OFFERS) as copy:
                for line in staging_lines(answer.offers, known=ground.get()):
                    copy.write(line)
            cursor.execute(STORE, [fetch.pk])
            counts: tuple[int, int, int, int, int] = cursor.fetchone()
            _keep_rejects(fetch, answer.rejected)
            return counts
    except DatabaseError as error:
        if isinstance(error.__cause__, psycopg.errors.ObjectNotInPrerequisiteState):
            detail = "The enterprise takes no offers."
            raise RemoteFault("enterprise_leaving", detail) from error
        if isinstance(error.__cause__, psycopg.OperationalError):
            raise
        # One answer that the database refuses must not keep the others from being fetched.
        log.exception("provider_answer_not_stored", fetch=str(fetch.pk))
        raise RemoteFault("not_stored", f"The database refused it: {error}") from error


def _keep_rejects(fetch: ProviderFetch, rejected: list[Rejected]) -> None:
    ProviderReject.objects.bulk_create(
        ProviderReject(
            fetch=fetch,
            position=each.position,
            reason=each.refusal.reason,
            field=_storable(each.refusal.field),
            detail=_storable(each.refusal.detail),
            excerpt=each.excerpt,
        )
        for each in rejected[:REJECTS_KEPT]
    )
    ProviderFetch.objects.filter(pk=fetch.pk).update(rejected=len(rejected))


def _ensure_partitions(day: date) -> None:
    with atomic(), connections[current_alias()].cursor() as cursor:
        for parent in ("flights", "flight_layovers"):
            cursor.execute("select ensure_month_partitions(%s, %s, %s)", [parent, day, day])


def _end_done(
    fetch: ProviderFetch, counts: tuple[int, int, int, int, int], rejected: int, now: datetime
) -> None:
    inserted, updated, unchanged, withdrawn, duplicates = counts
    with atomic():
        ProviderFetch.objects.filter(pk=fetch.pk).update(
            status=Status.DONE,
            finished_at=now,
            inserted=inserted,
            updated=updated,
            unchanged=unchanged,
            withdrawn=withdrawn,
            duplicates=duplicates,
        )
        FlightProvider.objects.filter(pk=fetch.provider_id).update(
            last_success_at=now, consecutive_failures=0, retry_at=None
        )
    log.info(
        "provider_fetched",
        fetch=str(fetch.pk),
        inserted=inserted,
        updated=updated,
        unchanged=unchanged,
        withdrawn=withdrawn,
        rejected=rejected,
    )


def _close(fetch: ProviderFetch, fault: RemoteFault, now: datetime) -> None:
    """Note that a fetch came to nothing."""
    ProviderFetch.objects.filter(pk=fetch.pk).update(
        status=Status.FAILED, finished_at=now, error_code=fault.code, error=_shown(fault)
    )
    log.warning("provider_fetch_failed", fetch=str(fetch.pk), code=fault.code)


def _blame(fetch: ProviderFetch, fault: RemoteFault, now: datetime) -> None:
    """Note what a fault says of its provider, if it came from there."""
    if fault.code not in FROM_PROVIDER:
        return
    noted: dict[str, Any] = {
        "last_error_at": now,
        "last_error": f"{fault.code}: {_shown(fault)}",
    }
    if fault.code == "throttled":
        asked = THROTTLED_FOR.total_seconds() if fault.retry_after is None else fault.retry_after
        noted["retry_at"] = now + min(timedelta(seconds=asked), LONGEST_THROTTLE)
    # An enterprise's own credentials are no matter of the provider's.
    elif fault.code != "unauthorised" or fetch.enterprise_id is None:
        noted["consecutive_failures"] = F("consecutive_failures") + 1
    FlightProvider.objects.filter(pk=fetch.provider_id).update(**noted)


def _shown(fault: RemoteFault) -> str:
    return _storable(fault.detail)[:LONGEST_ERROR]


def end_lost_fetches(*, now: datetime) -> int:
    """Close the fetches whose worker is gone; what they were for is due again."""
    lost = ProviderFetch.objects.filter(
        status__in=(Status.QUEUED, Status.RUNNING), created_at__lt=now - LOST_AFTER
    )
    return lost.update(
        status=Status.FAILED,
        finished_at=now,
        error_code="lost",
        error="No worker came to its end with it. Nothing of it was stored.",
    )


def purge_fetches(*, now: datetime) -> int:
    """Delete fetches with their rejects after 30 days, a batch a transaction; return how many."""
    _forget_confirmations(before=(now - timedelta(days=2)).date())
    deleted = 0
    while True:
        old = ProviderFetch.objects.filter(created_at__lt=now - KEPT_FOR).order_by("created_at")
        batch = list(old.values_list("pk", flat=True)[:1_000])
        if not batch:
            return deleted
        ProviderFetch.objects.filter(pk__in=batch).delete()
        deleted += len(batch)


def _forget_confirmations(*, before: date) -> None:
    """Delete what says how fresh the offers of days gone by are."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute("delete from offer_confirmations where day < %s", [before])


def _buyer(enterprise_id: UUID | None) -> TenantRef | None:
    return None if enterprise_id is None else TenantRef(enterprise_id)


def _storable(text: str) -> str:
    """Return a text of somebody else's as PostgreSQL keeps it."""
    return text.encode(errors="replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")
