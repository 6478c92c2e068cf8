"""Money in minor units: by Decimal, never by float."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from apps.flights.offers.normalised import Refused

# ISO 4217's active currencies, and those of them without two decimals.
_ACTIVE = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD
CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD
GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD
KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO
NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE
SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND
VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""
_WITHOUT_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_WITH_THREE = "BHD IQD JOD KWD LYD OMR TND"

CURRENCIES: Final = frozenset(_ACTIVE.split())
DECIMALS: Final = dict.fromkeys(_WITHOUT_DECIMALS.split(), 0) | dict.fromkeys(
    _WITH_THREE.split(), 3
)

# Searches order by minor units, which compares one currency only; a CHECK holds it.
LOADABLE: Final = frozenset({"USD"})
LARGEST_MINOR: Final = 10**11

_AMOUNT = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,6})?", re.ASCII)


def fare_minor(amount: str, currency: str) -> int:
    """Return a decimal amount, such as `412.50`, in the currency's minor units.

    Raises Refused: unknown_currency, currency_not_loadable, invalid_price, negative_price,
    price_precision, price_too_large.
    """
    if currency not in CURRENCIES:
        raise Refused("unknown_currency", "currency", "This is no currency of ISO 4217.")
    if currency not in LOADABLE:
        raise Refused("currency_not_loadable", "currency", "Only USD can be loaded yet.")
    if not _AMOUNT.fullmatch(amount):
        raise Refused("invalid_price", "price", "Write it as a decimal text, such as “412.50”.")
    decimals = DECIMALS.get(currency, 2)
    minor = Decimal(amount).scaleb(decimals)
    if minor < 0:
        raise Refused("negative_price", "price", "A price is not negative.")
    if minor != minor.to_integral_value():
        raise Refused("price_precision", "price", f"{currency} has {decimals} decimals.")
    if minor > LARGEST_MINOR:
        raise Refused("price_too_large", "price", f"At most {LARGEST_MINOR:,} minor units.")
    return int(minor)
