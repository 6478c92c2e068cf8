"""The shapes of bodies, for the OpenAPI document: see answers for what writes them."""

from __future__ import annotations

from rest_framework import serializers

from apps.configs.api.answers import SOURCES
from apps.configs.models import ValueType

ANY = "Of the type that `value_type` names; null for a secret."


class ConfigItemSerializer(serializers.Serializer[None]):
    key = serializers.CharField()
    value = serializers.JSONField(
        allow_null=True, help_text=f"{ANY} Null, too, where there is neither value nor default."
    )
    source = serializers.ChoiceField(  # type: ignore[assignment]  # a name of DRF's own
        choices=[(source, source) for source in SOURCES],
        help_text="Which layer it comes from; `release` is a value that not all have yet.",
    )
    value_type = serializers.ChoiceField(choices=ValueType.choices)
    unit = serializers.CharField(allow_blank=True)
    is_secret = serializers.BooleanField()
    overridable = serializers.BooleanField(help_text="Whether you may set a value of your own.")
    category = serializers.CharField()
    description = serializers.CharField()


class ConfigListSerializer(serializers.Serializer[None]):
    results = ConfigItemSerializer(many=True)


class OverrideSerializer(serializers.Serializer[None]):
    version = serializers.IntegerField(
        min_value=0, help_text="To send with the next change; 0 where you have no value."
    )
    value = serializers.JSONField(allow_null=True, help_text=ANY)
    expires_at = serializers.DateTimeField(allow_null=True)


class ConfigSerializer(ConfigItemSerializer):
    schema = serializers.JSONField(help_text="JSON Schema that every value satisfies.")
    override = OverrideSerializer(help_text="Your own value.")


class LayerSerializer(serializers.Serializer[None]):
    source = serializers.ChoiceField(  # type: ignore[assignment]
        choices=[(source, source) for source in SOURCES]
    )
    value = serializers.JSONField(allow_null=True, help_text=ANY)
    version = serializers.IntegerField(min_value=1, allow_null=True)
    holds = serializers.BooleanField()
    problem = serializers.CharField(
        allow_blank=True, help_text="Why it cannot hold, so that the default does."
    )


class ExplanationSerializer(serializers.Serializer[None]):
    key = serializers.CharField()
    is_secret = serializers.BooleanField()
    layers = LayerSerializer(
        many=True, help_text="What stands for the key; each layer hides the ones after it."
    )


class OverrideRequestSerializer(serializers.Serializer[None]):
    value = serializers.JSONField(help_text="Of the key's type and schema; never null.")
    version = serializers.IntegerField(
        min_value=0,
        max_value=2**31 - 1,
        help_text="`override.version` as you read it; 0 where you had no value.",
    )
