"""What a layover is worth: one question and what is known of the place, made into one document.

Nothing here reads or writes anything: the same inputs give the same analysis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from apps.flights.ground import Places, Spendable, moment_of, one_stay
from apps.layovers.bags import bag_advice
from apps.layovers.hours import parse_hours
from apps.layovers.models import INDICATIVE, Experience
from apps.layovers.planning import NOTHING, Plan, Sight, best_plan
from apps.layovers.questions import LayoverQuestion
from apps.layovers.safety import Connection
from apps.layovers.scoring import (
    CITY_FROM_MINUTES,
    SCORE_VERSION,
    Component,
    Weights,
    appeal,
    city_value,
    comfort,
    confidence,
    premium_value,
    score,
    waiting_value,
)
from apps.layovers.visas import VisaHint

MINUTE: Final = timedelta(minutes=1)

CITY: Final = "city"
AIRPORT: Final = "airport"

# Whoever waits wants to sleep from eleven at night to five.
SLEEP_FROM: Final = 23 * 60
SLEEP_MINUTES: Final = 360

# Airports of which any airport has one beyond a border.
_ABROAD: Final = ("LHR", "JFK")


@dataclass(frozen=True, slots=True)
class Hour:
    """The weather of one hour; degrees Celsius, millimetres, km/h, per cent."""

    hour: datetime
    temperature: float
    precipitation: float
    wind_kmh: int
    cloud_percent: int
    weather_code: int

    @property
    def comfort(self) -> int:
        return comfort(
            temperature=self.temperature,
            precipitation=self.precipitation,
            wind_kmh=self.wind_kmh,
            weather_code=self.weather_code,
        )


# Why there is no weather, or how good it is.
FRESH: Final = "fresh"
LAST_KNOWN: Final = "last_known"
UNAVAILABLE: Final = "unavailable"
BEYOND_FORECAST: Final = "beyond_forecast"
OFF: Final = "off"
WEATHER_STATES: Final = (FRESH, LAST_KNOWN, UNAVAILABLE, BEYOND_FORECAST, OFF)


@dataclass(frozen=True, slots=True)
class Weather:
    """The hours of a layover as they are known, and how well."""

    state: str
    hours: tuple[Hour, ...] = ()
    source: str = ""
    fetched_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AirportFacts:
    """What an analysis tells of an airport."""

    iata: str
    name: str
    city: str
    country: str
    has_ground_times: bool


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that an analysis is made from, besides the question."""

    airport: AirportFacts
    origin: AirportFacts | None
    destination: AirportFacts | None
    places: Places
    experiences: Sequence[Experience]
    weather: Weather
    connection: Connection
    visa: VisaHint
    weights: Weights


@dataclass(slots=True)
class _Doubts:
    """Why one is not quite sure."""

    found: list[str] = field(default_factory=list)

    def when(self, condition: bool, doubt: str) -> None:
        if condition:
            self.found.append(doubt)


@dataclass(frozen=True, slots=True)
class Analysis:
    """The document that is answered, and what a list tells of it."""

    document: dict[str, Any]
    confidence: float


def crosses_border(places: Places, airport: str, other: str | None) -> bool:
    """Return whether there is a border between two airports; one that is not known is beyond it."""
    return other is None or bool(places.border[places.index[other]] != _border(places, airport))


def _border(places: Places, airport: str) -> int:
    return int(places.border[places.index[airport]])


def stay_of(places: Places, question: LayoverQuestion) -> Spendable:
    """Return what of the layover can be spent; who does not say from or to is from abroad."""
    here = _border(places, question.airport)
    abroad = next(code for code in _ABROAD if _border(places, code) != here)
    return one_stay(
        places,
        airport=question.airport,
        arrival=question.arrival.local,
        departure=question.departure.local,
        origin=question.origin or abroad,
        destination=question.destination or abroad,
    )


def analyse(question: LayoverQuestion, known: Inputs) -> Analysis:
    """Return what the layover is worth."""
    stay = stay_of(known.places, question)
    usable = int(stay.usable[0])
    feasible, obstacles = _feasibility(question, known)
    mode = (
        CITY
        if usable >= CITY_FROM_MINUTES and known.visa.enters_city(held=question.visa_held)
        else AIRPORT
    )
    plan = _plan(question, stay, known.experiences) if mode == CITY else NOTHING
    doubts = _doubts(question, known, mode)
    parts = _components(question, known, stay, plan, mode)
    result = score(parts)
    sure = confidence(doubts)
    document = {
        "airport": _facts(known.airport),
        "question": question.document(),
        "minutes": question.gap_minutes,
        "feasible": feasible,
        "obstacles": obstacles,
        "mode": mode,
        "score": result.value if feasible else 0,
        "score_version": SCORE_VERSION,
        "components": result.document(),
        "confidence": sure,
        "doubts": doubts,
        "usable": _usable(question, stay),
        "plan": _plan_document(plan, known.experiences),
        "weather": _weather_document(known.weather, question),
        "visa": known.visa.document(),
        "bags": _bags(question, known, bool(stay.overnight[0])),
        "connection": known.connection.document(),
        "premium": _premium_document(question),
    }
    return Analysis(document, sure)


def _facts(airport: AirportFacts) -> dict[str, Any]:
    return {
        "iata": airport.iata,
        "name": airport.name,
        "city": airport.city,
        "country": airport.country,
    }


def _feasibility(question: LayoverQuestion, known: Inputs) -> tuple[bool, list[dict[str, str]]]:
    obstacles = []
    if not known.connection.is_feasible:
        obstacles.append(
            {
                "code": "minimum_connection",
                "detail": f"The airport asks for {known.connection.minimum_minutes} minutes"
                " between the flights.",
            }
        )
    if not known.visa.connects(held=question.visa_held):
        obstacles.append(
            {
                "code": "visa_required",
                "detail": "Without a visa the passport does not even change flights here.",
            }
        )
    return not obstacles, obstacles


def sight_of(experience: Experience) -> Sight:
    """Return an experience as a plan knows it."""
    return Sight(
        str(experience.pk),
        experience.name,
        experience.rating_tenths,
        experience.duration_minutes,
        experience.base,
        experience.travel_minutes,
        parse_hours(experience.opening_hours),
    )


def _plan(question: LayoverQuestion, stay: Spendable, experiences: Sequence[Experience]) -> Plan:
    zone = question.arrival.local.tzinfo
    # From kerb to kerb. Added up in UTC: clocks may be changed in between.
    begin = question.arrival.at + int(stay.exit[0]) * MINUTE
    end = question.departure.at - int(stay.buffer[0]) * MINUTE
    return best_plan(
        [sight_of(each) for each in experiences],
        begin=begin.astimezone(zone).replace(tzinfo=None),
        end=end.astimezone(zone).replace(tzinfo=None),
        transfer=int(stay.transfer[0]),
    )


def _components(
    question: LayoverQuestion, known: Inputs, stay: Spendable, plan: Plan, mode: str
) -> list[Component]:
    weights = known.weights
    safety = Component(
        "safety",
        known.connection.share if known.connection.is_feasible else 0.0,
        weights.safety,
    )
    premium = Component("premium", _premium(question), weights.premium)
    if mode == AIRPORT:
        waiting = waiting_value(
            wait_minutes=question.gap_minutes, night_minutes=_night_minutes(question)
        )
        comfort_weight = weights.city + weights.experience + weights.weather
        return [Component("airport_comfort", waiting, comfort_weight), safety, premium]
    hours = known.weather.hours
    weather = sum(each.comfort for each in hours) / len(hours) / 100 if hours else None
    experience = (
        appeal(stop.sight.rating_tenths for stop in plan.stops) if known.experiences else None
    )
    return [
        Component("city", city_value(int(stay.usable[0])), weights.city),
        Component("experience", experience, weights.experience),
        Component("weather", weather, weights.weather),
        safety,
        premium,
    ]


def _premium(question: LayoverQuestion) -> float | None:
    return premium_value(
        price=None if question.price is None else float(question.price),
        best_price=None if question.best_price is None else float(question.best_price),
        minutes=question.minutes,
        best_minutes=question.best_minutes,
    )


def _premium_document(question: LayoverQuestion) -> dict[str, Any] | None:
    if _premium(question) is None:
        return None
    money = (
        None
        if question.price is None or question.best_price is None
        else f"{question.price - question.best_price:f}"
    )
    minutes = (
        None
        if question.minutes is None or question.best_minutes is None
        else question.minutes - question.best_minutes
    )
    return {"extra_price": money, "extra_minutes": minutes}


def _night_minutes(question: LayoverQuestion) -> int:
    """Return how much of the layover lies in the hours of sleep, on the airport's clock."""
    begin = question.arrival.local.replace(tzinfo=None)
    end = question.departure.local.replace(tzinfo=None)
    total = timedelta()
    midnight = begin.replace(hour=0, minute=0) - timedelta(days=1)
    while midnight < end:
        first = midnight + SLEEP_FROM * MINUTE
        total += max(timedelta(), min(end, first + SLEEP_MINUTES * MINUTE) - max(begin, first))
        midnight += timedelta(days=1)
    # Where clocks are put back the wait is longer than they show.
    return min(total // MINUTE, question.gap_minutes)


def _doubts(question: LayoverQuestion, known: Inputs, mode: str) -> list[str]:
    doubts = _Doubts()
    if mode == CITY:
        doubts.when(not known.weather.hours, "weather_missing")
        doubts.when(known.weather.state == LAST_KNOWN, "weather_stale")
        doubts.when(not known.experiences, "experiences_missing")
        doubts.when(any(each.is_indicative for each in known.experiences), "experiences_indicative")
    doubts.when(not known.airport.has_ground_times, "ground_times_assumed")
    doubts.when(known.connection.is_nationwide, "delays_nationwide")
    doubts.when(question.origin is None, "origin_missing")
    doubts.when(question.destination is None, "destination_missing")
    if question.passport is None:
        doubts.when(not known.visa.is_known, "passport_missing")
    else:
        doubts.when(not known.visa.is_known, "visa_unknown")
    doubts.when(_premium(question) is None, "premium_missing")
    return doubts.found


def _usable(question: LayoverQuestion, stay: Spendable) -> dict[str, Any]:
    zone = question.arrival.local.tzinfo
    leaves, returns = (
        moment_of(int(minutes[0])).astimezone(zone) for minutes in (stay.leaves, stay.returns)
    )
    window = int(stay.returns[0] - stay.leaves[0])
    usable = int(stay.usable[0])
    return {
        "minutes": usable,
        "daylight_minutes": int(stay.daylight[0]),
        "overnight": bool(stay.overnight[0]),
        "parts": {
            "exit_minutes": int(stay.exit[0]),
            "transfer_minutes": int(stay.transfer[0]),
            "buffer_minutes": int(stay.buffer[0]),
            "window_minutes": window,
            "outside_opening_hours_minutes": window - usable,
        },
        "in_city_from": leaves.isoformat(timespec="minutes") if window else None,
        "in_city_until": returns.isoformat(timespec="minutes") if window else None,
    }


def _plan_document(plan: Plan, experiences: Sequence[Experience]) -> dict[str, Any]:
    by_id = {str(each.pk): each for each in experiences}
    return {
        "stops": [
            {
                "id": stop.sight.key,
                **experience_document(by_id[stop.sight.key]),
                "way_minutes": stop.travel_minutes,
                "begins": stop.begins.isoformat(timespec="minutes"),
                "ends": stop.ends.isoformat(timespec="minutes"),
            }
            for stop in plan.stops
        ],
        "back_at_airport": plan.back.isoformat(timespec="minutes") if plan.back else None,
        "note": INDICATIVE,
    }


def experience_document(experience: Experience) -> dict[str, Any]:
    """Return what is told of an experience."""
    return {
        "name": experience.name,
        "city": experience.city,
        "category": experience.category,
        "rating": float(experience.rating),
        "price_from_minor": experience.price_from,
        "price_currency": experience.price_currency,
        "duration_minutes": experience.duration_minutes,
        "opening_hours": experience.opening_hours,
        "is_indicative": experience.is_indicative,
        "source": experience.source,
    }


def _weather_document(weather: Weather, question: LayoverQuestion) -> dict[str, Any]:
    zone = question.arrival.local.tzinfo
    hours = weather.hours
    return {
        "state": weather.state,
        "source": weather.source or None,
        "fetched_at": weather.fetched_at.astimezone(UTC).isoformat(timespec="seconds")
        if weather.fetched_at
        else None,
        "comfort": round(sum(each.comfort for each in hours) / len(hours)) if hours else None,
        "hours": [
            {
                "hour": each.hour.astimezone(zone).isoformat(timespec="minutes"),
                "temperature": each.temperature,
                "precipitation": each.precipitation,
                "wind_kmh": each.wind_kmh,
                "cloud_percent": each.cloud_percent,
                "weather_code": each.weather_code,
                "comfort": each.comfort,
            }
            for each in hours
        ],
    }


def _bags(question: LayoverQuestion, known: Inputs, overnight: bool) -> dict[str, str]:
    advice, detail = bag_advice(
        country=known.airport.country,
        origin=question.origin,
        origin_country=known.origin.country if known.origin else None,
        destination_country=known.destination.country if known.destination else None,
        self_transfer=question.self_transfer,
        overnight=overnight,
    )
    return {"advice": advice, "detail": detail}


def window_hours(stay: Spendable) -> tuple[datetime, datetime]:
    """Return between which hours, in UTC, the window in the city lies; equal if it is empty."""
    leaves, returns = (moment_of(int(each[0])) for each in (stay.leaves, stay.returns))
    if leaves == returns:
        return leaves, leaves
    return leaves.replace(minute=0), returns
