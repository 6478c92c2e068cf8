"""What a layover is worth, as travellers read it: the analysis' document in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from apps.flags.runtime import flags
from apps.flights.money import DECIMALS
from apps.layovers.keeping import Asked, kept_analysis, weights_of
from apps.layovers.models import Experience
from apps.layovers.questions import parse_values
from apps.storefront.journeys import money
from apps.storefront.places import Places
from apps.storefront.sites import Site
from apps.storefront.stays import Stay
from layoverhq.errors import InvalidInput

COMPONENTS: Final = {
    "city": "Time for the city",
    "experience": "What there is to do",
    "weather": "The weather",
    "safety": "A safe connection",
    "premium": "What it costs more",
    "airport_comfort": "Waiting at the airport",
}
DOUBTS: Final = {
    "weather_missing": "the weather is not known yet",
    "weather_stale": "the weather is as of some time ago",
    "experiences_missing": "we know no sights there",
    "experiences_indicative": "hours and prices of sights are a guide",
    "ground_times_assumed": "ways to and from the airport are usual values",
    "delays_nationwide": "delays are an average over many airports",
    "origin_missing": "where you come from is not known",
    "destination_missing": "where you go on to is not known",
    "passport_missing": "your passport is not known",
    "visa_unknown": "the rules of entry for your passport are not in our table",
    "premium_missing": "there is no other journey to compare with",
}
# From which confidence on these words hold.
CERTAINTIES: Final = ((0.85, "quite sure"), (0.65, "fairly sure"), (0.0, "a rough idea"))

VISAS: Final = {
    "free": ("Enter without a visa", "good"),
    "own_country": ("Your own country", "good"),
    "no_border": ("No border on the way", "good"),
    "authorisation": ("Ask for an authorisation online before you travel", "mind"),
    "on_arrival": ("A visa is to be had on arrival", "plain"),
    "required": ("A visa is needed to leave the airport", "mind"),
    "unknown": ("Not known", "plain"),
}
BAGS: Final = {
    "checked_through": "Bags go through",
    "claim_and_recheck": "Collect your bags and check them in again",
    "ask_the_airline": "Ask the airline about your bags",
}
WEATHER_STATES: Final = {
    "fresh": "",
    "last_known": "The forecast is an older one: the newest cannot be had at the moment.",
    "unavailable": "The forecast cannot be had at the moment.",
    "beyond_forecast": "Too far ahead for a forecast: look again nearer to the day.",
    "off": "There is no forecast on these pages yet.",
}
# WMO 4677, as weather services use it: up to which code the words and the sign hold.
SKIES: Final = (
    (0, "Clear", "sun"),
    (2, "Fair", "fair"),
    (3, "Overcast", "cloud"),
    (48, "Fog", "cloud"),
    (57, "Drizzle", "rain"),
    (67, "Rain", "rain"),
    (77, "Snow", "snow"),
    (82, "Showers", "rain"),
    (86, "Snow showers", "snow"),
    (99, "Thunderstorm", "storm"),
)

# The map, in its own units.
MAP_CENTRE: Final = (410.0, 180.0)
MAP_AIRPORT: Final = (70.0, 180.0)
MAP_RADIUS: Final = 150.0
RINGS_KM: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


@dataclass(frozen=True, slots=True)
class PlanStop:
    """A stop of the plan, on the city's clock."""

    number: int
    name: str
    category: str
    rating: float
    price: str
    way_minutes: int
    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class WeatherHour:
    """An hour's weather; `sign` names its drawing."""

    hour: datetime
    degrees: int
    words: str
    sign: str
    rain: str


@dataclass(frozen=True, slots=True)
class Share:
    """A component of the score: per cent of its best, None where it is not known, and points."""

    label: str
    percent: int | None
    points: float
    most: float


@dataclass(frozen=True, slots=True)
class Spot:
    """A sight on the map; `number` is its place in the plan, 0 if it is not in it."""

    number: int
    name: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Ring:
    """A circle of equal distance from the centre."""

    label: str
    radius: float


@dataclass(frozen=True, slots=True)
class Map:
    """Sights around a city's centre: distances are to scale, directions are not known."""

    spots: tuple[Spot, ...]
    rings: tuple[Ring, ...]
    centre: tuple[float, float] = MAP_CENTRE
    airport: tuple[float, float] = MAP_AIRPORT

    @property
    def others(self) -> list[str]:
        """The sights that the plan does not name."""
        return [spot.name for spot in self.spots if not spot.number]


@dataclass(frozen=True, slots=True)
class Insight:
    """An analysis, ready to be shown."""

    document: Mapping[str, Any]
    score: int
    certainty: str
    doubts: tuple[str, ...]
    shares: tuple[Share, ...]
    visits: tuple[PlanStop, ...]
    back: datetime | None
    hours: tuple[WeatherHour, ...]
    weather_note: str
    visa: str
    visa_tone: str
    bags: str
    safety_percent: int | None
    extra_price: str

    @property
    def in_city(self) -> bool:
        return bool(self.document["mode"] == "city")

    @property
    def obstacles(self) -> list[str]:
        return [obstacle["detail"] for obstacle in self.document["obstacles"]]


def analysed(stay: Stay, site: Site, places: Places, *, now: datetime) -> dict[str, Any] | None:
    """Return the analysis of a layover, None where none can be made.

    It cannot of one that is over, nor of one that goes on from another airport.
    """
    if stay.airport_change:
        return None
    given = {
        "airport": stay.place.iata,
        "arrival": stay.arrives.isoformat(timespec="minutes"),
        "departure": stay.departs.isoformat(timespec="minutes"),
        "from": stay.origin.iata if stay.origin and stay.origin != stay.place else "",
        "to": stay.destination.iata if stay.destination and stay.destination != stay.place else "",
        "passport": stay.passport,
        "self_transfer": "true" if "self_transfer" in stay.flags else "",
        **stay.compared,
    }
    try:
        question = parse_values(given, zones=places.zones, now=now)
    except InvalidInput:
        return None
    asked = Asked(
        question,
        weights_of(site.tenant),
        real_time_weather=flags.enabled("real_time_weather", site.flag_context),
    )
    return kept_analysis(asked, now=now).document


def insight(document: Mapping[str, Any], currency: str) -> Insight:
    """Return an analysis in plain words; what the journey costs more is of the currency."""
    confidence = document["confidence"]
    visa, tone = VISAS.get(document["visa"]["requirement"], VISAS["unknown"])
    share = document["connection"]["share_on_time"]
    plan, premium = document["plan"], document["premium"] or {}
    return Insight(
        document=document,
        score=document["score"] or 0,
        certainty=next(words for least, words in CERTAINTIES if confidence >= least),
        doubts=tuple(DOUBTS[doubt] for doubt in document["doubts"] if doubt in DOUBTS),
        shares=tuple(_share(component) for component in document["components"]),
        visits=tuple(_visit(number, stop) for number, stop in enumerate(plan["stops"], 1)),
        back=datetime.fromisoformat(plan["back_at_airport"]) if plan["back_at_airport"] else None,
        hours=tuple(_hour(hour) for hour in document["weather"]["hours"]),
        weather_note=WEATHER_STATES.get(document["weather"]["state"], ""),
        visa=visa,
        visa_tone=tone,
        bags=BAGS.get(document["bags"]["advice"], BAGS["ask_the_airline"]),
        safety_percent=None if share is None else math.floor(100 * share),
        extra_price=_extra(premium.get("extra_price"), currency),
    )


def _extra(amount: str | None, currency: str) -> str:
    minor = int(Decimal(amount or 0).scaleb(DECIMALS.get(currency, 2)))
    return money(minor, currency) if minor > 0 else ""


def _share(component: Mapping[str, Any]) -> Share:
    value = component["value"]
    return Share(
        label=COMPONENTS.get(component["name"], component["name"]),
        percent=None if value is None else round(100 * value),
        points=component["points"],
        most=round(100 * component["weight"], 1),
    )


def _visit(number: int, stop: Mapping[str, Any]) -> PlanStop:
    price = stop["price_from_minor"]
    shown = "" if price is None else money(price, stop["price_currency"])
    return PlanStop(
        number=number,
        name=stop["name"],
        category=Experience.Category(stop["category"]).label,
        rating=stop["rating"],
        price="free" if price == 0 else f"from {shown}" if shown else "",
        way_minutes=stop["way_minutes"],
        begins=datetime.fromisoformat(stop["begins"]),
        ends=datetime.fromisoformat(stop["ends"]),
    )


def _hour(hour: Mapping[str, Any]) -> WeatherHour:
    code = hour["weather_code"]
    words, sign = next((words, sign) for most, words, sign in SKIES if code <= most)
    rain = hour["precipitation"]
    return WeatherHour(
        hour=datetime.fromisoformat(hour["hour"]),
        degrees=round(hour["temperature"]),
        words=words,
        sign=sign,
        rain=f"{rain:g} mm" if rain >= 0.1 else "",
    )


def drawn(sights: Sequence[Experience], visits: Sequence[PlanStop]) -> Map | None:
    """Return the map of a city's sights by their distances; None where none is known."""
    numbers = {visit.name: visit.number for visit in visits}
    known = [sight for sight in sights if sight.distance_metres is not None]
    # What the plan names comes first, the others by how they are rated.
    known.sort(key=lambda sight: (numbers.get(sight.name, 99), -sight.rating_tenths, sight.name))
    shown = known[:12]
    if not shown:
        return None
    farthest = max(max(_km(sight) for sight in shown), RINGS_KM[0])
    scale = MAP_RADIUS / farthest
    spots = [
        _spot(sight, numbers.get(sight.name, 0), position, len(shown), scale)
        for position, sight in enumerate(shown)
    ]
    rings = [Ring(f"{km:g} km", round(km * scale, 1)) for km in RINGS_KM if km <= farthest * 1.01]
    return Map(tuple(spots), tuple(rings[-2:]))


def _km(sight: Experience) -> float:
    return (sight.distance_metres or 0) / 1000


def _spot(sight: Experience, number: int, position: int, count: int, scale: float) -> Spot:
    """Place a sight at its distance; they go round, but for the side where the airport is."""
    turn = position / count
    at_airport = sight.base == Experience.Base.AIRPORT
    base = MAP_AIRPORT if at_airport else MAP_CENTRE
    # At the airport they stand above the road and below it in turns.
    side = (60 + 40 * turn) * (-1) ** position
    angle = math.radians(side if at_airport else -150 + 300 * turn)
    reach = min(_km(sight) * scale, MAP_RADIUS)
    return Spot(
        number,
        sight.name,
        round(base[0] + reach * math.cos(angle), 1),
        round(base[1] + reach * math.sin(angle), 1),
    )
