"""Searches beside the one-way one: itineraries, the price calendar, layovers by place, routes."""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.flights import fare_calendar, grammar, itinerary_grammar, layover_search
from apps.flights.airports import airports
from apps.flights.api.serializers import LayoverSerializer, OfferSerializer
from apps.flights.fare_calendar import parse_calendar_search, price_calendar
from apps.flights.itineraries import search_itineraries
from apps.flights.itinerary_grammar import parse_itinerary_search
from apps.flights.layover_search import parse_layover_search, search_layovers
from apps.flights.models import PopularLayoverRoute
from apps.flights.parameters import SEARCH_PARAMETERS
from apps.flights.popularity import popular_routes
from apps.tenants.api.authentication import principal_of
from apps.tenants.models import Scope
from layoverhq.errors import FieldError, InvalidInput
from layoverhq.openapi import JSON, problem_responses, query_parameter
from layoverhq.query_string import parse_query

BY_NAME = {parameter.name: parameter for parameter in SEARCH_PARAMETERS}
FILTERS = [BY_NAME[name] for name in BY_NAME if name in itinerary_grammar.FILTERS]
REFUSALS = problem_responses(400, 401, 403, 503)
ROUTES_LIMIT = 100
ROUTE_CURSOR_PATTERN = r"[0-9]{1,15}\.[A-Z]{3}-[A-Z]{3}"


def _like(name: str, description: str = "", *, required: bool = False) -> OpenApiParameter:
    """Return a parameter of the one-way search, with another requirement or description."""
    known = BY_NAME[name]
    schema: Any = known.type
    return query_parameter(name, description or str(known.description), schema, required=required)


def _limit(most: int, usual: int, of_what: str) -> OpenApiParameter:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": usual}
    return query_parameter("limit", f"{of_what} a page.", schema)


def _sort(sorts: tuple[str, ...], description: str) -> OpenApiParameter:
    return query_parameter(
        "sort", description, {"type": "string", "enum": list(sorts), "default": sorts[0]}
    )


def _cursor(pattern: str) -> OpenApiParameter:
    return query_parameter(
        "cursor",
        str(BY_NAME["cursor"].description),
        {"type": "string", "pattern": f"^{pattern}$"},
    )


DAY = {"type": "string", "format": "date"}
RETURN_DATE = query_parameter(
    "return_date",
    "Of the way back, by the destination's calendar; not before the way there, unless over the date"
    " line.",
    DAY,
)


class ItinerarySerializer(serializers.Serializer[None]):
    price_minor = serializers.IntegerField(min_value=0, help_text="Of all slices, in minor units.")
    price_currency = serializers.CharField(help_text="ISO 4217.")
    duration_minutes = serializers.IntegerField(
        min_value=1, help_text="Of all slices together, the time between them aside."
    )
    slices = OfferSerializer(many=True)


class ItinerarySearchResponseSerializer(serializers.Serializer[None]):
    results = ItinerarySerializer(many=True)
    next = serializers.CharField(
        allow_null=True, help_text="The `cursor` of the next page; null on the last one."
    )
    truncated = serializers.BooleanField(
        help_text="There may be more combinations than a search can tell; narrow it."
    )


ITINERARY_PARAMETERS = [
    query_parameter(
        "slices",
        "Two to six, in order, each from an airport to another on a day.",
        {
            "type": "string",
            "pattern": f"^{itinerary_grammar.SLICES_PATTERN}$",
            "example": "SFO-JFK-2026-12-01,JFK-LHR-2026-12-05",
        },
    ),
    _like("origin", "There and back, instead of `slices`: IATA code."),
    _like("destination", "There and back, instead of `slices`: IATA code."),
    _like("departure_date", "There and back, instead of `slices`: of the way there."),
    RETURN_DATE,
    *FILTERS,
    _sort(itinerary_grammar.SORTS, "Ascending, by the sum over all slices."),
    _limit(itinerary_grammar.MAXIMUM_LIMIT, itinerary_grammar.DEFAULT_LIMIT, "Combinations"),
    _cursor(itinerary_grammar.CURSOR_PATTERN),
]


class ItinerarySearchView(APIView):
    required_scope = Scope.FLIGHTS_READ

    @extend_schema(
        operation_id="search_itineraries",
        summary="Search for there and back, or for several cities",
        description=(
            "The best combinations of one offer a slice, in exact order. An offer departs at least"
            " an hour after the one before it arrives. Filters hold for every slice."
        ),
        parameters=ITINERARY_PARAMETERS,
        responses={(200, JSON): ItinerarySearchResponseSerializer, **REFUSALS},
    )
    def get(self, request: Request) -> HttpResponse:
        search = parse_itinerary_search(
            request.META.get("QUERY_STRING", ""), zones=airports.get(), now=timezone.now()
        )
        body = search_itineraries(principal_of(request).tenant, search)
        return HttpResponse(body, content_type=JSON)


class CalendarDaySerializer(serializers.Serializer[None]):
    date = serializers.DateField(required=False, help_text="With `month`.")
    departure_date = serializers.DateField(required=False, help_text="With `return_date`.")
    return_date = serializers.DateField(required=False, help_text="With `return_date`.")
    price_minor = serializers.IntegerField(
        allow_null=True, min_value=0, help_text="Null where nothing matches."
    )
    price_currency = serializers.CharField(allow_null=True, help_text="ISO 4217.")
    offer_id = serializers.UUIDField(required=False, allow_null=True, help_text="With `month`.")
    offer_ids = serializers.ListField(
        child=serializers.UUIDField(),
        required=False,
        allow_null=True,
        help_text="With `return_date`: of the way there and of the way back.",
    )
    seen_at = serializers.DateTimeField(
        allow_null=True, help_text="When its provider named the price; of two the older."
    )


class CalendarSerializer(serializers.Serializer[None]):
    results = CalendarDaySerializer(many=True)


CALENDAR_PARAMETERS = [
    _like("origin", required=True),
    _like("destination", required=True),
    query_parameter(
        "month",
        "By the origin's calendar.",
        {
            "type": "string",
            "pattern": f"^{fare_calendar.MONTH_PATTERN}$",
            "example": "2026-12",
        },
    ),
    _like("departure_date", "Instead of `month`, with `return_date`: of the way there."),
    RETURN_DATE,
    *FILTERS,
]


class PriceCalendarView(APIView):
    required_scope = Scope.FLIGHTS_READ

    @extend_schema(
        operation_id="price_calendar",
        summary="The cheapest offer of every day",
        description=(
            "Of a month's days from today on; or, with `departure_date` and `return_date`, there"
            f" and back for the {fare_calendar.AROUND_DAYS} days around both."
        ),
        parameters=CALENDAR_PARAMETERS,
        responses={(200, JSON): CalendarSerializer, **REFUSALS},
    )
    def get(self, request: Request) -> HttpResponse:
        asked = parse_calendar_search(
            request.META.get("QUERY_STRING", ""), zones=airports.get(), now=timezone.now()
        )
        body = price_calendar(principal_of(request).tenant, asked)
        return HttpResponse(body, content_type=JSON)


class PlacedLayoverSerializer(LayoverSerializer):
    position = serializers.IntegerField(min_value=1, help_text="1 for the journey's first.")
    usable_minutes = serializers.IntegerField(min_value=0)
    daylight_minutes = serializers.IntegerField(allow_null=True, min_value=0)
    overnight = serializers.BooleanField()


class FoundLayoverSerializer(serializers.Serializer[None]):
    layover = PlacedLayoverSerializer()
    offer = OfferSerializer()


class LayoverSearchResponseSerializer(serializers.Serializer[None]):
    results = FoundLayoverSerializer(many=True)
    next = serializers.CharField(
        allow_null=True, help_text="The `cursor` of the next page; null on the last one."
    )


MINUTES = grammar.MINUTES_PATTERN
RANGE = {
    "type": "string",
    "pattern": rf"^(({MINUTES})\.\.({MINUTES})?|\.\.({MINUTES}))$",
    "example": "8h..20h",
}
AIRPORT = {"type": "string", "pattern": f"^{grammar.AIRPORT_PATTERN}$", "example": "DEN"}


LAYOVER_PARAMETERS = [
    query_parameter("airport", "Where the layover is: IATA code.", AIRPORT, required=True),
    query_parameter(
        "date",
        "When the journey departs, by its origin's calendar.",
        DAY,
        required=True,
    ),
    query_parameter("origin", "IATA code.", AIRPORT),
    query_parameter("destination", "IATA code.", AIRPORT),
    query_parameter("layover", "How long it lasts: `8h`, `8h30m`, `90m`, or minutes.", RANGE),
    query_parameter(
        "usable",
        "What it leaves for the city, ways, queues and closing hours taken off.",
        RANGE,
    ),
    query_parameter(
        "daylight",
        "With `true` the usable minutes have daylight, an hour of it at least.",
        {"type": "string", "enum": ["true", "false"], "default": "false"},
    ),
    query_parameter(
        "overnight",
        "Whether it lasts from one o'clock to five of a night.",
        {"type": "string", "enum": ["yes", "no"]},
    ),
    _sort(layover_search.SORTS, "The most usable first, or the cheapest."),
    _limit(layover_search.MAXIMUM_LIMIT, layover_search.DEFAULT_LIMIT, "Layovers"),
    _cursor(layover_search.CURSOR_PATTERN),
]


class LayoverSearchView(APIView):
    required_scope = Scope.FLIGHTS_READ

    @extend_schema(
        operation_id="search_layovers",
        summary="Search for layovers in a city, whatever the route",
        description="Each result is a layover with its offer.",
        parameters=LAYOVER_PARAMETERS,
        responses={(200, JSON): LayoverSearchResponseSerializer, **REFUSALS},
    )
    def get(self, request: Request) -> HttpResponse:
        search = parse_layover_search(
            request.META.get("QUERY_STRING", ""), zones=airports.get(), now=timezone.now()
        )
        body = search_layovers(principal_of(request).tenant, search)
        return HttpResponse(body, content_type=JSON)


class PopularRouteSerializer(serializers.ModelSerializer[PopularLayoverRoute]):
    price_currency = serializers.SerializerMethodField(help_text="ISO 4217.")

    class Meta:
        model = PopularLayoverRoute
        fields = (
            "origin_airport", "destination_airport", "flight_count", "avg_price",
            "price_currency", "avg_layovers", "layover_airports", "refreshed_at",
        )  # fmt: skip

    def get_price_currency(self, route: PopularLayoverRoute) -> str:
        return "USD"


class PopularRoutesSerializer(serializers.Serializer[None]):
    results = PopularRouteSerializer(many=True)
    next = serializers.CharField(
        allow_null=True, help_text="The `cursor` of the next page; null on the last one."
    )


class PopularRoutesView(APIView):
    required_scope = Scope.FLIGHTS_READ

    @extend_schema(
        operation_id="popular_layover_routes",
        summary="The routes with the most offers that have a layover",
        description=(
            "Of the shared inventory, counted every ten minutes; routes with five such offers or"
            " more."
        ),
        parameters=[
            query_parameter("origin", "IATA code.", AIRPORT),
            query_parameter("destination", "IATA code.", AIRPORT),
            _limit(ROUTES_LIMIT, 20, "Routes"),
            _cursor(ROUTE_CURSOR_PATTERN),
        ],
        responses={(200, JSON): PopularRoutesSerializer, **REFUSALS},
    )
    def get(self, request: Request) -> Response:
        errors: list[FieldError] = []
        known = ("origin", "destination", "limit", "cursor")
        values = parse_query(request.META.get("QUERY_STRING", ""), known, errors)
        for name in ("origin", "destination"):
            if name in values and not re.fullmatch(grammar.AIRPORT_PATTERN, values[name]):
                detail = "Give one IATA code in capitals, such as SFO."
                errors.append(FieldError(name, "invalid", detail))
        limit = values.get("limit", "20")
        if not (re.fullmatch("[0-9]{1,3}", limit) and 1 <= int(limit) <= ROUTES_LIMIT):
            detail = f"Give a whole number from 1 to {ROUTES_LIMIT}."
            errors.append(FieldError("limit", "invalid", detail))
        cursor = values.get("cursor")
        if cursor is not None and not re.fullmatch(ROUTE_CURSOR_PATTERN, cursor):
            errors.append(
                FieldError("cursor", "malformed_cursor", "This is no cursor of this list.")
            )
        if errors:
            raise InvalidInput(errors)
        count, _, route = (cursor or "").partition(".")
        size = int(limit)
        found = popular_routes(
            principal_of(request).tenant,
            origin=values.get("origin", ""),
            destination=values.get("destination", ""),
            limit=size + 1,
            after=(int(count), route) if cursor else None,
        )
        page = found[:size]
        more = len(found) > size
        return Response(
            {
                "results": PopularRouteSerializer(page, many=True).data,
                "next": f"{page[-1].flight_count}.{page[-1].route}" if more else None,
            }
        )
