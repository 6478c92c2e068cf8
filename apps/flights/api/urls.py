from django.urls import path

from apps.flights.api import choices, imports, views

urlpatterns = [
    path("flights/search", views.FlightSearchView.as_view(), name="api-flight-search"),
    path("flights/choices", choices.OfferChoiceView.as_view(), name="api-flight-choices"),
    path("flights/import", imports.FlightImportView.as_view(), name="api-flight-import"),
    path(
        "flights/import/<uuid:import_id>",
        imports.FlightImportJobView.as_view(),
        name="api-flight-import-job",
    ),
]
