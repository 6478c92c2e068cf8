from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    """Events that enterprises are told of at addresses of their own."""

    name = "apps.webhooks"
    verbose_name = "Webhooks"
