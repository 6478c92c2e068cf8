"""The peer: the same search written the usual way, with the ORM and a ModelSerializer.

It has less to do: it takes no private offers in, knows four filters and answers one page.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.flights.models import Flight
from apps.tenants.api.authentication import principal_of
from apps.tenants.models import Scope
from layoverhq.tenancy import tenant_scope


class OfferSerializer(serializers.ModelSerializer[Flight]):
    layovers = serializers.JSONField()
    segments = serializers.JSONField()

    class Meta:
        model = Flight
        fields: ClassVar[list[str]] = [
            "id",
            "provider",
            "origin_airport",
            "destination_airport",
            "departure_at",
            "arrival_at",
            "duration_minutes",
            "price_minor",
            "price_currency",
            "layover_count",
            "layovers",
            "segments",
            "modelled",
            "seen_at",
            "expires_at",
        ]


class SearchSerializer(serializers.Serializer[Any]):
    origin = serializers.RegexField("^[A-Z]{3}$")
    destination = serializers.RegexField("^[A-Z]{3}$")
    departure_date = serializers.DateField()
    layover_low = serializers.IntegerField()
    layover_high = serializers.IntegerField()
    limit = serializers.IntegerField(min_value=1, max_value=100)


class UsualFlightSearchView(APIView):
    required_scope = Scope.FLIGHTS_READ

    def get(self, request: Request) -> Response:
        form = SearchSerializer(data=request.query_params)
        form.is_valid(raise_exception=True)
        asked = form.validated_data
        with tenant_scope(principal_of(request).tenant):
            offers = Flight.objects.filter(
                origin_airport=asked["origin"],
                destination_airport=asked["destination"],
                departure_day=asked["departure_date"],
                enterprise__isnull=True,
                expires_at__gt=timezone.now(),
                layover_min_minutes__gte=asked["layover_low"],
                layover_max_minutes__lte=asked["layover_high"],
            ).order_by("price_minor", "id")[: asked["limit"]]
            return Response({"results": OfferSerializer(offers, many=True).data, "next": None})
