"""The shapes of bodies, for the OpenAPI document; views read requests with layoverhq.members."""

from __future__ import annotations

import json
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.webhooks.models import Event, WebhookDelivery, WebhookEndpoint
from apps.webhooks.operations import (
    LONGEST_DESCRIPTION,
    LONGEST_URL,
    MAXIMUM_OVERLAP_HOURS,
)

MAXIMUM_VERSION = 2**31 - 1
# What its owner may make of it; only failing makes it disabled.
SETTABLE = [choice for choice in WebhookEndpoint.Status.choices if choice[0] != "disabled"]


class WebhookSerializer(serializers.ModelSerializer[WebhookEndpoint]):
    events = serializers.ListField(child=serializers.ChoiceField(choices=Event.choices))

    class Meta:
        model = WebhookEndpoint
        fields = (
            "id", "url", "description", "events", "status", "status_reason", "old_secret_until",
            "failing_since", "failures", "last_success_at", "last_failure_at", "last_error",
            "version", "created_at", "updated_at",
        )  # fmt: skip


class WebhookWithSecretSerializer(WebhookSerializer):
    secret = serializers.CharField(help_text="Told this once: `whsec_` and the key in base64.")

    class Meta(WebhookSerializer.Meta):
        fields = (*WebhookSerializer.Meta.fields, "secret")  # type: ignore[assignment]


class WebhookPageSerializer(serializers.Serializer[None]):
    results = WebhookSerializer(many=True)
    next = serializers.CharField(allow_null=True)


class WebhookRequestSerializer(serializers.Serializer[None]):
    url = serializers.CharField(min_length=1, max_length=LONGEST_URL, help_text="https only.")
    events = serializers.ListField(
        child=serializers.ChoiceField(choices=Event.choices), min_length=1
    )
    description = serializers.CharField(required=False, max_length=LONGEST_DESCRIPTION)


class WebhookPatchSerializer(serializers.Serializer[None]):
    version = serializers.IntegerField(
        min_value=1, max_value=MAXIMUM_VERSION, help_text="`version` as you read it."
    )
    url = serializers.CharField(required=False, min_length=1, max_length=LONGEST_URL)
    events = serializers.ListField(
        required=False, child=serializers.ChoiceField(choices=Event.choices), min_length=1
    )
    description = serializers.CharField(required=False, max_length=LONGEST_DESCRIPTION)
    status = serializers.ChoiceField(required=False, choices=SETTABLE)


class RotationSerializer(serializers.Serializer[None]):
    overlap_hours = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=MAXIMUM_OVERLAP_HOURS,
        help_text="For how long the secret before signs as well; 24 if it is missing.",
    )


class NothingSerializer(serializers.Serializer[None]):
    """A body without members."""


class DeliverySerializer(serializers.ModelSerializer[WebhookDelivery]):
    body = serializers.SerializerMethodField(help_text="What is sent.")
    next_attempt_at = serializers.DateTimeField(
        source="due_at", allow_null=True, help_text="null unless it is pending."
    )

    class Meta:
        model = WebhookDelivery
        fields = (
            "id", "event_id", "event", "status", "attempts", "next_attempt_at",
            "last_attempt_at", "last_status_code", "last_excerpt", "last_error", "created_at",
            "finished_at", "body",
        )  # fmt: skip

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_body(self, delivery: WebhookDelivery) -> Any:
        return json.loads(delivery.body)


class DeliveryPageSerializer(serializers.Serializer[None]):
    results = DeliverySerializer(many=True)
    next = serializers.CharField(allow_null=True)
