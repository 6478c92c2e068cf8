"""The shapes of bodies, for the OpenAPI document; views read requests with layoverhq.members."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.trips.models import AlertEvent, PriceAlert, SavedSearch, Traveller, Trip
from apps.trips.searches import LONGEST_QUERY

MAXIMUM_VERSION = 2**31 - 1
LARGEST_PRICE = 10**12
VERSION_HELP = "To send with the next change."


class VersionField(serializers.IntegerField):
    """The version that a change is made of."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            min_value=1, max_value=MAXIMUM_VERSION, help_text="`version` as you read it.", **kwargs
        )


class TravellerSerializer(serializers.ModelSerializer[Traveller]):
    class Meta:
        model = Traveller
        fields = ("id", "reference", "name", "version", "created_at", "updated_at")


class TravellerRequestSerializer(serializers.Serializer[None]):
    reference = serializers.CharField(
        min_length=1, max_length=100, help_text="Your own identifier of the person."
    )
    name = serializers.CharField(min_length=1, max_length=200)


class TravellerPatchSerializer(serializers.Serializer[None]):
    version = VersionField()
    reference = serializers.CharField(required=False, min_length=1, max_length=100)
    name = serializers.CharField(required=False, min_length=1, max_length=200)


class TravellerPageSerializer(serializers.Serializer[None]):
    results = TravellerSerializer(many=True)
    next = serializers.CharField(allow_null=True)


class SavedSearchSerializer(serializers.ModelSerializer[SavedSearch]):
    traveller_id = serializers.UUIDField(allow_null=True)

    class Meta:
        model = SavedSearch
        fields = ("id", "name", "query", "traveller_id", "version", "created_at", "updated_at")


class SavedSearchRequestSerializer(serializers.Serializer[None]):
    name = serializers.CharField(min_length=1, max_length=200)
    query = serializers.CharField(
        min_length=1,
        max_length=LONGEST_QUERY,
        help_text="The query string of GET /flights/search; `cursor` and `limit` are left out.",
    )
    traveller_id = serializers.UUIDField(required=False, allow_null=True)


class SavedSearchPatchSerializer(serializers.Serializer[None]):
    version = VersionField()
    name = serializers.CharField(required=False, min_length=1, max_length=200)
    query = serializers.CharField(required=False, min_length=1, max_length=LONGEST_QUERY)
    traveller_id = serializers.UUIDField(required=False, allow_null=True)


class SavedSearchPageSerializer(serializers.Serializer[None]):
    results = SavedSearchSerializer(many=True)
    next = serializers.CharField(allow_null=True)


class TripSerializer(serializers.ModelSerializer[Trip]):
    traveller_id = serializers.UUIDField()
    offer = serializers.SerializerMethodField(
        help_text="The offer as the search answered it when the trip was planned."
    )
    layovers = serializers.SerializerMethodField()

    class Meta:
        model = Trip
        fields = (
            "id", "traveller_id", "status", "offer_id", "origin", "destination", "departure_at",
            "arrival_at", "price_minor", "price_currency", "layovers", "offer", "version",
            "created_at", "updated_at",
        )  # fmt: skip

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_offer(self, trip: Trip) -> Any:
        return trip.offer

    @extend_schema_field(serializers.ListField(child=serializers.DictField()))
    def get_layovers(self, trip: Trip) -> Any:
        return trip.layovers


class TripRequestSerializer(serializers.Serializer[None]):
    traveller_id = serializers.UUIDField()
    offer_id = serializers.UUIDField(help_text="`id` of an offer of a search.")


class TripPatchSerializer(serializers.Serializer[None]):
    version = VersionField()
    status = serializers.ChoiceField(choices=Trip.Status.choices)


class TripPageSerializer(serializers.Serializer[None]):
    results = TripSerializer(many=True)
    next = serializers.CharField(allow_null=True)


class AlertSerializer(serializers.ModelSerializer[PriceAlert]):
    saved_search_id = serializers.UUIDField()
    layovers = serializers.CharField(
        allow_blank=True, help_text="Parameters of the search that narrow it; empty: none."
    )
    best_offer = serializers.SerializerMethodField(help_text="The cheapest at the last check.")

    class Meta:
        model = PriceAlert
        fields = (
            "id", "saved_search_id", "threshold_minor", "layovers", "state", "best_price_minor",
            "best_offer", "problem", "checked_at", "next_check_at", "version", "created_at",
            "updated_at",
        )  # fmt: skip

    @extend_schema_field({"type": "object", "nullable": True})
    def get_best_offer(self, alert: PriceAlert) -> Any:
        return alert.best_offer


class AlertRequestSerializer(serializers.Serializer[None]):
    saved_search_id = serializers.UUIDField()
    threshold_minor = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=LARGEST_PRICE,
        help_text="Tell when the best price is at or under this, in US cents.",
    )
    layovers = serializers.CharField(
        required=False,
        allow_null=True,
        min_length=1,
        max_length=LONGEST_QUERY,
        help_text="Such as `layover=8h..20h&via=IST`. With a threshold, of which offers the price"
        " counts; without one, tell of new offers that have these layovers.",
    )


class AlertPatchSerializer(serializers.Serializer[None]):
    version = VersionField()
    threshold_minor = serializers.IntegerField(
        required=False, allow_null=True, min_value=0, max_value=LARGEST_PRICE
    )
    layovers = serializers.CharField(
        required=False, allow_null=True, min_length=1, max_length=LONGEST_QUERY
    )
    paused = serializers.BooleanField(required=False)


class AlertPageSerializer(serializers.Serializer[None]):
    results = AlertSerializer(many=True)
    next = serializers.CharField(allow_null=True)


class AlertEventSerializer(serializers.ModelSerializer[AlertEvent]):
    offers = serializers.SerializerMethodField(help_text="The cheapest of them.")

    class Meta:
        model = AlertEvent
        fields = ("id", "event", "price_minor", "offer_count", "offers", "occurred_at")

    @extend_schema_field(serializers.ListField(child=serializers.DictField()))
    def get_offers(self, event: AlertEvent) -> Any:
        return event.offers


class AlertEventPageSerializer(serializers.Serializer[None]):
    results = AlertEventSerializer(many=True)
    next = serializers.CharField(allow_null=True)
