"""Inventory in the admin: offers, connections, rates, search and its ranking, providers."""

from apps.flights.admin.connections import (
    AirportAdmin,
    ComposedDayAdmin,
    ComposedRouteAdmin,
    MinimumConnectionTimeAdmin,
)
from apps.flights.admin.offers import (
    EnterpriseFlightAdmin,
    FlightAdmin,
    InventoryLoadAdmin,
    OfferImportAdmin,
)
from apps.flights.admin.ranking import OfferChoiceAdmin, RankerVersionAdmin
from apps.flights.admin.rates import ExchangeRateAdmin
from apps.flights.admin.searching import (
    PartitionAdmin,
    PopularRouteAdmin,
    RouteAdmin,
    SearchPlaygroundAdmin,
)
from apps.flights.providers.admin import (
    FlightProviderAdmin,
    ProviderFetchAdmin,
    ProviderRejectAdmin,
    ProviderRouteAdmin,
)

__all__ = [
    "AirportAdmin",
    "ComposedDayAdmin",
    "ComposedRouteAdmin",
    "EnterpriseFlightAdmin",
    "ExchangeRateAdmin",
    "FlightAdmin",
    "FlightProviderAdmin",
    "InventoryLoadAdmin",
    "MinimumConnectionTimeAdmin",
    "OfferChoiceAdmin",
    "OfferImportAdmin",
    "PartitionAdmin",
    "PopularRouteAdmin",
    "ProviderFetchAdmin",
    "ProviderRejectAdmin",
    "ProviderRouteAdmin",
    "RankerVersionAdmin",
    "RouteAdmin",
    "SearchPlaygroundAdmin",
]
