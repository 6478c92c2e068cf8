"""The seven seeded keys, read as code reads them: by literals, one after the other."""

from __future__ import annotations

from typing import Any

import constance.settings
from constance import LazyConfig

from apps.configs.runtime import configs
from layoverhq.tenancy import TenantRef

KEYS = 7


def of_platform() -> tuple[Any, ...]:
    """Read them for nobody."""
    return (
        configs.get("api.rate_limit.default"),
        configs.get("weather.cache_ttl"),
        configs.get("flight.search_timeout"),
        configs.get("layover.min_duration"),
        configs.get("algorithm.weather_weight"),
        configs.get("security.session_timeout"),
        configs.get("features.experimental_ml"),
    )


def of_tenant(tenant: TenantRef) -> tuple[Any, ...]:
    """Read them for a tenant."""
    return (
        configs.get("api.rate_limit.default", tenant),
        configs.get("weather.cache_ttl", tenant),
        configs.get("flight.search_timeout", tenant),
        configs.get("layover.min_duration", tenant),
        configs.get("algorithm.weather_weight", tenant),
        configs.get("security.session_timeout", tenant),
        configs.get("features.experimental_ml", tenant),
    )


def of_constance(config: LazyConfig) -> tuple[Any, ...]:
    """Read them from the peer, which knows no tenants."""
    return (
        config.API_RATE_LIMIT_DEFAULT,
        config.WEATHER_CACHE_TTL,
        config.FLIGHT_SEARCH_TIMEOUT,
        config.LAYOVER_MIN_DURATION,
        config.ALGORITHM_WEATHER_WEIGHT,
        config.SECURITY_SESSION_TIMEOUT,
        config.FEATURES_EXPERIMENTAL_ML,
    )


def constance_with(backend: str, *, cache: str | None = None) -> LazyConfig:
    """Return what `from constance import config` is with these settings, holding our values.

    It reads its settings when it is first used, so that one process can have several.
    """
    constance.settings.BACKEND = backend
    constance.settings.DATABASE_CACHE_BACKEND = cache
    config = LazyConfig()
    for name, value in zip(constance.settings.CONFIG, of_platform(), strict=True):
        setattr(config, name, value)
    return config
