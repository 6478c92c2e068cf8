from django.apps import AppConfig


class AuditConfig(AppConfig):
    """Who changed what, when and why: written by triggers, read in the admin."""

    name = "apps.audit"
    verbose_name = "Audit"
