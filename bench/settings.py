"""The project's settings, with the endpoints of the peers mounted beside its own."""

from layoverhq.settings import *  # noqa: F403

ROOT_URLCONF = "bench.urls"
LOGGING["root"]["level"] = "WARNING"  # noqa: F405
