from django.urls import path

from apps.flights.api import imports, journeys, views

urlpatterns = [
    path("flights/search", views.FlightSearchView.as_view(), name="api-flight-search"),
    path(
        "flights/itineraries",
        journeys.ItinerarySearchView.as_view(),
        name="api-flight-itineraries",
    ),
    path("flights/calendar", journeys.PriceCalendarView.as_view(), name="api-flight-calendar"),
    path("flights/layovers", journeys.LayoverSearchView.as_view(), name="api-flight-layovers"),
    path(
        "flights/popular-routes",
        journeys.PopularRoutesView.as_view(),
        name="api-popular-routes",
    ),
    path("flights/import", imports.FlightImportView.as_view(), name="api-flight-import"),
    path(
        "flights/import/<uuid:import_id>",
        imports.FlightImportJobView.as_view(),
        name="api-flight-import-job",
    ),
]
