"""What the cheapest journeys cost: on the days around the one asked for, and there and back."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog

from apps.flights.fare_calendar import AROUND_DAYS, CalendarSearch, price_calendar
from apps.flights.grammar import HORIZON_DAYS, FlightSearch
from apps.storefront.asking import WAYS, Asked
from apps.storefront.journeys import money
from apps.storefront.places import Places
from layoverhq.errors import QueryTimeout
from layoverhq.tenancy import TenantRef

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DayPrice:
    """A day: `price` is empty where nothing fits, `query` where that day cannot be chosen."""

    day: date
    price: str
    query: str
    is_asked: bool


@dataclass(frozen=True, slots=True)
class WayPrice:
    """The way there or back: `price` is empty where nothing fits."""

    label: str
    day: date
    price: str
    query: str
    is_shown: bool


@dataclass(frozen=True, slots=True)
class DayPrices:
    """The days around the way that is shown; of a return trip both ways, and their sum."""

    days: tuple[DayPrice, ...]
    ways: tuple[WayPrice, ...]
    together: str

    @property
    def has_days(self) -> bool:
        """Whether anything fits on any of the days."""
        return any(day.price for day in self.days)


def day_prices(
    asked: Asked, tenant: TenantRef, places: Places, *, now: datetime
) -> DayPrices | None:
    """Return the lowest prices of what was asked for; None where to find them takes too long."""
    search, currency = asked.search, asked.values["currency"]
    if search is None:
        return None
    around = replace(search, flexible_days=AROUND_DAYS)
    try:
        days = _lowest(tenant, around, places, now)
        ways = [days if way is search else _lowest(tenant, way, places, now) for way in asked.ways]
    except QueryTimeout as error:
        log.warning("storefront_day_prices_unknown", error=str(error))
        return None
    least = [
        min(
            (minor for day in way.departure_days if (minor := days.get(day)) is not None),
            default=None,
        )
        for way, days in zip(asked.ways, ways, strict=True)
    ]
    priced = [minor for minor in least if minor is not None]

    def told(minor: int | None) -> str:
        return "" if minor is None else money(minor, currency)

    return DayPrices(
        days=tuple(
            DayPrice(
                day=day,
                price=told(minor),
                query="" if minor is None else asked.on(day),
                is_asked=day in search.departure_days,
            )
            for day, minor in days.items()
        ),
        ways=tuple(
            WayPrice(
                label=choice.label,
                day=way.departure_date,
                price=told(minor),
                query=asked.query(way=choice.value),
                is_shown=way is search,
            )
            for choice, way, minor in zip(WAYS, asked.ways, least, strict=False)
        ),
        together=told(sum(priced)) if len(priced) == len(WAYS) else "",
    )


def _lowest(
    tenant: TenantRef, search: FlightSearch, places: Places, now: datetime
) -> dict[date, int | None]:
    """Return the lowest price of each of a search's days, in order; None where nothing fits."""
    today = now.astimezone(ZoneInfo(places.zones[search.origin])).date()
    last = today + timedelta(days=HORIZON_DAYS)
    days = tuple(day for day in sorted(search.departure_days) if today <= day <= last)
    plain = replace(search, explain=False, sort="price")
    answer = json.loads(price_calendar(tenant, CalendarSearch(plain, days)))
    return {date.fromisoformat(each["date"]): each["price_minor"] for each in answer["results"]}
