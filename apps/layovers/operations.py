"""Writes: experiences, what search is told of cities and weather, and what becomes of analyses.

All run with the operator's role: open an operator_scope around them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from django.db.models import F

from apps.flights.models import APPEAL_HOURS, LayoverPlace, LayoverWeather
from apps.flights.operations import (
    purge_layover_weather,
    set_layover_places,
    set_layover_weather,
)
from apps.layovers.analysis import sight_of
from apps.layovers.experience_rows import ExperienceRow, Reading
from apps.layovers.models import (
    Experience,
    LayoverAnalysis,
    LayoverCacheCount,
    LayoverInput,
    WeatherObservation,
)
from apps.layovers.observing import hour_of
from apps.layovers.planning import appeal_by_hours
from apps.tenants.models import User
from layoverhq.errors import Conflict, FieldError, InvalidInput
from layoverhq.tenancy import atomic

log = structlog.get_logger(__name__)

WEATHER_KEPT: Final = timedelta(days=7)
ANALYSES_KEPT: Final = timedelta(days=2)
COUNTS_KEPT: Final = timedelta(days=60)

# Search hears of what came in within this time, and again of what it has heard longer ago.
TOLD_WITHIN: Final = timedelta(minutes=30)
RETOLD_AFTER: Final = timedelta(hours=1)


def save_experience(
    *, experience: Experience | None, row: ExperienceRow, now: datetime, actor: User | None
) -> Experience:
    """Add an experience, or change one to what the row says. Raises Conflict for a name twice."""
    with atomic():
        taken = Experience.objects.filter(airport=row.airport, name=row.name)
        if experience is not None:
            taken = taken.exclude(pk=experience.pk)
        if taken.exists():
            detail = f"{row.airport} has an experience of this name already."
            raise Conflict(detail, [FieldError("name", "conflict", detail)])
        saved = experience or Experience()
        for name, value in row.columns().items():
            setattr(saved, name, value)
        saved.updated_at = now
        saved.save(force_insert=experience is None)
        refresh_places(airports=[row.airport], now=now)
    log.info("experience_saved", airport=row.airport, name=row.name, actor=str(actor or ""))
    return saved


def set_experiences_active(
    *, experiences: Iterable[Experience], active: bool, now: datetime, actor: User | None
) -> int:
    """Let plans name these experiences, or no longer; return how many changed."""
    with atomic():
        ids = [each.pk for each in experiences]
        chosen = Experience.objects.filter(pk__in=ids).exclude(is_active=active)
        airports = sorted(set(chosen.order_by().values_list("airport_id", flat=True)))
        changed = chosen.update(is_active=active, updated_at=now)
        refresh_places(airports=airports, now=now)
    log.info("experiences_switched", active=active, number=changed, actor=str(actor or ""))
    return changed


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What a file would do: lines that add, that change, and how many change nothing."""

    added: tuple[tuple[int, ExperienceRow], ...]
    changed: tuple[tuple[int, ExperienceRow, tuple[str, ...]], ...]
    unchanged: int


def plan_experiences(reading: Reading) -> ImportPlan:
    """Return what importing the rows would do; nothing is written."""
    standing = _standing([row for _, row in reading.rows])
    added, changed, unchanged = [], [], 0
    for line, row in reading.rows:
        known = standing.get(row.key)
        if known is None:
            added.append((line, row))
        elif differing := _differing(known, row):
            changed.append((line, row, differing))
        else:
            unchanged += 1
    return ImportPlan(tuple(added), tuple(changed), unchanged)


def import_experiences(*, reading: Reading, now: datetime, actor: User | None) -> ImportPlan:
    """Add and change what the rows say, all or nothing; what they do not name stays.

    Raises InvalidInput where a line was refused.
    """
    if reading.rejects:
        raise InvalidInput(
            [FieldError("file", "rejected", str(reject)) for reject in reading.rejects[:20]]
        )
    with atomic():
        plan = plan_experiences(reading)
        Experience.objects.bulk_create(
            Experience(**row.columns(), updated_at=now) for _, row in plan.added
        )
        standing = _standing([row for _, row, _ in plan.changed])
        for _, row, _ in plan.changed:
            known = standing[row.key]
            for name, value in row.columns().items():
                setattr(known, name, value)
            known.updated_at = now
        columns = [*reading.rows[0][1].columns(), "updated_at"]
        Experience.objects.bulk_update(
            standing.values(), [name.removesuffix("_id") for name in columns], batch_size=500
        )
        touched = {row.airport for _, row in plan.added} | {
            row.airport for _, row, _ in plan.changed
        }
        refresh_places(airports=sorted(touched), now=now)
    log.info(
        "experiences_imported",
        added=len(plan.added),
        changed=len(plan.changed),
        actor=str(actor or ""),
    )
    return plan


def _standing(rows: Sequence[ExperienceRow]) -> dict[tuple[str, str], Experience]:
    wanted = {row.key for row in rows}
    found = Experience.objects.filter(airport__in={airport for airport, _ in wanted})
    return {
        (each.airport_id, each.name): each
        for each in found
        if (each.airport_id, each.name) in wanted
    }


def _differing(known: Experience, row: ExperienceRow) -> tuple[str, ...]:
    columns: dict[str, Any] = row.columns()
    return tuple(name for name, value in columns.items() if getattr(known, name) != value)


def invalidate_analyses(*, airports: Iterable[str], actor: User | None) -> list[str]:
    """Declare all kept analyses at these airports void, in every process; return the airports.

    None of them is answered again, not even while a new one is made.
    """
    codes = sorted(set(airports))
    with atomic():
        LayoverInput.objects.bulk_create(
            [LayoverInput(airport_code=code) for code in codes], ignore_conflicts=True
        )
        for code in codes:
            LayoverInput.objects.filter(pk=code).update(invalidations=F("invalidations") + 1)
    log.info("layover_analyses_invalidated", airports=codes, actor=str(actor or ""))
    return codes


def refresh_places(*, airports: Sequence[str] | None = None, now: datetime) -> int:
    """Tell search how much these airports' cities have to offer, or all; return how many."""
    wanted = Experience.objects.active()
    if airports is not None:
        wanted = wanted.filter(airport__in=airports)
    by_airport: dict[str, list[Experience]] = {code: [] for code in airports or ()}
    for experience in wanted:
        by_airport.setdefault(experience.airport_id, []).append(experience)
    emptied = [code for code, found in by_airport.items() if not found]
    appeal = {
        code: appeal_by_hours([sight_of(each) for each in found], APPEAL_HOURS)
        for code, found in by_airport.items()
        if found
    }
    with atomic():
        # A city of which nothing is known is no worse than others: search has to be told nothing.
        LayoverPlace.objects.filter(airport__in=emptied).delete()
        set_layover_places(appeal=appeal, now=now)
    return len(appeal)


def publish_weather(*, now: datetime) -> int:
    """Tell search how pleasant the hours to come are where it knows otherwise; return how many."""
    rows = WeatherObservation.objects.filter(
        fetched_at__gte=now - TOLD_WITHIN, hour__gte=now - timedelta(hours=1)
    )
    told = {
        (airport, hour): percent
        for airport, hour, percent in LayoverWeather.objects.filter(
            observed_at__gte=now - RETOLD_AFTER
        ).values_list("airport_id", "hour", "comfort")
    }
    news = {}
    for row in rows.iterator(chunk_size=5_000):
        key = (row.airport_code, row.hour)
        if told.get(key) != (percent := hour_of(row).comfort):
            news[key] = percent
    with atomic():
        set_layover_weather(comfort=news, now=now)
    return len(news)


def purge_layovers(*, now: datetime) -> dict[str, int]:
    """Delete weather of long ago, analyses of layovers that are over, and old counts."""
    return {
        "weather": WeatherObservation.objects.filter(hour__lt=now - WEATHER_KEPT).delete()[0],
        "comfort": purge_layover_weather(before=now - WEATHER_KEPT),
        "analyses": LayoverAnalysis.objects.filter(departure_at__lt=now).delete()[0]
        + LayoverAnalysis.objects.filter(
            expires_at__lt=now - ANALYSES_KEPT, last_accessed__lt=now - ANALYSES_KEPT
        ).delete()[0],
        "counts": LayoverCacheCount.objects.filter(hour__lt=now - COUNTS_KEPT).delete()[0],
    }
