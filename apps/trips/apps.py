from django.apps import AppConfig


class TripsConfig(AppConfig):
    """What identifies travellers; its tables can live in an enterprise's own schema."""

    name = "apps.trips"
    verbose_name = "Trips"
