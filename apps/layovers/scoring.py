"""The score of one layover: components from 0 to 1, weighed, with how sure one may be of it.

`docs/layovers.md` has the formulas in words; a change of any of them is a new SCORE_VERSION.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

SCORE_VERSION: Final = 1

# Who has less than this in town stays at the airport.
CITY_FROM_MINUTES: Final = 120
# As much usable time as a layover needs for the full mark.
FULL_CITY_MINUTES: Final = 360

# One experience alone earns at most this share of the full appeal.
APPEAL_SHARE: Final = 0.6
# Ratings at which an experience is worth nothing, and everything, in tenths.
WORTHLESS_TENTHS: Final = 30
BEST_TENTHS: Final = 50

# What halves the premium's mark: this share of the best price, or this much more time.
PREMIUM_SHARE: Final = 0.5
PREMIUM_MINUTES: Final = 720

# A wait at the airport is pleasant up to the first and over by the second.
PLEASANT_WAIT_MINUTES: Final = 180
ENDLESS_WAIT_MINUTES: Final = 720


@dataclass(frozen=True, slots=True)
class Weights:
    """What each component counts, from 0 to 1; they are put in proportion to their sum."""

    city: float
    experience: float
    weather: float
    safety: float
    premium: float

    def document(self) -> dict[str, float]:
        """Return them by component."""
        return {name: float(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Component:
    """One part of a score; `value` is None where nothing is known, and then it has no weight."""

    name: str
    value: float | None
    weight: float


@dataclass(frozen=True, slots=True)
class Score:
    """The score from 0 to 100, and of what it is made; None where no component is known."""

    value: int | None
    components: tuple[Component, ...]

    def document(self) -> list[dict[str, Any]]:
        """Return each component with its share of the weight, and the points that it brings."""
        total = _weight(self.components)
        return [
            {
                "name": each.name,
                "value": None if each.value is None else round(each.value, 3),
                "weight": 0.0 if each.value is None or not total else round(each.weight / total, 3),
                "points": 0.0
                if each.value is None or not total
                else round(100 * each.value * each.weight / total, 1),
            }
            for each in self.components
        ]


def score(components: Sequence[Component]) -> Score:
    """Return 100 × Σ weight × value, over the components that are known."""
    known = [each for each in components if each.value is not None]
    total = _weight(components)
    if not known:
        return Score(None, tuple(components))
    if not total:
        # Nothing that is known counts for this tenant: all counts alike.
        components = [Component(each.name, each.value, 1.0) for each in components]
        return score(components)
    points = sum(each.weight * each.value for each in known if each.value is not None)
    return Score(round(100 * points / total), tuple(components))


def _weight(components: Iterable[Component]) -> float:
    return sum(each.weight for each in components if each.value is not None)


def city_value(usable_minutes: int) -> float:
    """Return what usable time is worth: all of it from six hours on."""
    return min(1.0, usable_minutes / FULL_CITY_MINUTES)


def experience_value(rating_tenths: int) -> float:
    """Return what one experience is worth: 0 at three stars, 1 at five."""
    return min(1.0, max(0.0, (rating_tenths - WORTHLESS_TENTHS) / (BEST_TENTHS - WORTHLESS_TENTHS)))


def appeal(ratings_tenths: Iterable[int]) -> float:
    """Return what several experiences are worth together: each adds less than the one before."""
    missed = 1.0
    for rating in ratings_tenths:
        missed *= 1 - APPEAL_SHARE * experience_value(rating)
    return 1 - missed


def premium_value(
    *,
    price: float | None,
    best_price: float | None,
    minutes: int | None,
    best_minutes: int | None,
) -> float | None:
    """Return 1 for the best alternative itself, less for what costs or takes more.

    Half of it is lost at 50 % more money and beyond, half at 12 hours more; prices are of one
    currency.
    Where one of the two is not known the other decides alone; None where neither is.
    """
    losses = []
    if price is not None and best_price is not None:
        extra = max(0.0, price - best_price)
        lost = extra / (PREMIUM_SHARE * best_price) if best_price else float(extra > 0)
        losses.append(min(1.0, lost))
    if minutes is not None and best_minutes is not None:
        losses.append(min(1.0, max(0, minutes - best_minutes) / PREMIUM_MINUTES))
    if not losses:
        return None
    share = 0.5 if len(losses) == 2 else 1.0
    return max(0.0, 1.0 - sum(share * loss for loss in losses))


def waiting_value(*, wait_minutes: int, night_minutes: int) -> float:
    """Return how bearable a wait at the airport is: by its length, and by the night in it."""
    span = ENDLESS_WAIT_MINUTES - PLEASANT_WAIT_MINUTES
    length = min(1.0, max(0.0, (ENDLESS_WAIT_MINUTES - wait_minutes) / span))
    rest = 1.0 - night_minutes / wait_minutes if wait_minutes else 1.0
    return (length + rest) / 2


def comfort(*, temperature: float, precipitation: float, wind_kmh: float, weather_code: int) -> int:
    """Return how pleasant an hour is outdoors, from 0 to 100.

    `temperature` in °C, `precipitation` in mm within the hour, `weather_code` of WMO 4677.
    """
    points = 100.0
    points -= 4 * max(0.0, 18 - temperature) + 6 * max(0.0, temperature - 26)
    points -= 40 * min(1.0, precipitation / 2)
    points -= 20 * min(1.0, max(0.0, wind_kmh - 20) / 40)
    if weather_code >= 95:
        # a thunderstorm
        points -= 40
    return round(min(100.0, max(0.0, points)))


# What is taken off the confidence for an input that is missing, or not as good as it could be.
DOUBTS: Final[Mapping[str, float]] = {
    "weather_missing": 0.20,
    "weather_stale": 0.10,
    "experiences_missing": 0.20,
    "experiences_indicative": 0.05,
    "ground_times_assumed": 0.10,
    "delays_nationwide": 0.05,
    "origin_missing": 0.05,
    "destination_missing": 0.05,
    "passport_missing": 0.10,
    "visa_unknown": 0.10,
    "premium_missing": 0.10,
}


def confidence(doubts: Iterable[str]) -> float:
    """Return how sure one may be, from 0 to 1: each doubt takes its own share."""
    return round(max(0.0, 1.0 - sum(DOUBTS[doubt] for doubt in set(doubts))), 2)
