from django.urls import path

from apps.layovers.api import views

urlpatterns = [
    path("layovers/analysis", views.LayoverAnalysisView.as_view(), name="api-layover-analysis"),
]
