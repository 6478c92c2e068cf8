from django.apps import AppConfig


class FlagsConfig(AppConfig):
    """Feature flags: targeting, rollouts and experiments, alike in SQL and in Python."""

    name = "apps.flags"
    verbose_name = "Feature flags"
