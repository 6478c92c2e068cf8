"""Providers, their plan and their log, as operators see and steer them."""

from apps.flights.providers.admin.log import ProviderFetchAdmin, ProviderRejectAdmin
from apps.flights.providers.admin.plan import ProviderRouteAdmin
from apps.flights.providers.admin.providers import FlightProviderAdmin

__all__ = [
    "FlightProviderAdmin",
    "ProviderFetchAdmin",
    "ProviderRejectAdmin",
    "ProviderRouteAdmin",
]
