from django.apps import AppConfig


class ConfigsConfig(AppConfig):
    """Runtime configuration: declared keys, versioned values, change sets."""

    name = "apps.configs"
    verbose_name = "Configuration"
