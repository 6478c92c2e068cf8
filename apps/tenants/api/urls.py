from django.urls import path

from apps.tenants.api import views

urlpatterns = [
    path("enterprise", views.EnterpriseView.as_view(), name="api-enterprise"),
    path("api-keys", views.ApiKeyListView.as_view(), name="api-key-list"),
    path("api-keys/<uuid:key_id>", views.ApiKeyView.as_view(), name="api-key"),
]
