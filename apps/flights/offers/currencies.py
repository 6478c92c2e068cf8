"""Money in minor units: by Decimal, never by float."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Final

from apps.flights.money import BASE_CURRENCY, CURRENCIES, DECIMALS
from apps.flights.offers.normalised import Refused
from apps.flights.rates import NoRate, StaleRate, convert

LARGEST_MINOR: Final = 10**11

_AMOUNT = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,6})?", re.ASCII)


def fare_minor(amount: str, currency: str) -> int:
    """Return a decimal amount, such as `412.50`, in the currency's minor units.

    Raises Refused: unknown_currency, invalid_price, negative_price, price_precision,
    price_too_large.
    """
    if currency not in CURRENCIES:
        raise Refused("unknown_currency", "currency", "This is no currency of ISO 4217.")
    if not _AMOUNT.fullmatch(amount):
        raise Refused("invalid_price", "price", "Write it as a decimal text, such as “412.50”.")
    decimals = DECIMALS.get(currency, 2)
    whole, _, part = amount.partition(".")
    if len(part) == decimals and not amount.startswith("-"):
        minor = int(whole + part)
    else:
        exact = Decimal(amount).scaleb(decimals)
        if exact < 0:
            raise Refused("negative_price", "price", "A price is not negative.")
        minor = int(exact)
        if minor != exact:
            raise Refused("price_precision", "price", f"{currency} has {decimals} decimals.")
    if minor > LARGEST_MINOR:
        raise Refused("price_too_large", "price", f"At most {LARGEST_MINOR:,} minor units.")
    return minor


def price_of(fare: int, currency: str, *, on: date) -> tuple[int, date | None]:
    """Return a fare in the currency that offers are compared in, and the rate's day.

    There is no day where it is in that currency already. Raises Refused: no_rate, stale_rate,
    price_too_large.
    """
    if currency == BASE_CURRENCY:
        return fare, None
    try:
        price, day = convert(fare, currency, BASE_CURRENCY, on)
    except (NoRate, StaleRate) as error:
        raise Refused(error.code, "currency", error.detail) from error
    if price > LARGEST_MINOR:
        raise Refused("price_too_large", "price", f"At most {LARGEST_MINOR:,} minor units.")
    return price, day
