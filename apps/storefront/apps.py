from django.apps import AppConfig


class StorefrontConfig(AppConfig):
    """The pages that travellers see on an enterprise's own domain."""

    name = "apps.storefront"
    verbose_name = "Storefronts"
