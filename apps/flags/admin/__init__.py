"""Feature flags in the admin: experiments."""

from apps.flags.admin.experiments import ExperimentAdmin

__all__ = ["ExperimentAdmin"]
