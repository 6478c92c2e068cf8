from django.urls import path

from apps.flights.api import views

urlpatterns = [
    path("flights/search", views.FlightSearchView.as_view(), name="api-flight-search"),
]
