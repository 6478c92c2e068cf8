"""Customers in the admin: enterprises, their keys and people."""

from apps.tenants.admin.api_keys import ApiKeyAdmin
from apps.tenants.admin.enterprises import EnterpriseAdmin
from apps.tenants.admin.moves import EnterpriseMoveAdmin
from apps.tenants.admin.users import UserAdmin

__all__ = ["ApiKeyAdmin", "EnterpriseAdmin", "EnterpriseMoveAdmin", "UserAdmin"]
