"""The parts of an offer's score, and how much each counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

# Raised when the formula changes, so that scores of two formulas are not compared.
SCORE_VERSION: Final = 1

# Weights beyond that are none.
DECIMALS: Final = 6


@dataclass(frozen=True, slots=True)
class Weights:
    """What counts how much; only their ratios matter, and 0 leaves a component out."""

    city: float
    experience: float
    weather: float
    safety: float
    premium: float
    preference: float

    def of(self, counted: Mapping[str, bool]) -> Weights:
        """Return them without the components that do not count here."""
        return Weights(
            **{
                name: weight if counted.get(name, True) else 0
                for name, weight in asdict(self).items()
            }
        )

    @property
    def total(self) -> float:
        return math.fsum(asdict(self).values())


# In the order of the SQL type offer_components.
COMPONENTS: Final = tuple(field.name for field in fields(Weights))


def usable_weights(document: Any) -> Weights:
    """Return stored weights: one of 0 to 1 for each component, of which some count.

    Raises ValueError for others.
    """
    if not isinstance(document, Mapping) or set(document) != set(COMPONENTS):
        raise ValueError("These are not the components.")
    for name, weight in document.items():
        # NaN is in no range.
        if type(weight) not in (int, float) or not 0 <= weight <= 1:
            raise ValueError(f"{name}: {weight!r} is no weight.")
    weights = Weights(**document)
    if not weights.total > 0:
        raise ValueError("Nothing counts.")
    return weights
