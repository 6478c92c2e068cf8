from django.urls import path

from apps.layovers.api import views

urlpatterns = [
    path("layovers/search", views.AnalysedSearchView.as_view(), name="api-layover-search"),
    path("layovers/analysis", views.LayoverAnalysisView.as_view(), name="api-layover-analysis"),
]
