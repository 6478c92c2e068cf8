"""How much the parts of an offer's score count, for a tenant and a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.utils import timezone

from apps.configs.runtime import configs
from apps.flags.runtime import flags
from apps.flights.learned import learned_ranking
from apps.flights.weights import DECIMALS, SCORE_VERSION, Weights
from layoverhq.tenancy import TenantRef


@dataclass(frozen=True, slots=True)
class Ranking:
    """The weights that hold for a request, and where they come from."""

    weights: Weights
    source: str = "configuration"
    # of learned ones
    version: UUID | None = None

    def document(self) -> dict[str, Any]:
        """Return it as the API tells it."""
        document: dict[str, Any] = {
            "score_version": SCORE_VERSION,
            "source": self.source,
            "weights": asdict(self.weights),
        }
        if self.version is not None:
            document["version"] = str(self.version)
        return document


def ranking_for(tenant: TenantRef, context: Mapping[str, Any]) -> Ranking:
    """Return by what the tenant's offers are ranked.

    `context` is what flags are evaluated in. Weights are the configured ones, or with
    `features.experimental_ml` those that were learned, where some can be used.
    """
    counted = counted_components(context)
    if configs.get("features.experimental_ml", tenant):
        learned = learned_ranking(tenant, counted, now=timezone.now())
        if learned is not None:
            return Ranking(learned.weights, source="learned", version=learned.id)
    return Ranking(configured_weights(tenant).of(counted))


def counted_components(context: Mapping[str, Any]) -> dict[str, bool]:
    """Return whether the components count that not everybody has.

    Weather does where `real_time_weather` is on, and what travellers chose before where
    `enhanced_search` is.
    """
    return {
        "weather": flags.enabled("real_time_weather", context),
        "preference": flags.enabled("enhanced_search", context),
    }


def configured_weights(tenant: TenantRef | None) -> Weights:
    """Return the weights of the tenant's configuration, or of the platform's."""
    weights = configs.together(
        "algorithm.city_weight",
        "algorithm.experience_weight",
        "algorithm.weather_weight",
        "algorithm.safety_weight",
        "algorithm.premium_weight",
        "algorithm.preference_weight",
        tenant=tenant,
    )
    # PostgreSQL refuses products that are too small to tell from 0.
    return Weights(*(round(weight, DECIMALS) for weight in weights))
