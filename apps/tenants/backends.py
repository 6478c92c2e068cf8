"""Who may log in to the admin."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend

from apps.tenants.models import User


class OperatorBackend(ModelBackend):
    """Let living, active operators in, by email and password."""

    def user_can_authenticate(self, user: Any) -> bool:
        return (
            isinstance(user, User)
            and user.is_active
            and user.is_operator
            and user.deleted_at is None
        )
