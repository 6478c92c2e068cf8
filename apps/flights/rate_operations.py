"""Writes of exchange rates: fetched, loaded from a file, entered by hand; and offers priced anew.

All run with the operator's role: open an operator_scope around them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

import structlog
from django.conf import settings
from django.db import connections

from apps.configs.runtime import configs
from apps.flights.ecb import LARGEST_BYTES, ToldRate, Unusable, rates_of_document, rates_of_file
from apps.flights.models import ExchangeRate, ExchangeRateFetch
from apps.flights.money import BASE_CURRENCY, CURRENCIES
from apps.flights.rates import PIVOT, NoRate, StaleRate, factor_of, rates
from layoverhq.errors import FieldError, InvalidInput
from layoverhq.remote import Limits, RemoteClient, RemoteFault
from layoverhq.tenancy import atomic, current_alias

log = structlog.get_logger(__name__)

DAILY: Final = "eurofxref-daily.xml"
NINETY_DAYS: Final = "eurofxref-hist-90d.xml"
# The daily document has one day: after more than a weekend something may be missing between.
GAP: Final = timedelta(days=3)
KEPT_DAYS: Final = 400
FETCHES_KEPT: Final = timedelta(days=90)
REPRICE_BATCH: Final = 5_000
LIMITS: Final = Limits(connect=5, read=10, total=60, attempts=4, answer_bytes=LARGEST_BYTES)


@dataclass(frozen=True, slots=True)
class RateChanges:
    """What a file of rates would change, or has changed."""

    new: tuple[ToldRate, ...]
    changed: tuple[ToldRate, ...]
    unchanged: int
    newest: date

    @property
    def count(self) -> int:
        return len(self.new) + len(self.changed)


def note_rates(
    *, told: Sequence[ToldRate], source: ExchangeRate.Source, now: datetime, dry_run: bool = False
) -> RateChanges:
    """Store rates that are new, and those that differ from what stands; the rest is not written.

    Raises InvalidInput of a day that has not come.
    """
    newest = max(rate.day for rate in told)
    if newest > now.date():
        raise InvalidInput.of("rate_date", f"{newest} has not come yet.", code="future")
    with atomic():
        days = {rate.day for rate in told}
        standing = {
            (row.currency, row.rate_date): row.per_euro
            for row in ExchangeRate.objects.filter(rate_date__in=days).select_for_update()
        }
        new = tuple(rate for rate in told if (rate.currency, rate.day) not in standing)
        changed = tuple(
            rate
            for rate in told
            if standing.get((rate.currency, rate.day), rate.per_euro) != rate.per_euro
        )
        if not dry_run and (new or changed):
            ExchangeRate.objects.bulk_create(
                [
                    ExchangeRate(
                        currency=rate.currency,
                        rate_date=rate.day,
                        per_euro=rate.per_euro,
                        source=source,
                        noted_at=now,
                    )
                    for rate in (*new, *changed)
                ],
                update_conflicts=True,
                unique_fields=["currency", "rate_date"],
                update_fields=["per_euro", "source", "noted_at"],
            )
    return RateChanges(new, changed, len(told) - len(new) - len(changed), newest)


def load_rates(*, table: bytes, now: datetime, dry_run: bool) -> RateChanges:
    """Store the rates of a file of the ECB's of the last 400 days. Raises InvalidInput."""
    if len(table) > LARGEST_BYTES:
        raise InvalidInput.of("file", f"At most {LARGEST_BYTES:,} bytes.", code="too_large")
    try:
        told = rates_of_file(table, since=now.date() - timedelta(days=KEPT_DAYS))
    except Unusable as error:
        raise InvalidInput.of("file", str(error), code="unusable") from error
    return note_rates(told=told, source=ExchangeRate.Source.FILE, now=now, dry_run=dry_run)


def enter_rate(*, currency: str, day: date, per_euro: Decimal, now: datetime) -> ExchangeRate:
    """Store one rate by hand. Raises InvalidInput of each field that cannot be used.

    What the ECB tells of the same day later takes its place.
    """
    if faults := rate_faults(currency=currency, day=day, per_euro=per_euro, now=now):
        raise InvalidInput(faults)
    told = [ToldRate(currency, day, per_euro)]
    note_rates(told=told, source=ExchangeRate.Source.MANUAL, now=now)
    return ExchangeRate.objects.get(currency=currency, rate_date=day)


def rate_faults(*, currency: str, day: date, per_euro: Decimal, now: datetime) -> list[FieldError]:
    """Return what is wrong with a rate that is entered by hand."""
    faults = []
    if currency not in CURRENCIES or currency == PIVOT:
        faults.append(FieldError("currency", "unknown", "Give a code of ISO 4217 besides EUR."))
    if day > now.date():
        faults.append(FieldError("rate_date", "future", "This day has not come yet."))
    if not per_euro.is_finite() or not 0 < per_euro < 10**10:
        faults.append(FieldError("per_euro", "invalid", "Give a positive number."))
    return faults


def fetch_rates(*, now: datetime) -> ExchangeRateFetch:
    """Ask the ECB for its rates and store what is new; return what came of it.

    The last ninety days where more than a weekend is missing, else the last day alone. A fault is
    named in the fetch and in the log; what stands is left as it is.
    """
    newest = (
        ExchangeRate.objects.exclude(source=ExchangeRate.Source.MANUAL)
        .order_by("-rate_date")
        .values_list("rate_date", flat=True)
        .first()
    )
    name = DAILY if newest is not None and now.date() - newest <= GAP else NINETY_DAYS
    fetch = ExchangeRateFetch(address=f"{settings.ECB_URL}/{name}", began_at=now)
    try:
        with RemoteClient(settings.ECB_URL, LIMITS) as client:
            told = rates_of_document(client.ask_bytes("GET", f"/{name}"))
        changes = note_rates(told=told, source=ExchangeRate.Source.ECB, now=now)
    except RemoteFault as fault:
        fetch.problem_code, fetch.problem = fault.code, fault.detail
    except (Unusable, InvalidInput) as error:
        fetch.problem_code, fetch.problem = "unusable", str(error)
    else:
        fetch.newest_date, fetch.changed = changes.newest, changes.count
    fetch.problem = fetch.problem.replace("\0", "")[:500]
    fetch.save(force_insert=True)
    ExchangeRateFetch.objects.filter(began_at__lt=now - FETCHES_KEPT).delete()
    if fetch.problem_code:
        log.warning("exchange_rates_not_fetched", code=fetch.problem_code, problem=fetch.problem)
    else:
        log.info("exchange_rates_fetched", changed=fetch.changed, newest=str(fetch.newest_date))
    return fetch


def reprice_offers(*, now: datetime) -> int:
    """Price standing offers anew whose exchange rate has aged, by batches; return how many.

    To do it again changes nothing. Currencies without a usable rate are left alone, and logged.
    """
    today = now.date()
    currencies, factors, days = [], [], []
    for currency in sorted({*rates.get(), PIVOT} - {BASE_CURRENCY}):
        try:
            factor, day = factor_of(currency, BASE_CURRENCY, today)
        except (NoRate, StaleRate) as error:
            log.warning("offers_not_repriced", currency=currency, code=error.code)
            continue
        currencies.append(currency)
        factors.append(factor)
        days.append(day)
    older_than = today - timedelta(days=configs.get("pricing.reprice_after_days"))
    repriced = 0
    while batch := _reprice(older_than, currencies, factors, days):
        repriced += batch
    return repriced


def _reprice(
    older_than: date, currencies: list[str], factors: list[Decimal], days: Iterable[date]
) -> int:
    with atomic(), connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "select reprice_offers(%s, %s, %s, %s, %s)",
            [older_than, currencies, factors, list(days), REPRICE_BATCH],
        )
        return int(cursor.fetchone()[0])
