from django.apps import AppConfig


class FlightsConfig(AppConfig):
    """Airports, flight offers and the search by layover."""

    name = "apps.flights"
    verbose_name = "Flights"
