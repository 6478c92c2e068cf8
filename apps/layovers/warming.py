"""Analyses that are made before anybody asks: at the airports that most layovers are at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from django.db import connections

from apps.flights.airports import airports
from apps.layovers.keeping import Asked, kept_analysis, weights_of
from apps.layovers.models import LayoverAnalysis
from apps.layovers.questions import LayoverQuestion, parse_document
from layoverhq.errors import InvalidInput
from layoverhq.tenancy import current_alias

log = structlog.get_logger(__name__)

POPULAR_AIRPORTS: Final = 20
DAYS: Final = 2
# Of each airport: real layovers of the coming days, and what was asked most.
LAYOVERS_OF_EACH: Final = 3
ASKED_OF_EACH: Final = 5


@dataclass(frozen=True, slots=True)
class Popular:
    """An airport that many layovers are at, and one of them; its times carry their offset."""

    airport: str
    layovers: int
    arrives_at: str | None
    departs_at: str | None
    origin: str | None
    destination: str | None


def popular_layovers(*, since: date, of_each: int = LAYOVERS_OF_EACH) -> list[Popular]:
    """Return the airports that most layovers are at, the first first, with some of each."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "select airport, layovers, arrives_at, departs_at, origin, destination"
            " from warm_popular_caches(%s, %s, %s, %s)",
            [since, DAYS, POPULAR_AIRPORTS, of_each],
        )
        return [Popular(*row) for row in cursor.fetchall()]


def warm_popular_caches(*, real_time_weather: bool, now: datetime) -> int:
    """Make and keep real analyses at the most used layover airports; return how many.

    They are what the platform's weights say, as tenants without weights of their own ask.
    """
    weights = weights_of(None)
    warmed = 0
    for question in _questions(now):
        kept_analysis(Asked(question, weights, real_time_weather), now=now)
        warmed += 1
    return warmed


def _questions(now: datetime) -> Iterator[LayoverQuestion]:
    zones = airports.get()
    seen = set()
    popular = popular_layovers(since=now.date())
    for code in dict.fromkeys(each.airport for each in popular):
        asked = (
            LayoverAnalysis.objects.filter(airport_code=code, departure_at__gt=now, hit_count__gt=0)
            .order_by("-hit_count")
            .values_list("request", flat=True)[:ASKED_OF_EACH]
        )
        real = [
            {
                "airport": code,
                "arrival": _on_its_clock(each.arrives_at, zones.get(code)),
                "departure": _on_its_clock(each.departs_at, zones.get(code)),
                "from": each.origin,
                "to": each.destination,
            }
            for each in popular
            if each.airport == code and each.arrives_at and each.departs_at
        ]
        for document in [*asked, *real]:
            try:
                question = parse_document(document, zones=zones, now=now)
            except InvalidInput as error:
                # Such as a layover that is over, or an airport that is inactive by now.
                log.info("layover_not_warmed", airport=code, why=error.detail)
                continue
            digest = question.digest_with()
            if digest not in seen:
                seen.add(digest)
                yield question


def _on_its_clock(text: str, zone: str | None) -> str:
    """Return a time with its offset as the airport's clock shows it."""
    at = datetime.fromisoformat(text)
    if zone is None or at.tzinfo is None:
        return text
    return at.astimezone(ZoneInfo(zone)).isoformat(timespec="minutes")
