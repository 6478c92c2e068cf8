"""Configuration in the admin: keys, change sets, versions."""

from apps.configs.admin.change_sets import ConfigChangeSetAdmin
from apps.configs.admin.keys import ConfigCategoryAdmin, ConfigKeyAdmin
from apps.configs.admin.versions import SystemConfigAdmin

__all__ = ["ConfigCategoryAdmin", "ConfigChangeSetAdmin", "ConfigKeyAdmin", "SystemConfigAdmin"]
