from django.urls import path

from apps.configs.api import views

urlpatterns = [
    path("configs", views.ConfigListView.as_view(), name="api-config-list"),
    path("configs/<str:key>", views.ConfigView.as_view(), name="api-config"),
    path("configs/<str:key>/explain", views.ConfigExplainView.as_view(), name="api-config-explain"),
    path("events", views.EventsView.as_view(), name="api-events"),
]
