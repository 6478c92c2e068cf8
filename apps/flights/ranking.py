"""How much the parts of an offer's score count, for a tenant and a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from apps.configs.runtime import configs
from apps.flags.runtime import flags
from layoverhq.tenancy import TenantRef

# Raised when the formula changes, so that scores of two formulas are not compared.
SCORE_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Weights:
    """What counts how much; only their ratios matter, and 0 leaves a component out."""

    city: float
    experience: float
    weather: float
    safety: float
    premium: float
    preference: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """The weights that hold for a request, and where they come from."""

    weights: Weights
    source: str = "configuration"

    def document(self) -> dict[str, Any]:
        """Return it as the API tells it."""
        return {
            "score_version": SCORE_VERSION,
            "source": self.source,
            "weights": asdict(self.weights),
        }


def ranking_for(tenant: TenantRef, context: Mapping[str, Any]) -> Ranking:
    """Return by what the tenant's offers are ranked.

    `context` is what flags are evaluated in. Weather counts where `real_time_weather` is on, and
    what travellers chose before where `enhanced_search` is.
    """
    city, experience, weather, safety, premium, preference = configs.together(
        "algorithm.city_weight",
        "algorithm.experience_weight",
        "algorithm.weather_weight",
        "algorithm.safety_weight",
        "algorithm.premium_weight",
        "algorithm.preference_weight",
        tenant=tenant,
    )
    return Ranking(
        Weights(
            city=city,
            experience=experience,
            weather=weather if flags.enabled("real_time_weather", context) else 0,
            safety=safety,
            premium=premium,
            preference=preference if flags.enabled("enhanced_search", context) else 0,
        )
    )
