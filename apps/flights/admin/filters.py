"""What the admin's lists of offers and routes have in common."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from layoverhq.keyset import TextFilter


class AirportFilter(TextFilter):
    placeholder = "IATA code"

    def matching(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return super().matching(queryset, value.upper())


class OriginFilter(AirportFilter):
    title = "origin"
    parameter_name = field = "origin_airport"


class DestinationFilter(AirportFilter):
    title = "destination"
    parameter_name = field = "destination_airport"
