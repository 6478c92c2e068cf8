"""The shape of the search's answer, for the OpenAPI document: SQL writes the answer itself."""

from __future__ import annotations

from rest_framework import serializers

from apps.flights.models import MODELLED_FIELDS


class LayoverSerializer(serializers.Serializer[None]):
    airport = serializers.CharField(help_text="IATA code.")
    minutes = serializers.IntegerField(min_value=0)


class SegmentSerializer(serializers.Serializer[None]):
    origin = serializers.CharField(help_text="IATA code.")
    destination = serializers.CharField(help_text="IATA code.")
    departs_at = serializers.CharField(help_text="Local time with its offset from UTC, ISO 8601.")
    arrives_at = serializers.CharField(help_text="Local time with its offset from UTC, ISO 8601.")
    minutes = serializers.IntegerField(min_value=1)
    carrier = serializers.CharField(help_text="IATA airline code.")


class OfferSerializer(serializers.Serializer[None]):
    id = serializers.UUIDField()
    provider = serializers.CharField()
    private = serializers.BooleanField(help_text="Priced for, or negotiated by, your enterprise.")
    origin = serializers.CharField(help_text="IATA code.")
    destination = serializers.CharField(help_text="IATA code.")
    departs_at = serializers.CharField(help_text="Local time with its offset from UTC, ISO 8601.")
    arrives_at = serializers.CharField(help_text="Local time with its offset from UTC, ISO 8601.")
    duration_minutes = serializers.IntegerField(min_value=1)
    price_minor = serializers.IntegerField(min_value=0, help_text="In cents.")
    price_currency = serializers.CharField(help_text="ISO 4217.")
    layover_count = serializers.IntegerField(min_value=0)
    layovers = LayoverSerializer(many=True)
    segments = SegmentSerializer(many=True)
    modelled = serializers.ListField(
        child=serializers.ChoiceField(choices=MODELLED_FIELDS),
        help_text="What of this offer is modelled and not a provider's word; demo data only.",
    )
    seen_at = serializers.DateTimeField(help_text="When the provider named the price.")
    expires_at = serializers.DateTimeField()


class FlightSearchResponseSerializer(serializers.Serializer[None]):
    results = OfferSerializer(many=True)
    next = serializers.CharField(
        allow_null=True, help_text="The `cursor` of the next page; null on the last one."
    )
