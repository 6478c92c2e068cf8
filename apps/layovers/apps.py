from django.apps import AppConfig


class LayoversConfig(AppConfig):
    """What a layover is worth: experiences, weather, plans and their scores."""

    name = "apps.layovers"
    verbose_name = "Layovers"
