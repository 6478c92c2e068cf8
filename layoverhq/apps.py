from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class KernelConfig(AppConfig):
    """The kernel, as an app: it has SQL to install and commands to run, and no models."""

    name = "layoverhq"
    verbose_name = "Platform"

    def ready(self) -> None:
        from layoverhq import checks  # noqa: F401 - registers them


class LayoverAdminConfig(admin_apps.AdminConfig):
    """Django's admin with the project's site."""

    default_site = "layoverhq.admin_site.LayoverAdminSite"
    default = False
