"""Exchange rates, in memory: the newest of each currency, with its day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from types import MappingProxyType
from typing import Any, Final

import psycopg

from apps.configs.runtime import configs
from apps.flights.money import BASE_CURRENCY, DECIMALS
from layoverhq.errors import DomainError, FieldError
from layoverhq.snapshot import Snapshot

PIVOT: Final = "EUR"


@dataclass(frozen=True, slots=True)
class Rate:
    """How much of a currency one euro was worth on a day."""

    per_euro: Decimal
    day: date


class NoRate(DomainError):
    """There is no exchange rate of a currency that a conversion needs."""

    code = "no_rate"

    def __init__(self, currency: str, conversion: str) -> None:
        detail = f"{conversion}: there is no exchange rate of {currency} yet."
        super().__init__(detail, [FieldError("currency", self.code, detail)])


class StaleRate(DomainError):
    """The exchange rate of a currency that a conversion needs is too old."""

    code = "stale_rate"

    def __init__(self, currency: str, day: date, most_days: int, conversion: str) -> None:
        detail = (
            f"{conversion}: the newest rate of {currency} to the euro is of {day}, over"
            f" {most_days} days ago."
        )
        super().__init__(detail, [FieldError("currency", self.code, detail)])


class RateDirectory(Snapshot[Mapping[str, Rate]]):
    """The newest rate of every currency but the euro."""

    name = "exchange_rates"

    def load(self, connection: psycopg.Connection[Any]) -> Mapping[str, Rate]:
        rows = connection.execute(
            "select distinct on (currency) currency, rate_date, per_euro from exchange_rates"
            " order by currency, rate_date desc"
        )
        return MappingProxyType(
            {row["currency"]: Rate(row["per_euro"], row["rate_date"]) for row in rows}
        )


rates = RateDirectory()


def convert(minor: int, from_currency: str, to_currency: str, on: date) -> tuple[int, date]:
    """Return an amount in another currency's minor units, half to even, and the rate's day.

    By the newest rates, which may not be older than `pricing.max_rate_age_days` on the day; the
    older of the two days counts. Raises NoRate and StaleRate.
    """
    factor, day = factor_of(from_currency, to_currency, on)
    return int((minor * factor).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)), day


def shown(to_currency: str, on: date | None = None) -> tuple[Decimal, date]:
    """Return what turns a price, in minor units of the base currency, into the currency's own.

    With the rate's day; raises NoRate and StaleRate.
    """
    return factor_of(BASE_CURRENCY, to_currency, on or datetime.now(UTC).date())


def factor_of(from_currency: str, to_currency: str, on: date) -> tuple[Decimal, date]:
    """Return what turns minor units of one currency into those of another, and the rate's day.

    Raises NoRate and StaleRate.
    """
    if from_currency == to_currency:
        return Decimal(1), on
    # Both are quoted in euros: whoever asks for euros may need the rate of dollars.
    conversion = f"{from_currency} cannot be converted to {to_currency}"
    source, target = (_rate(each, on, conversion) for each in (from_currency, to_currency))
    shift = DECIMALS.get(to_currency, 2) - DECIMALS.get(from_currency, 2)
    return (target.per_euro / source.per_euro).scaleb(shift), min(source.day, target.day)


def maximum_age_days() -> int:
    """Return how old a rate may be to convert prices by."""
    days: int = configs.get("pricing.max_rate_age_days")
    return days


def _rate(currency: str, on: date, conversion: str) -> Rate:
    if currency == PIVOT:
        return Rate(Decimal(1), on)
    rate = rates.get().get(currency)
    if rate is None:
        raise NoRate(currency, conversion)
    most_days = maximum_age_days()
    if (on - rate.day).days > most_days:
        raise StaleRate(currency, rate.day, most_days, conversion)
    return rate
