from __future__ import annotations

from typing import ClassVar

from rest_framework import serializers

from apps.tenants.models import ApiKey, Enterprise


class EnterpriseSerializer(serializers.ModelSerializer[Enterprise]):
    class Meta:
        model = Enterprise
        fields: ClassVar[list[str]] = ["id", "name", "slug", "subscription_plan", "created_at"]


class ApiKeySerializer(serializers.ModelSerializer[ApiKey]):
    class Meta:
        model = ApiKey
        fields: ClassVar[list[str]] = [
            "id",
            "name",
            "prefix",
            "scopes",
            "expires_at",
            "last_used_at",
            "revoked_at",
            "created_at",
        ]
