from django.urls import path

from apps.webhooks.api import views

_ONE = "webhooks/<uuid:webhook_id>"

urlpatterns = [
    path("webhooks", views.WebhookListView.as_view(), name="api-webhook-list"),
    path(_ONE, views.WebhookView.as_view(), name="api-webhook"),
    path(f"{_ONE}/ping", views.WebhookPingView.as_view(), name="api-webhook-ping"),
    path(f"{_ONE}/rotate-secret", views.WebhookSecretView.as_view(), name="api-webhook-secret"),
    path(f"{_ONE}/deliveries", views.DeliveryListView.as_view(), name="api-webhook-deliveries"),
    path(
        f"{_ONE}/deliveries/<uuid:delivery_id>",
        views.DeliveryView.as_view(),
        name="api-webhook-delivery",
    ),
    path(
        f"{_ONE}/deliveries/<uuid:delivery_id>/replay",
        views.DeliveryReplayView.as_view(),
        name="api-webhook-replay",
    ),
]
