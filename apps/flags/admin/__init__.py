"""Feature flags in the admin: flags, their versions, experiments, segments, namespaces."""

from apps.flags.admin.experiments import ExperimentAdmin
from apps.flags.admin.flags import FeatureFlagAdmin
from apps.flags.admin.namespaces import FlagNamespaceAdmin
from apps.flags.admin.segments import FlagSegmentAdmin
from apps.flags.admin.versions import FlagVersionAdmin

__all__ = [
    "ExperimentAdmin",
    "FeatureFlagAdmin",
    "FlagNamespaceAdmin",
    "FlagSegmentAdmin",
    "FlagVersionAdmin",
]
