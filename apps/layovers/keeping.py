"""Analyses that are kept: read from Valkey, then from PostgreSQL, and made once for all who wait.

An entry is fresh until it expires, and as long as no input of it has a newer version (see
`versions`). One that is outdated is still answered while another request works on the new one,
unless an operator declared it void.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import connections

from apps.configs.runtime import HasId, configs
from apps.flights.airports import ground
from apps.flights.models import Airport
from apps.layovers import shared
from apps.layovers.analysis import (
    BEYOND_FORECAST,
    FRESH,
    OFF,
    AirportFacts,
    Analysis,
    Inputs,
    Weather,
    analyse,
    crosses_border,
    stay_of,
    window_hours,
)
from apps.layovers.hits import HIT, MISS, STALE, hits
from apps.layovers.models import Experience, LayoverInput
from apps.layovers.observing import PAUSE, ensure_weather, weather_at
from apps.layovers.open_meteo import FORECAST_DAYS
from apps.layovers.questions import LayoverQuestion
from apps.layovers.safety import Connection
from apps.layovers.safety import connection as connection_of
from apps.layovers.scoring import SCORE_VERSION, Weights
from apps.layovers.versions import UNTOUCHED, InputVersions, layover_inputs
from apps.layovers.visas import visa_hint
from layoverhq.tenancy import atomic, current_alias

# What none of the versions tells, such as the visa table of a release, is looked up anew by then.
LONGEST_KEPT: Final = timedelta(hours=24)
# How long one may work on an analysis, and how long others wait for it.
TURN_SECONDS: Final = 20
WAIT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with the circumstances of who asks: nothing of it names a tenant."""

    question: LayoverQuestion
    weights: Weights
    real_time_weather: bool

    @property
    def key(self) -> str:
        """The entry's key: equal for all who would get the same answer."""
        places = ground.get()
        at = places.index[self.question.airport]
        return self.question.digest_with(
            SCORE_VERSION,
            self.weights.document(),
            self.real_time_weather,
            [int(each[at]) for each in (places.exit, places.transfer, places.buffer)],
            _borders(self.question),
            _connection(self.question).document(),
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry as it is read: its answer as JSON, and of what it was made."""

    versions: tuple[int, int, int]
    expires_at: datetime
    body: str

    def is_fresh(self, known: InputVersions, now: datetime) -> bool:
        """Return whether it may be answered; this process may know of fewer changes than it."""
        newest = (known.experiences, known.weather, known.invalidations)
        return now < self.expires_at and all(
            mine >= theirs for mine, theirs in zip(self.versions, newest, strict=True)
        )

    def is_bearable(self, known: InputVersions) -> bool:
        """Return whether it may be answered while another works on a fresh one."""
        return self.versions[2] >= known.invalidations

    def text(self) -> str:
        """Return it as Valkey keeps it."""
        numbers = " ".join(map(str, [*self.versions, self.expires_at.timestamp()]))
        return f"{numbers}\n{self.body}"

    @classmethod
    def of(cls, text: str) -> Kept:
        head, _, body = text.partition("\n")
        *versions, expires = head.split(" ")
        first, second, third = map(int, versions)
        return cls((first, second, third), datetime.fromtimestamp(float(expires), UTC), body)


@dataclass(frozen=True, slots=True)
class Answered:
    """An analysis as JSON, and whether it was kept: `hit`, `stale` or `miss`."""

    body: str
    state: str

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document


def _borders(question: LayoverQuestion) -> tuple[bool, bool]:
    """Return whether there is a border before the layover, and after it."""
    places = ground.get()
    enters, leaves = (
        crosses_border(places, question.airport, other)
        for other in (question.origin, question.destination)
    )
    return enters, leaves


def _connection(question: LayoverQuestion) -> Connection:
    enters, leaves = _borders(question)
    return connection_of(
        airport=question.airport, gap_minutes=question.gap_minutes, enters=enters, leaves=leaves
    )


def weights_of(tenant: HasId | None) -> Weights:
    """Return the score's weights as they hold for a tenant, or for the platform."""
    return Weights(
        *configs.together(
            "algorithm.city_weight",
            "algorithm.experience_weight",
            "algorithm.weather_weight",
            "algorithm.safety_weight",
            "algorithm.premium_weight",
            tenant=tenant,
        )
    )


def kept_analysis(asked: Asked, *, now: datetime) -> Answered:
    """Return the analysis, made only where none that is fresh is kept."""
    key = asked.key
    answered = _answered(asked, key, now)
    hits.count(key, answered.state)
    return answered


def _known(asked: Asked) -> InputVersions:
    """Return the versions that count: of the weather only where it is asked for."""
    known = layover_inputs.get().get(asked.question.airport, UNTOUCHED)
    return known if asked.real_time_weather else replace(known, weather=0)


def _answered(asked: Asked, key: str, now: datetime) -> Answered:
    known = _known(asked)
    held = _held(key, known, now)
    if held is not None and held.is_fresh(known, now):
        return Answered(held.body, HIT)
    turn = shared.take_turn(key, seconds=TURN_SECONDS)
    if turn is None:
        return _answered_without_cache(asked, key, held, now)
    if turn.is_mine:
        try:
            # The one before may have ended between our look and our turn.
            if found := _fresh(asked, key, now):
                return Answered(found.body, HIT)
            return Answered(renewed(asked, now=now).body, MISS)
        finally:
            turn.give_back()
    return _awaited(asked, key, held, now)


def _answered_without_cache(asked: Asked, key: str, held: Kept | None, now: datetime) -> Answered:
    """Do the same with PostgreSQL's own locks."""
    with atomic(), connections[current_alias()].cursor() as cursor:
        cursor.execute("select pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [key])
        if cursor.fetchone()[0]:
            if found := _fresh(asked, key, now):
                return Answered(found.body, HIT)
            return Answered(renewed(asked, now=now).body, MISS)
    return _awaited(asked, key, held, now)


def _awaited(asked: Asked, key: str, held: Kept | None, now: datetime) -> Answered:
    known = _known(asked)
    if held is not None and held.is_bearable(known):
        return Answered(held.body, STALE)
    found = shared.awaited(lambda: _fresh(asked, key, now), seconds=WAIT_SECONDS)
    if found is not None:
        return Answered(found.body, HIT)
    # Whoever had the turn is gone, or slower than anybody should wait for.
    return Answered(renewed(asked, now=now).body, MISS)


def _fresh(asked: Asked, key: str, now: datetime) -> Kept | None:
    known = _known(asked)
    held = _held(key, known, now)
    return held if held is not None and held.is_fresh(known, now) else None


def _held(key: str, known: InputVersions, now: datetime) -> Kept | None:
    """Return the entry, from Valkey if it is fresh there, else from PostgreSQL."""
    text = shared.kept_text(key)
    if text is not None and (kept := Kept.of(text)).is_fresh(known, now):
        return kept
    with atomic(), connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "select experiences_version, weather_version, invalidations, expires_at, analysis"
            " from kept_layover_analysis(%s)",
            [key],
        )
        row = cursor.fetchone()
    if row is None:
        return None
    kept = Kept(row[:3], row[3], _written(json.loads(row[4])))
    if kept.is_fresh(known, now):
        _put_in_front(key, kept, now)
    return kept


def _put_in_front(key: str, kept: Kept, now: datetime) -> None:
    seconds = int((kept.expires_at - now).total_seconds())
    if seconds > 0:
        shared.keep_text(key, kept.text(), seconds=seconds)


def renewed(asked: Asked, *, now: datetime) -> Kept:
    """Make the analysis anew, whatever is kept, and keep it."""
    if asked.real_time_weather:
        ensure_weather(asked.question.airport, now=now)
    key = asked.key
    with atomic():
        # Before the inputs: what changes in between makes the entry outdated, never too new.
        versions = _versions(asked.question.airport)
        inputs = gathered(asked, now=now)
        analysis = analyse(asked.question, inputs)
        kept = Kept(
            versions,
            _expiry(asked, inputs.weather, now),
            _written({**analysis.document, "computed_at": now.isoformat(timespec="seconds")}),
        )
        _store(asked, key, analysis, kept)
    _put_in_front(key, kept, now)
    return kept


def _written(document: dict[str, Any]) -> str:
    """Return a document as the one text that it has, as jsonb forgets the order of names."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _versions(airport: str) -> tuple[int, int, int]:
    found = (
        LayoverInput.objects.using(current_alias())
        .filter(pk=airport)
        .values_list("experiences_version", "weather_version", "invalidations")
        .first()
    )
    return found or (0, 0, 0)


def _store(asked: Asked, key: str, analysis: Analysis, kept: Kept) -> None:
    entry: Any = {
        "cache_key": key,
        "airport_code": asked.question.airport,
        "analysis_result": json.loads(kept.body),
        "confidence_score": analysis.confidence,
        "expires_at": kept.expires_at.isoformat(),
        "request": asked.question.document(),
        "departure_at": asked.question.departure.at.isoformat(),
        "weights": asked.weights.document(),
        "real_time_weather": asked.real_time_weather,
        "experiences_version": kept.versions[0],
        "weather_version": kept.versions[1],
        "invalidations": kept.versions[2],
    }
    with connections[current_alias()].cursor() as cursor:
        cursor.execute("select keep_layover_analysis(%s)", [json.dumps(entry)])


def gathered(asked: Asked, *, now: datetime) -> Inputs:
    """Return what the analysis is made from, as it is known now."""
    question = asked.question
    places = ground.get()
    codes = [code for code in (question.airport, question.origin, question.destination) if code]
    facts = {
        row.pk: AirportFacts(
            row.pk,
            row.name,
            row.city,
            row.country,
            None not in (row.exit_minutes, row.transfer_minutes, row.buffer_minutes),
        )
        for row in Airport.objects.using(current_alias()).filter(pk__in=codes)
    }
    here = facts[question.airport]
    enters, _ = _borders(question)
    begin, end = window_hours(stay_of(places, question))
    return Inputs(
        airport=here,
        origin=facts.get(question.origin or ""),
        destination=facts.get(question.destination or ""),
        places=places,
        experiences=list(
            Experience.objects.using(current_alias()).active().filter(airport=question.airport)
        ),
        weather=weather_at(
            question.airport, begin, end, now=now, is_wanted=asked.real_time_weather
        ),
        connection=_connection(question),
        visa=visa_hint(country=here.country, passport=question.passport, crosses_border=enters),
        weights=asked.weights,
    )


def _expiry(asked: Asked, weather: Weather, now: datetime) -> datetime:
    """Return until when the inputs are good: the one that ages first decides."""
    begin, end = window_hours(stay_of(ground.get(), asked.question))
    if weather.state == OFF or begin == end:
        return now + LONGEST_KEPT
    if weather.state == FRESH and weather.fetched_at is not None:
        return weather.fetched_at + timedelta(seconds=configs.get("weather.cache_ttl"))
    if weather.state == BEYOND_FORECAST:
        foreseen_from = begin.replace(hour=0, minute=0) - timedelta(days=FORECAST_DAYS - 1)
        return min(now + LONGEST_KEPT, foreseen_from + PAUSE)
    return now + PAUSE
