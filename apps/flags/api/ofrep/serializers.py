"""The shapes of bodies, for the OpenAPI document: OFREP 0.3's, as far as they are told here."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema_field
from rest_framework import serializers

from layoverhq.openapi import JSON

TARGETING_KEY = {"type": "string", "minLength": 1, "example": "traveller-7"}
CONTEXT = {
    "type": "object",
    "properties": {"targetingKey": TARGETING_KEY},
    "additionalProperties": {},
    "example": {"targetingKey": "traveller-7", "country": "DE", "app_version": "2.10.0"},
}
ERROR_CODES = ("PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "GENERAL")
REASONS = ("STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "DEFAULT")


@extend_schema_field(CONTEXT)
class ContextField(serializers.JSONField):
    """Attributes by name."""


class EvaluationRequestSerializer(serializers.Serializer[None]):
    context = ContextField(  # type: ignore[assignment]  # a name of DRF's own
        help_text=(
            "`targetingKey` is the user, unless `user` says otherwise; `enterprise` and `plan` are"
            " your own, whatever is sent."
        )
    )


class FlagMetadataSerializer(serializers.Serializer[None]):
    version = serializers.IntegerField(help_text="Of the flag; it grows with every change.")
    rule = serializers.CharField(
        required=False, help_text="Which rule or override decided; absent where none did."
    )


class EvaluationSerializer(serializers.Serializer[None]):
    key = serializers.CharField()
    value = serializers.JSONField(
        required=False, help_text="Of the flag's type; absent, your code's own default holds."
    )
    reason = serializers.ChoiceField(choices=[(reason, reason) for reason in REASONS])
    variant = serializers.CharField(required=False)
    metadata = FlagMetadataSerializer()


class BulkEvaluationSerializer(serializers.Serializer[None]):
    flags = EvaluationSerializer(many=True)


@extend_schema_field({"type": "string", "enum": list(ERROR_CODES)})
class ErrorCodeField(serializers.CharField):
    """One of OpenFeature's codes."""


@extend_schema_field({"type": "string", "pattern": "^FLAG_NOT_FOUND$"})
class NotFoundField(serializers.CharField):
    """The one code of what is not found."""


class BulkRefusalSerializer(serializers.Serializer[None]):
    # camelCase is the protocol's
    errorCode: serializers.CharField = ErrorCodeField()
    errorDetails = serializers.CharField()


class RefusalSerializer(BulkRefusalSerializer):
    key = serializers.CharField(allow_blank=True)


class FlagNotFoundSerializer(RefusalSerializer):
    errorCode = NotFoundField()


DESCRIPTIONS = {
    400: "The body is no JSON, or the context cannot be used.",
    401: "No usable API key.",
    403: "The key lacks the scope, or the enterprise is suspended.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "Too many at once; see Retry-After.",
    500: "A defect of ours.",
    503: "The service cannot answer at the moment; see Retry-After.",
}


def refusals(shape: type[serializers.Serializer[None]]) -> dict[tuple[int, str], Any]:
    """Return the refusals of an operation, for extend_schema."""
    return {
        (status, JSON): OpenApiResponse(shape, description=description)
        for status, description in DESCRIPTIONS.items()
    }
