from django.urls import path

from apps.trips.api import views

urlpatterns = [
    path("travellers", views.TravellerListView.as_view(), name="api-traveller-list"),
    path("travellers/<uuid:traveller_id>", views.TravellerView.as_view(), name="api-traveller"),
    path("saved-searches", views.SavedSearchListView.as_view(), name="api-saved-search-list"),
    path(
        "saved-searches/<uuid:search_id>", views.SavedSearchView.as_view(), name="api-saved-search"
    ),
    path(
        "saved-searches/<uuid:search_id>/results",
        views.SavedSearchResultsView.as_view(),
        name="api-saved-search-results",
    ),
    path("trips", views.TripListView.as_view(), name="api-trip-list"),
    path("trips/<uuid:trip_id>", views.TripView.as_view(), name="api-trip"),
    path("alerts", views.AlertListView.as_view(), name="api-alert-list"),
    path("alerts/<uuid:alert_id>", views.AlertView.as_view(), name="api-alert"),
    path("alerts/<uuid:alert_id>/events", views.AlertEventsView.as_view(), name="api-alert-events"),
]
