"""The project's settings, with the peers' apps and endpoints beside its own."""

from layoverhq.settings import *  # noqa: F403

ROOT_URLCONF = "bench.urls"
LOGGING["root"]["level"] = "WARNING"  # noqa: F405

SHARED_APPS = [*SHARED_APPS, "constance", "waffle"]  # noqa: F405
INSTALLED_APPS = [*INSTALLED_APPS, "constance", "waffle"]  # noqa: F405
# The seven keys that the project's migrations seed, as django-constance declares them.
CONSTANCE_CONFIG = {
    "API_RATE_LIMIT_DEFAULT": (1000, "Default API rate limit per hour", int),
    "WEATHER_CACHE_TTL": (300, "Weather data cache TTL in seconds", int),
    "FLIGHT_SEARCH_TIMEOUT": (30, "Flight search timeout in seconds", int),
    "LAYOVER_MIN_DURATION": (90, "Minimum layover duration in minutes", int),
    "ALGORITHM_WEATHER_WEIGHT": (0.3, "Weather factor in scoring algorithm", float),
    "SECURITY_SESSION_TIMEOUT": (3600, "Session timeout in seconds", int),
    "FEATURES_EXPERIMENTAL_ML": (False, "Enable experimental ML features", bool),
}
CONSTANCE_BACKEND = "constance.backends.memory.MemoryBackend"

CACHES["waffle"] = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}  # noqa: F405
WAFFLE_CACHE_NAME = "waffle"
