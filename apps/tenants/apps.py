from django.apps import AppConfig


class TenantsConfig(AppConfig):
    """Enterprises, their domains, users and API keys."""

    name = "apps.tenants"
    verbose_name = "Tenants"

    def ready(self) -> None:
        from apps.tenants.api import schema  # noqa: F401 - registers itself
